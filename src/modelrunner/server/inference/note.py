"""What is noted of a request on its way: who, when, and references to the bytes that pass. Nothing is read.

A note costs the data path a few attributes for each piece of an answer. What it becomes is the recorder's.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec
from starlette.types import Message, Scope, Send

from modelrunner.errors import RunnerError
from modelrunner.recorder.values import Instance, Noted
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.connection.cancel_scope import Ending
from modelrunner.server.inference.answer import Answer
from modelrunner.wire.headers import RECORD_HEADER, REPLAY_HEADER

_RECORD = RECORD_HEADER.lower().encode()
_REPLAY = REPLAY_HEADER.lower().encode()
_OFF = frozenset({b"off", b"false", b"0", b"no"})
_LEFT = frozenset({Ending.CLIENT_LEFT, Ending.CLIENT_STALLED})
_MOST_ANSWER = 64 << 20  # bytes
_LAST_PIECES = 3
_LAST_WORDS = 4096  # bytes of each of them


class Circumstances(NamedTuple):
    """Who is asked, and whether what is asked may be recorded."""

    instance: Instance | None
    record: bool


_UNKNOWN = Circumstances(None, record=True)


class Taker(Protocol):
    """Who takes notes."""

    def circumstances(self, key: Key) -> Circumstances:
        """Say how an instance is run."""
        ...

    @property
    def take(self) -> Callable[[Noted], None]:
        """What takes a note."""
        ...


class Note(msgspec.Struct, eq=False):
    """The note of one request. It stands between an answer and its client, and sees what passes.

    A struct, since that is made without a line of Python; `at` and `since` are when the request came, on the
    clock and on the one that only counts.
    """

    taker: Taker
    to_client: Send
    scope: Scope
    headers: Mapping[bytes, bytes]
    at: float
    since: float
    body: bytes | None = None
    is_wanted: bool = True
    _key: Key | None = None
    _model: str = ""
    _status: int = 0
    _media_type: bytes = b""
    _first: float = 0.0
    _last: float = 0.0
    _pieces: list[bytes] = []
    _size: int = 0
    _cut: bool = False
    _error: str | None = None
    _engine: list[bytes] = []

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on to the client."""
        piece = message.get("body")
        if piece:
            self._last = time.monotonic()
            if self._size <= _MOST_ANSWER:
                self._pieces.append(piece)
            else:
                self._cut = True
            if not self._size:
                self._first = self._last
            self._size += len(piece)
        elif not self._status:
            self._status = message["status"]
            for name, value in message["headers"]:
                if name == b"content-type":
                    self._media_type = value
                    break
        return self.to_client(message)

    def concerns(self, key: Key, model: str) -> None:
        """Say which instance is asked, and by which name."""
        self._key = key
        self._model = model

    def engine_said(self, piece: bytes) -> None:
        """Remember an engine's last words, which have its times, where the client gets others."""
        self._engine.append(piece)
        if len(self._engine) > _LAST_PIECES:
            del self._engine[0]

    def failed(self, exc: RunnerError) -> None:
        """Say what went wrong."""
        self._error = exc.message

    def end(self, answer: Answer, ending: Ending | None) -> None:
        """Hand the note over; of a request that was not read or needs no engine there is none."""
        if self.body is not None and self.is_wanted:
            self._hand_over(answer.name, answer.timing, is_cancelled=ending in _LEFT)

    def later(self, key: Key, model: str) -> "Note":
        """Begin the note of what goes on in the background after its request was answered."""
        note = Note(self.taker, self.to_client, self.scope, self.headers, self.at, self.since, self.body)
        note.concerns(key, model)
        return note

    def end_later(
        self, name: str, response: bytes, timing: tuple[float, float, float] | None, *, is_cancelled: bool
    ) -> None:
        """Hand over what went on in the background, with the response that came of it."""
        self._status, self._media_type = 200, b"application/json"
        self._first = self._last = time.monotonic()
        self._pieces.append(response)
        self._size = len(response)
        self._hand_over(name.encode(), timing, is_cancelled=is_cancelled)

    def _hand_over(
        self, name: bytes, timing: tuple[float, float, float] | None, *, is_cancelled: bool
    ) -> None:
        assert self.body is not None
        since, now = self.since, time.monotonic()
        outcome = "ok"
        if self._error is not None or is_cancelled:
            outcome = "failed" if self._error is not None else "cancelled"
        queued, loading, asked = timing or (0.0, 0.0, None)
        key = self._key
        instance, record = _UNKNOWN if key is None else self.taker.circumstances(key)
        scope, header = self.scope, self.headers.get
        client = scope.get("client")
        unwanted = header(_RECORD)
        began = self._size > 0
        self.taker.take(
            Noted(  # in the order of its fields: names would cost as much again
                self.at,
                name,
                scope["method"],
                scope["path"],
                self._model,
                instance,
                client[0] if client else "",
                header(b"user-agent"),
                header(b"authorization") or header(b"x-api-key"),
                header(_REPLAY),
                header(b"traceparent"),
                header(b"content-type"),
                self._media_type,
                self._status,
                outcome,
                self._error,
                None if asked is None else asked - since,
                self._first - since if began else None,
                self._last - since if began else None,
                now - since,
                queued,
                loading,
                self._cut,
                record and (unwanted is None or unwanted.strip().lower() not in _OFF),
                self.body,
                b"".join(self._pieces),
                b"".join([piece[-_LAST_WORDS:] for piece in self._engine]) if self._engine else b"",
            )
        )


Begin = Callable[[Send, Scope, Mapping[bytes, bytes]], Note | None]
