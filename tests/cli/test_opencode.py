"""OpenCode's files: a model is lent to it, and taken back."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelrunner.cli.lending import lent, settle
from modelrunner.cli.opencode import Files, files, loans, with_model, with_recent
from modelrunner.errors import StoreError

ADDRESS = "http://127.0.0.1:12434/v1"
MINE: dict[str, object] = {
    "theme": "dark",
    "provider": {"other": {"npm": "x"}, "dmr": {"name": "old", "models": {"a": {}}}},
}


@pytest.fixture
def where(tmp_path: Path) -> Files:
    return files(tmp_path)


def test_a_model_is_put_beside_what_is_there() -> None:
    """Other providers, other models of ours and other settings stay."""
    document = with_model(MINE, address=ADDRESS, model="ai/qwen3")

    assert document == {
        "$schema": "https://opencode.ai/config.json",
        "theme": "dark",
        "provider": {
            "other": {"npm": "x"},
            "dmr": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Docker Model Runner (local)",
                "options": {"baseURL": ADDRESS},
                "models": {"a": {}, "ai/qwen3": {"name": "ai/qwen3", "_launch": True}},
            },
        },
    }


def test_the_model_is_the_one_that_was_used_last() -> None:
    """First, once, and of ten at most."""
    ours = {"providerID": "dmr", "modelID": "m"}
    others = [{"providerID": "x", "modelID": str(number)} for number in range(12)]

    state = with_recent({"recent": [others[0], ours, *others[1:]], "variant": {"a": 1}}, model="m")

    assert state == {"favorite": [], "variant": {"a": 1}, "recent": [ours, *others[:9]]}


@contextmanager
def _lent(where: Files, model: str = "m") -> Iterator[None]:
    with lent(loans(where, ADDRESS, model), _book(where)):
        yield


def _book(where: Files) -> Path:
    return where.config.parents[2] / "launch" / "opencode.json"


def _models(where: Files) -> dict[str, object]:
    models = json.loads(where.config.read_text())["provider"]["dmr"]["models"]
    assert isinstance(models, dict)
    return models


def _config(where: Files, text: str) -> None:
    where.config.parent.mkdir(parents=True, exist_ok=True)
    where.config.write_text(text)


def test_files_are_made_and_go_again(where: Files) -> None:
    """With their folders, for as long as the app runs."""
    with _lent(where):
        config, state = (json.loads(path.read_text()) for path in where)

    assert config["provider"]["dmr"]["models"]["m"] == {"name": "m", "_launch": True}
    assert state["recent"] == [{"providerID": "dmr", "modelID": "m"}]
    assert [False, False] == [path.exists() for path in where]


@pytest.mark.parametrize("text", [json.dumps(MINE), "{}", ""])
def test_files_are_as_they_were_to_the_byte(where: Files, text: str) -> None:
    """Whatever their form is."""
    for path in where:
        path.parent.mkdir(parents=True)
        path.write_text(text)

    with _lent(where):
        assert [text, text] != [path.read_text() for path in where]

    assert [text, text] == [path.read_text() for path in where]


def test_what_the_app_wrote_meanwhile_stays(where: Files) -> None:
    """Only what is ours is taken out of it."""
    _config(where, json.dumps(MINE))

    with _lent(where):
        config, state = (json.loads(path.read_text()) for path in where)
        where.config.write_text(json.dumps({**config, "theme": "light"}))
        recent = [{"providerID": "openai", "modelID": "gpt"}, *state["recent"]]
        where.state.write_text(json.dumps({**state, "recent": recent}))

    config, state = (json.loads(path.read_text()) for path in where)
    assert config == {"$schema": "https://opencode.ai/config.json", **MINE, "theme": "light"}
    assert state["recent"] == [{"providerID": "openai", "modelID": "gpt"}]


def test_a_file_that_cannot_be_written_is_one_error(where: Files, tmp_path: Path) -> None:
    """And nothing is left half done."""
    (tmp_path / ".local").touch()

    with pytest.raises(StoreError, match="cannot be written"), _lent(where):
        pass

    assert not where.config.exists()


@pytest.mark.parametrize("text", ['{\n  // mine\n  "theme": "dark"\n}\n', "{ this is no JSON", "[1, 2]"])
def test_a_file_that_is_no_plain_json_is_refused(where: Files, text: str) -> None:
    """Written anew it would lose what is in it; the way out is told."""
    _config(where, text)

    with pytest.raises(StoreError, match=r"`.*opencode\.json` cannot be read: ") as refused, _lent(where):
        pass

    assert refused.value.hint is not None
    assert "`opencode.jsonc`" in refused.value.hint
    assert (where.config.read_text(), where.state.exists()) == (text, False)


def test_two_launches_side_by_side_lose_nothing(where: Files) -> None:
    """Whichever ends first; what the app wrote meanwhile stays, and the last one gives everything back."""
    _config(where, json.dumps(MINE))
    first, second = _lent(where, "a/one"), _lent(where, "a/two")

    with first:
        _config(where, json.dumps({**json.loads(where.config.read_text()), "theme": "light"}))
        second.__enter__()
        assert set(_models(where)) == {"a", "a/one", "a/two"}
    assert "a/two" in _models(where)
    second.__exit__(None, None, None)

    config = json.loads(where.config.read_text())
    assert config == {"$schema": "https://opencode.ai/config.json", **MINE, "theme": "light"}


KILLED = """
import os, signal, sys
from pathlib import Path
from modelrunner.cli.lending import lent
from modelrunner.cli.opencode import files, loans
where = files(Path(sys.argv[1]))
with lent(loans(where, "http://127.0.0.1:1/v1", "gone"), Path(sys.argv[2])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _be_killed(where: Files) -> None:
    words = [sys.executable, "-c", KILLED, str(where.config.parents[2]), str(_book(where))]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL


def test_what_a_killed_launch_left_goes_with_the_next(where: Files) -> None:
    """Its model is not there while the next one runs, and the file is then as it was before both."""
    text = json.dumps(MINE)
    _config(where, text)
    _be_killed(where)
    assert "gone" in _models(where)

    with _lent(where):
        assert set(_models(where)) == {"a", "m"}

    assert (where.config.read_text(), where.state.exists()) == (text, False)


def test_a_launch_without_a_model_takes_back_what_a_killed_one_left(where: Files) -> None:
    _be_killed(where)

    settle(loans(where, ADDRESS, ""), _book(where))

    assert [False, False] == [path.exists() for path in where]


def test_marked_models_of_which_nothing_is_written_down_go_too(where: Files) -> None:
    """As an earlier version, or the reference, has left them; models without the mark stay."""
    left = with_model({"theme": "dark"}, address=ADDRESS, model="old")
    _config(where, json.dumps(left))

    with _lent(where):
        assert set(_models(where)) == {"m"}

    config = json.loads(where.config.read_text())
    assert config == {"$schema": "https://opencode.ai/config.json", "theme": "dark", "provider": {}}


def test_a_model_that_the_user_has_set_up_keeps_what_it_has(where: Files) -> None:
    """The same name is no reason to lose its limits."""
    mine = {"provider": {"dmr": {"models": {"m": {"limit": {"context": 8192}}}}}}
    _config(where, json.dumps(mine))

    with _lent(where):
        assert _models(where)["m"] == {"limit": {"context": 8192}}
