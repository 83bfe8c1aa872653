"""Server-sent events: a parser that is fed pieces cut anywhere, and a writer.

Source: HTML Living Standard, "Server-sent events".
"""

import re

from modelrunner.errors import EngineFailed

_LINE_END = re.compile(rb"\r\n|\n|\r")
MOST_DATA = 16 * 1024 * 1024  # bytes of one event


class Parser:
    """Finds the data of events; names, identifiers and comments are of no interest and dropped.

    It works on bytes, so a character that comes in halves is whole again before anybody decodes it.
    """

    __slots__ = ("_after_cr", "_data", "_held", "_limit", "_rest")

    def __init__(self, limit: int = MOST_DATA) -> None:
        """`limit` is in bytes, for the data of one event."""
        self._limit = limit
        self._rest = bytearray()  # the line that has not ended
        self._data: list[bytes] = []  # of the event that has not ended
        self._held = 0
        self._after_cr = False  # a line feed that comes next belongs to the line before

    def feed(self, piece: bytes) -> list[bytes]:
        """Take a piece; return the data of each event that it completes.

        Raises:
            EngineFailed: an event is longer than the limit.
        """
        if not self._rest and not self._data and not self._after_cr and _is_simple(piece):
            return [event[6:] for event in piece[:-2].split(b"\n\n")]
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        last = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        if last < 0:
            self._rest += piece
            self._check()
            return []
        self._after_cr = piece.endswith(b"\r")
        self._rest += piece[:last]
        lines = _LINE_END.split(bytes(self._rest) + piece[last : last + 1])
        self._rest = bytearray(piece[last + 1 :])
        return self._events(lines[:-1])

    def end(self) -> list[bytes]:
        """Return the data of an event that was not ended; engines may leave out the last empty line."""
        lines = [bytes(self._rest), b""]
        self._rest.clear()
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[bytes]:
        found: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data.clear()
                    self._held = 0
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                value = value.removeprefix(b" ")
                self._data.append(value)
                self._held += len(value) + 1
                self._check()
        self._check()
        return found

    def _check(self) -> None:
        if self._held + len(self._rest) > self._limit:
            raise EngineFailed("the engine did not answer properly: an event without end")


def _is_simple(piece: bytes) -> bool:
    """Whether a piece is nothing but whole events of one line of data each, as engines write them."""
    if not piece.startswith(b"data: ") or not piece.endswith(b"\n\n") or b"\r" in piece:
        return False
    # One event has two line ends; where all events have no more, each begins with its data.
    events = piece.count(b"\n\n")
    return piece.count(b"\n") == 2 * events == 2 * (1 + piece.count(b"\n\ndata: "))


def event(data: bytes, name: bytes | None = None) -> bytes:
    """Write an event; `data` is JSON, which has no line ends."""
    if name is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (name, data)
