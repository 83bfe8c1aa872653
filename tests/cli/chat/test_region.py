"""Lines that still change, on a terminal of the test's own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.cli.chat.region import Flow, Region

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal:
    """As much of a terminal as is used: it wraps, scrolls, and forgets nothing that has scrolled out."""

    def __init__(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)
        self.rows = [""]
        self.row = self.column = 0
        self.written = 0

    def write(self, data: str) -> None:
        self.written += len(data)
        for parameters, command, control, text in _TOKEN.findall(data):
            if control == "\n":
                self._down()
                self.column = 0  # as terminals do for programs, which send no carriage return
            elif control == "\r":
                self.column = 0
            elif text:
                for character in text:
                    self._put(character)
            elif command == "A":
                self.row = max(self.row - int(parameters or 1), len(self.rows) - self.size[1], 0)
            elif command in "KJ":
                self.rows[self.row] = self.rows[self.row][: self.column]
                if command == "J":
                    del self.rows[self.row + 1 :]

    def _put(self, character: str) -> None:
        if self.column == self.size[0]:
            self._down()
            self.column = 0
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")


@pytest.fixture
def terminal() -> Terminal:
    return Terminal(10, 5)


@pytest.fixture
def region(terminal: Terminal) -> Region:
    return Region(terminal.write, lambda: terminal.size)


def test_lines_take_the_place_of_those_before(terminal: Terminal, region: Region) -> None:
    """Fewer or more; what follows comes behind them."""
    for lines in (["a"], ["ab", "c"], ["ab", "cd", "", "e"], ["x"], [], ["y", "z"]):
        region.replace(lines)
    region.close()
    terminal.write("> ")

    assert terminal.rows == ["y", "z", "> "]


def test_only_what_differs_is_written(terminal: Terminal, region: Region) -> None:
    """The same again costs nothing, a new last line little."""
    region.replace(["a" * 10, "b" * 10, "c"])
    before = terminal.written
    region.replace(["a" * 10, "b" * 10, "c"])
    assert terminal.written == before
    region.replace(["a" * 10, "b" * 10, "cd"])

    assert terminal.written - before < 30


def test_what_scrolled_out_of_sight_stays(terminal: Terminal, region: Region) -> None:
    """It is out of reach, and must not be written elsewhere."""
    region.replace([str(number) for number in range(8)])
    region.replace(["x", *(str(number) for number in range(1, 7)), "y"])

    assert terminal.rows == ["0", "1", "2", "3", "4", "5", "6", "y"]


@given(
    st.lists(
        st.tuples(st.lists(st.text("abc", max_size=10), max_size=4), st.integers(0, 4)),
        min_size=1,
        max_size=12,
    )
)
def test_the_screen_shows_what_was_settled_and_what_is_current(
    steps: list[tuple[list[str], int]],
) -> None:
    """Whatever came before."""
    terminal = Terminal(10, 6)
    region = Region(terminal.write, lambda: terminal.size)
    settled: list[str] = []
    current: list[str] = []
    for lines, count in steps:
        current = [*lines, "end"]
        region.replace(current)
        gone = min(count, len(lines))
        region.settle(gone)
        settled += current[:gone]
        current = current[gone:]

    assert terminal.rows == [*settled, *current]


def test_a_terminal_that_became_narrower_is_written_anew(terminal: Terminal, region: Region) -> None:
    """Its old lines have wrapped."""
    region.replace(["aaaaaaaaaa", "bb"])
    terminal.size = (5, 5)
    terminal.rows = ["aaaaa", "aaaaa", "bb"]  # as terminals do by themselves
    terminal.row, terminal.column = 2, 2
    region.replace(["ccc", "ddd"])

    assert terminal.rows == ["ccc", "ddd"]


def test_without_a_terminal_lines_are_written_once_they_are_settled() -> None:
    """And the rest at the end."""
    written: list[str] = []
    flow = Flow(written.append)
    flow.replace(["a", "b"])
    flow.settle(1)
    flow.replace(["c", "d"])
    flow.close()

    assert "".join(written) == "a\nc\nd\n"
