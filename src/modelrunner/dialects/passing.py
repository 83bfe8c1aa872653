"""An engine's event stream on its way as it is, watched for an error that the engine tells of in it."""

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.dialects.refusal import reported
from modelrunner.errors import RunnerError

_MARK = b'data: {"error"'  # text cannot have it: its quotation marks are escaped
_END = b"\n\n"
_MOST_ERROR = 64 * 1024  # bytes


class Passing:
    """Gives back what it is fed, up to an error, which then stands in `failure`.

    Nothing is held but the bytes that may be the beginning of one.
    """

    __slots__ = ("_held", "failure")

    def __init__(self) -> None:
        self._held = b""
        self.failure: RunnerError | None = None

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of the stream; return what the client is to get now."""
        if self._held:
            piece = self._held + piece
            self._held = b""
        start = piece.find(_MARK)
        if start >= 0:
            return self._caught(piece, start)
        if piece.endswith(_END):
            return piece
        tail = piece[piece.rfind(b"\n") + 1 :]
        if tail and _MARK.startswith(tail):
            self._held = tail
            return piece[: -len(tail)]
        return piece

    def end(self) -> bytes:
        """Return what is left when the stream is over."""
        held, self._held = self._held, b""
        if held.startswith(_MARK):
            self._fail(held)
            return b""
        return held

    def _caught(self, piece: bytes, start: int) -> bytes:
        end = piece.find(_END, start)
        if end >= 0 or len(piece) - start > _MOST_ERROR:
            self._fail(piece[start:end])
        else:
            self._held = piece[start:]
        return piece[:start]

    def _fail(self, event: bytes) -> None:
        try:
            said = msgspec.json.decode(event.removeprefix(b"data: "))
        except UNREADABLE:
            said = event.decode(errors="replace")
        self.failure = reported(said)
