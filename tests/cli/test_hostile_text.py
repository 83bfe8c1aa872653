"""What others wrote does not steer the terminal: names, metadata, logs and errors with control characters."""

import json
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.commands.test_insight import GONE
from tests.cli.commands.test_requests import DIFF, RECORDER, REFERENCE, SUMMARY, SUMS, WHOLE
from tests.cli.conftest import Case, Daemon, Reply

if TYPE_CHECKING:
    from tests.cli.conftest import Run

EVIL = "\x1b]0;owned\x07\x9b31m\x7f\r\x00"
# What a command has to understand to come to the rest.
_UNDERSTOOD = frozenset({"at", "type", "mode", "id", "state", "outcome", "kind", "dialect", "oldest"})


def _poisoned(document: Any) -> Any:
    if isinstance(document, dict):
        return {
            name: value if name in _UNDERSTOOD and isinstance(value, str) else _poisoned(value)
            for name, value in document.items()
        }
    if isinstance(document, list):
        return [_poisoned(each) for each in document]
    return document + EVIL if isinstance(document, str) else document


def _poison(reply: Reply) -> Reply:
    """Have every text of an answer full of it; in a JSON text nothing is escaped that need not be."""
    if reply.media != "application/json" and isinstance(reply.body, str | bytes):
        text = reply.body if isinstance(reply.body, str) else reply.body.decode()
        return Reply(f"{text}{EVIL}\n", reply.status, reply.media)
    body = reply.body
    if isinstance(body, bytes):
        body = json.loads(body)
    pieces = [_poisoned_line(piece) for piece in reply.pieces]
    return Reply(
        json.dumps(_poisoned(body), ensure_ascii=False) if body is not None else None,
        reply.status,
        reply.media,
        pieces,
    )


def _poisoned_line(piece: bytes) -> bytes:
    head, brace, rest = piece.rstrip(b"\n").partition(b"{")
    if not brace:
        return piece
    document = json.dumps(_poisoned(json.loads(brace + rest)), ensure_ascii=False)
    return head + document.encode() + piece[len(piece.rstrip(b"\n")) :]


def _check(daemon: Daemon, dmr: "Run", *arguments: str) -> str:
    """Run a command on a terminal of a kind for which nothing is drawn; returns what it wrote."""
    for replies in daemon.replies.values():
        replies[:] = map(_poison, replies)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "dumb")
        for stream in (sys.stdout, sys.stderr):
            patch.setattr(stream, "isatty", lambda: True)
        outcome = dmr(*arguments)

    written = outcome.out + outcome.err
    steering = {letter for letter in written if unicodedata.category(letter) == "Cc"} - {"\n", "\t"}
    assert steering == set(), written
    return written


def test_no_command_hands_on_what_would_steer_the_terminal(daemon: Daemon, dmr: "Run", case: Case) -> None:
    if case.prepare is not None:
        case.prepare(daemon)

    _check(daemon, dmr, *case.arguments)


EXPLAINED = {"sentences": ["It waits."], "events": [GONE]}
MODEL = {"id": "sha256:1", "tags": ["ai/x:latest"], "config": {"architecture": "a", "gguf": {"k": "v"}}}
ANSWERS: list[tuple[list[str], str, object]] = [
    (["events"], "/engines/events", [GONE]),
    (["events", "--json"], "/engines/events", [GONE]),
    (["explain", "x"], "/engines/explain", EXPLAINED),
    (["explain", "x", "--json"], "/engines/explain", EXPLAINED),
    (["inspect", "x"], "/models/x", MODEL),
    (["show", "x"], "/models/x", MODEL),
    (["requests"], "/requests", {"requests": [SUMMARY], "before": None}),
    (["requests", "--json"], "/engines/requests", json.loads(REFERENCE)),
    (["requests", "--json", "--api", "x"], "/requests", {"requests": [SUMMARY], "before": None}),
    (["requests", "show", "7"], "/requests/7", WHOLE),
    (["requests", "show", "7", "--json"], "/requests/7", WHOLE),
    (["requests", "diff", "7", "8"], "/requests/diff", DIFF),
    (["requests", "stats"], "/requests/statistics", SUMS),
    (["requests", "status"], "/requests/recorder", RECORDER),
]


@pytest.mark.parametrize(("arguments", "path", "document"), ANSWERS)
def test_what_was_recorded_and_what_is_told_of_models_is_harmless(
    daemon: Daemon, dmr: "Run", arguments: list[str], path: str, document: object
) -> None:
    daemon.json("GET", path, document)

    assert "owned" in _check(daemon, dmr, *arguments)


@pytest.mark.parametrize("path", ["/requests/export", "/requests/7/export"])
def test_an_export_is_harmless_on_a_terminal(daemon: Daemon, dmr: "Run", path: str) -> None:
    daemon.sends("GET", path, b"curl x", media="text/plain")
    names = ["7"] if "7" in path else []

    assert "owned" in _check(daemon, dmr, "requests", "export", *names)


def test_a_program_gets_it_byte_for_byte(daemon: Daemon, dmr: "Run") -> None:
    daemon.text("GET", "/logs", f"a line{EVIL}\n")

    assert f"a line{EVIL}\n" == dmr("logs").out


def test_an_error_of_somebody_else_is_harmless(daemon: Daemon, dmr: "Run") -> None:
    daemon.refuses("/models/create", "registry_error", f"no{EVIL}", status=502)

    assert "owned" in _check(daemon, dmr, "pull", "ai/x")


@pytest.mark.parametrize("flag", ["--config", "--dry-run"])
@pytest.mark.parametrize("app", ["codex", "claude", "anythingllm", "opencode"])
def test_what_would_be_launched_can_be_read_and_pasted(
    daemon: Daemon, dmr: "Run", app: str, flag: str
) -> None:
    written = _check(daemon, dmr, "launch", app, flag, "--model", "m\x1b[2J")

    assert r"m\x1b'$'[2J" in written or app == "opencode"
