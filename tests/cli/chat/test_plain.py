"""Streamed answers as they appear."""

import io
import sys

import pytest

from modelrunner.cli.chat.plain import FencedWriter, Style, show
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
    show(pieces, Style())

    assert expected == capsys.readouterr().out


def test_the_text_without_thoughts_is_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    """A model is not shown its own reasoning in the next turn."""
    answer = show([Piece(reasoning="hm"), Piece("a"), Piece("b")], Style())

    assert answer == "ab"


def test_notices_of_the_daemon_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """An engine that is being installed is no part of the answer."""
    show([Piece(notice="Installing vllm backend..."), Piece("hi")], Style())

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("hi", "Installing vllm backend...\n")


def test_colour_sets_thoughts_and_counts_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Thoughts are italic, counts grey."""
    show([Piece(reasoning="hm"), Piece("a"), Piece(usage=Usage(1, 1, 2))], Style(render=str))

    out = capsys.readouterr().out
    assert "\x1b[3mhm\x1b[0m" in out
    assert "\x1b[90mToken usage: 1 prompt + 1 completion = 2 total\x1b[0m" in out


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

    answer = show([Piece(reasoning="\x1b[2Jhm"), Piece("a\x1b]0;pwn\x07\tb\r\nc\x9d52;d")], Style())

    assert expected == screen.getvalue()
    assert "a\x1b]0;pwn\x07\tb\r\nc\x9d52;d" == answer


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_a_fenced_block_is_rendered_as_a_whole(size: int) -> None:
    """However the text is cut, blocks arrive whole, and text outside passes as it is."""
    text = "a `b`\n```py\nx = 1\n```\nc\n  ```\nd\n  ```\n`e"
    written: list[str] = []
    writer = FencedWriter(written.append, lambda block: f"<{block}>")

    for start in range(0, len(text), size):
        writer.feed(text[start : start + size])
    writer.finish()

    assert "".join(written) == "a `b`\n<```py\nx = 1\n```\n>c\n<  ```\nd\n  ```\n>`e"


def test_text_outside_of_blocks_is_not_held_back() -> None:
    """Words appear at once, not by the line."""
    written: list[str] = []
    writer = FencedWriter(written.append, lambda block: block)

    writer.feed("Hello wor")

    assert written == ["Hello wor"]


def test_an_unfinished_block_is_rendered_at_the_end() -> None:
    """Nothing is lost when the model forgets its closing fence."""
    written: list[str] = []
    writer = FencedWriter(written.append, str.upper)

    writer.feed("```\nabc")
    writer.finish()

    assert written == ["```\nABC"]
