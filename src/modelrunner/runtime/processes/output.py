"""What a process writes, as lines of bounded length, and the last few of them. Pure; reads nothing itself."""

from collections import deque
from collections.abc import Iterator

MAX_LINE = 64 * 1024  # bytes; what is beyond is dropped up to the end of the line
TAIL_BYTES = 4096
TAIL_LINES = 40


class Splitter:
    """Cuts chunks of bytes into lines of text, without their ends and never longer than `limit` bytes."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._begun = bytearray()

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take the next chunk and give the lines that it completes."""
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            self._take(piece)
            yield self.flush()
        self._take(rest)

    def flush(self) -> str:
        """Give the line that has begun as if it were complete; an empty one when none has."""
        line = self._begun.removesuffix(b"\r").decode("utf-8", "replace")
        self._begun.clear()
        return line

    def _take(self, piece: bytes) -> None:
        self._begun += piece[: self._limit - len(self._begun)]


class Tail:
    """The last lines, bounded in number and in bytes."""

    def __init__(self, lines: int = TAIL_LINES, size: int = TAIL_BYTES) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._size = size

    @classmethod
    def of(cls, size: int) -> "Tail":
        """One that remembers `size` bytes of lines of ordinary length."""
        return cls(max(TAIL_LINES, size * TAIL_LINES // TAIL_BYTES), size)

    def add(self, line: str) -> None:
        """Remember a line, of which no more than the bound is kept; empty ones say nothing."""
        if line:
            self._lines.append(line[-min(self._size, TAIL_BYTES) :])

    @property
    def text(self) -> str:
        """The remembered lines, oldest first, without an end of line after the last."""
        data = "\n".join(self._lines).encode()
        if len(data) <= self._size:
            return data.decode()
        kept = data[-self._size :]
        whole = kept.partition(b"\n")[2] or kept  # rather no line than half of one
        return whole.decode("utf-8", "ignore")


def last_lines(text: str) -> str:
    """The last lines of a longer text, as many as an error message or an event has room for."""
    tail = Tail()
    for line in text.splitlines()[-TAIL_LINES:]:
        tail.add(line)
    return tail.text
