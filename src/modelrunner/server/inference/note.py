"""What is noted of a request on its way: who, when, and references to the bytes that pass. Nothing is read.

A note costs the data path a few attributes for each piece of an answer. What it becomes is the recorder's.
"""

import time
from typing import Protocol

from starlette.types import Scope

from modelrunner.errors import RunnerError
from modelrunner.recorder.values import Seen
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.connection.cancel_scope import Ending

_LEFT = frozenset({Ending.CLIENT_LEFT, Ending.CLIENT_STALLED})
_MOST_ANSWER = 64 << 20  # bytes
_LAST_PIECES = 3
_LAST_WORDS = 4096  # bytes of each of them


class Taker(Protocol):
    """Who takes notes."""

    def begin(self, scope: Scope) -> "Note | None":
        """Begin a note, if anybody wants it."""
        ...

    def take(self, note: "Note") -> None:
        """Take a note of what is over."""
        ...


class Note(Seen, eq=False):
    """The note of one request, which its answer fills.

    It is what is handed over, but for `key`: the instance that is asked, into which looks who takes the note.
    A struct, since that is made without a line of Python, and filled without calls where it can be.
    """

    key: Key | None = None

    def piece(self, piece: bytes) -> None:
        """Keep a piece of the answer, which is sent now."""
        self.last = time.monotonic()
        if not self.size:
            self.first = self.last
        if self.size <= _MOST_ANSWER:
            self.pieces.append(piece)
        else:
            self.cut = True
        self.size += len(piece)

    def engine_said(self, piece: bytes) -> None:
        """Remember an engine's last words, which have its times, where the client gets others."""
        self.engine.append(piece[-_LAST_WORDS:])
        if len(self.engine) > _LAST_PIECES:
            del self.engine[0]

    def failed(self, exc: RunnerError) -> None:
        """Say what went wrong."""
        self.error = exc.message

    def end(self, name: bytes, timing: tuple[float, float, float] | None, ending: Ending | None) -> None:
        """Say that all is over."""
        self.ended = time.monotonic()
        self.name, self.timing, self.left = name, timing, ending in _LEFT

    def later(self, key: Key, model: str) -> "Note":
        """Begin the note of what goes on in the background after its request was answered."""
        seen = self.at, self.since, self.method, self.path, self.address, self.headers
        return Note(*seen, body=self.body, model=model, key=key)

    def end_later(
        self, name: str, response: bytes, timing: tuple[float, float, float] | None, *, is_cancelled: bool
    ) -> None:
        """Say that what went on in the background is over, with the response that came of it."""
        self.status, self.media_type = 200, b"application/json"
        self.piece(response)
        self.ended = time.monotonic()
        self.name, self.timing, self.left = name.encode(), timing, is_cancelled
