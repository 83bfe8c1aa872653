"""`import`, `verify` and `prune`."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run


def _line(kind: str, message: str) -> dict[str, object]:
    return {"type": kind, "message": message, "total": 0, "layer": {"size": 0, "current": 0}, "mode": "pull"}


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], {"names": [], "link": False, "dry_run": False}),
        (["--from", "ollama", "a", "b"], {"from": "ollama", "names": ["a", "b"]}),
        (["--link", "--dry-run"], {"link": True, "dry_run": True}),
    ],
)
def test_import_asks_for_what_was_typed(
    daemon: "Daemon", dmr: "Run", arguments: list[str], asked: dict[str, object]
) -> None:
    """And prints what was found, one line for each model."""
    daemon.lines("/models/import", _line("progress", "Imported a"), _line("success", "1 model imported"))
    outcome = dmr("import", *arguments)

    assert (0, ["Imported a", "1 model imported"]) == (outcome.code, outcome.out.splitlines())
    (request,) = daemon.seen
    assert isinstance(request.json, dict)
    assert asked.items() <= request.json.items()


@pytest.mark.parametrize("name", ["models", "./models", "~/models"])
def test_import_sends_a_whole_path(
    daemon: "Daemon", dmr: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The daemon has a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    daemon.lines("/models/import", _line("success", "Nothing was imported"))
    dmr("import", "--from", name)

    (request,) = daemon.seen
    assert isinstance(request.json, dict)
    assert str(tmp_path / "models") == request.json["from"]


def test_import_says_what_is_left_out(daemon: "Daemon", dmr: "Run") -> None:
    """And goes on."""
    lines = [_line("warning", "b is left out: damaged"), _line("success", "1 model imported")]
    daemon.lines("/models/import", *lines)
    outcome = dmr("import")

    assert 0 == outcome.code
    assert "b is left out: damaged" in outcome.out + outcome.err


def test_import_of_nothing_that_is_there_is_an_error(daemon: "Daemon", dmr: "Run") -> None:
    """The daemon's own."""
    daemon.refuses("/models/import", "invalid_request", "nothing to import from ollama")
    outcome = dmr("import", "--from", "ollama")

    assert 2 == outcome.code
    assert "error: nothing to import from ollama" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], {"models": [], "repair": False}),
        (["a", "b", "--repair"], {"models": ["a", "b"], "repair": True}),
    ],
)
def test_verify_asks_for_what_was_typed(
    daemon: "Daemon", dmr: "Run", arguments: list[str], asked: dict[str, object]
) -> None:
    """And ends with how it went."""
    daemon.lines("/models/verify", _line("success", "3 files are right"))
    outcome = dmr("verify", *arguments)

    assert (0, "3 files are right\n") == (outcome.code, outcome.out)
    assert [asked] == [request.json for request in daemon.seen]


def test_verify_fails_when_something_is_damaged(daemon: "Daemon", dmr: "Run") -> None:
    """So that a script notices; the way out is on stderr."""
    error = {
        **_line("error", "Error: 1 model is damaged"),
        "code": "digest_mismatch",
        "hint": "pull it again",
    }
    daemon.lines("/models/verify", _line("warning", "wrong content: sha256:1 of a"), error)
    outcome = dmr("verify")

    assert 1 == outcome.code
    assert "error: 1 model is damaged" in outcome.err
    assert "pull it again" in outcome.err
    assert "wrong content: sha256:1 of a" in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("arguments", "asked", "ending"),
    [
        ([], {"all": False, "damaged": False, "dry_run": False}, "Freed 5.00B\n"),
        (["--all", "--damaged"], {"all": True, "damaged": True, "dry_run": False}, "Freed 5.00B\n"),
        (["--dry-run"], {"all": False, "damaged": False, "dry_run": True}, "Would free 5.00B\n"),
    ],
)
def test_prune_lists_what_goes(
    daemon: "Daemon", dmr: "Run", arguments: list[str], asked: dict[str, object], ending: str
) -> None:
    """On stdout, and what it took on stderr."""
    file = {"path": "/store/blobs/sha256/1", "kind": "blob of no model", "size": 5}
    daemon.json("POST", "/models/prune", {"files": [file], "freed": 5})
    outcome = dmr("prune", *arguments)

    assert (0, ending) == (outcome.code, outcome.err)
    assert ["PATH", "/store/blobs/sha256/1"] == [line.split()[0] for line in outcome.out.splitlines()]
    assert [asked] == [request.json for request in daemon.seen]


def test_prune_of_nothing_prints_no_table(daemon: "Daemon", dmr: "Run") -> None:
    """Only that it was nothing."""
    daemon.json("POST", "/models/prune", {"files": [], "freed": 0})
    outcome = dmr("prune")

    assert ("", "Freed 0.00B\n") == (outcome.out, outcome.err)
