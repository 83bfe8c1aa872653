"""Tables and sentences on narrow terminals."""

import io
import os
import sys

import pytest

from modelrunner.cli.narrow import fitted, say_wrapped, show_table

HEADER = ("NAME", "KIND", "SIZE", "AGE")
ROWS = [("smollm2", "gguf", "92 MB", "2 weeks"), ("qwen3", "gguf", "2.5 GB", "3 days")]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (80, "NAME     KIND  SIZE    AGE"),
        (30, "NAME     KIND  SIZE    AGE"),
        (29, "NAME     SIZE    AGE"),
        (20, "NAME     SIZE"),
        (5, "NAME     SIZE"),
    ],
)
def test_columns_go_one_by_one(columns: int, expected: str) -> None:
    """In the order that is given, and no others."""
    lines = fitted(HEADER, ROWS, ("KIND", "AGE"), columns).splitlines()

    assert lines[0] == expected
    assert lines[1].startswith("smollm2  ")
    assert all(line == line.rstrip() for line in lines)


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1


def test_a_terminal_gets_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence goes on below its beginning, and steers nothing."""
    screen = _Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((20, 10)))

    show_table(HEADER, ROWS, ("KIND", "AGE"))
    say_wrapped("It needs 557 MB of memory.\x1b[2J", "  ")
    say_wrapped("Short.")

    assert screen.getvalue() == (
        "NAME     SIZE\nsmollm2  92 MB\nqwen3    2.5 GB\n  It needs 557 MB\n    of memory.\ufffd[2J\nShort.\n"
    )


def test_a_pipe_gets_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """As scripts know it."""
    show_table(("A", "B"), [("1", "2")], ("B",))
    say_wrapped("word " * 40)

    assert capsys.readouterr().out == f"A  B  \n1  2  \n{'word ' * 40}\n"
