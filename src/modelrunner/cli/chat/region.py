"""The lines at the end of the screen that still change. Knows how a cursor moves, not what is shown.

A change rewrites the lines that differ and no others, in one write that terminals show at once, so nothing
flickers. What has scrolled out of sight is out of reach and stays.
"""

from collections.abc import Callable, Sequence
from itertools import takewhile

from modelrunner.cli.cells import width_of

# Source: "Terminal spec: synchronized output", DEC private mode 2026; others ignore it.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_TO_LINE_END, _TO_SCREEN_END = "\x1b[K", "\x1b[J"


class Region:
    """Lines that can be replaced, the cursor behind the last of them."""

    def __init__(self, write: Callable[[str], None], size: Callable[[], tuple[int, int]]) -> None:
        """`size` tells columns and rows."""
        self._write = write
        self._size = size
        self._lines: list[str] = []
        self._columns = 0

    def replace(self, lines: Sequence[str]) -> None:
        """Show these lines instead of those before; none wraps."""
        columns, rows = self._size()
        old = self._lines
        if columns != self._columns and self._columns and old:
            self._rewrite_all(lines, columns, rows)
        elif old != list(lines):
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, lines, strict=False)))
            first = max(min(max(same, len(old) - rows + 1), len(old) - 1, len(lines) - 1), 0)
            up = max(len(old) - 1 - first, 0)
            self._put(lines[first:], up, fewer=len(old) > len(lines))
        self._lines, self._columns = list(lines), columns

    def settle(self, count: int) -> None:
        """Let go of the first lines: they stay as they are."""
        del self._lines[:count]

    def close(self) -> None:
        """Go to a new line behind what is shown."""
        if self._lines:
            self._write("\n")
        self._lines = []

    def _rewrite_all(self, lines: Sequence[str], columns: int, rows: int) -> None:
        """Write everything again: a terminal of another width has wrapped the old lines anew."""
        heights = [max(1, -(-width_of(line) // columns)) for line in self._lines]
        self._put(lines, min(sum(heights) - 1, rows - 1), fewer=True)

    def _put(self, lines: Sequence[str], up: int, *, fewer: bool) -> None:
        move = f"\x1b[{up}A" if up else ""
        # Cleared before it is written: behind a line that fills its row there is no place to clear from.
        clear, each = (_TO_SCREEN_END, "") if fewer else ("", _TO_LINE_END)
        text = "\r\n".join(f"{each}{line}" for line in lines)
        self._write(f"{_BEGIN}\r{move}{clear}{text}{_END}")


class Flow:
    """The same for an output that cannot take anything back: a line is written once it is settled."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lines: list[str] = []

    def replace(self, lines: Sequence[str]) -> None:
        """Keep the lines for now."""
        self._lines = list(lines)

    def settle(self, count: int) -> None:
        """Write the first lines."""
        self._write("".join(f"{line}\n" for line in self._lines[:count]))
        del self._lines[:count]

    def close(self) -> None:
        """Write what is left."""
        self.settle(len(self._lines))
