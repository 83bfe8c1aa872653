"""Streamed answers as they appear."""

import io
import json
import sys

import pytest

from modelrunner.cli.chat.asking import Calling
from modelrunner.cli.chat.plain import show_lines, show_plain
from modelrunner.client import Piece, Usage


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([Piece("Hel"), Piece("lo")], "Hello"),
        ([Piece(reasoning="hm"), Piece(reasoning="m"), Piece("yes")], "Thinking:\nhmm\n\n--\n\nyes"),
        (
            [Piece(reasoning="a"), Piece("b"), Piece(reasoning="c"), Piece("d")],
            "Thinking:\na\n\n--\n\nb\n\nc\n\n--\n\nd",
        ),
        (
            [Piece("x"), Piece(usage=Usage(3, 4, 7))],
            "x\n\nToken usage: 3 prompt + 4 completion = 7 total",
        ),
        ([], ""),
    ],
)
def test_an_answer_is_printed_as_it_comes(
    pieces: list[Piece], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Thoughts are set apart; token counts follow when the engine sent them."""
    show_plain(pieces)

    assert expected == capsys.readouterr().out


def test_the_text_without_thoughts_is_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    """A model is not shown its own reasoning in the next turn."""
    answer = show_plain([Piece(reasoning="hm"), Piece("a"), Piece("b")])

    assert answer == "ab"


def test_notices_of_the_daemon_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """An engine that is being installed is no part of the answer."""
    show_plain([Piece(notice="Installing vllm backend..."), Piece("hi")])

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("hi", "Installing vllm backend...\n")


@pytest.mark.parametrize(
    ("terminal", "expected"),
    [
        (True, "Thinking:\n\ufffd[2Jhm\n\n--\n\na\ufffd]0;pwn\ufffd\tb\nc\ufffd52;d"),
        (False, "Thinking:\n\x1b[2Jhm\n\n--\n\na\x1b]0;pwn\x07\tb\r\nc\x9d52;d"),
    ],
)
def test_a_model_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, expected: str
) -> None:
    """No title, no clipboard, no hidden lines; a pipe and the next turn get what the model wrote."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)

    answer = show_plain([Piece(reasoning="\x1b[2Jhm"), Piece("a\x1b]0;pwn\x07\tb\r\nc\x9d52;d")])

    assert expected == screen.getvalue()
    assert "a\x1b]0;pwn\x07\tb\r\nc\x9d52;d" == answer


def test_a_call_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no part of the answer, and its arguments steer no terminal."""
    show_plain([Calling("web_search", '{"query": "x\x1b[2J"}'), Piece("found")])

    captured = capsys.readouterr()
    assert captured.out == "found"
    assert captured.err == '[tool] calling web_search with args: {"query": "x\ufffd[2J"}\n'


def test_lines_of_json_tell_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """One object for each piece, and a last one with what it took."""
    answer = show_lines(
        [
            Piece(notice="Installing"),
            Piece(reasoning="hm"),
            Calling("f", "{}"),
            Piece("a\nb"),
            Piece(finish="stop", usage=Usage(1, 2, 3), speed=41.239),
        ]
    )

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answer == "a\nb"
    assert lines == [
        {"type": "notice", "text": "Installing"},
        {"type": "reasoning", "text": "hm"},
        {"type": "tool", "name": "f", "arguments": "{}"},
        {"type": "content", "text": "a\nb"},
        {
            "type": "done",
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            "tokens_per_second": 41.24,
        },
    ]
