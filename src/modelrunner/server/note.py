"""What is noted of a request on its way: who, when, and references to the bytes that pass. Nothing is read.

A note costs the data path a few attributes for each piece of an answer. What it becomes is the recorder's.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from starlette.types import Message, Scope, Send

from modelrunner.errors import RunnerError
from modelrunner.recorder.values import Instance, Noted
from modelrunner.runtime.plan import Key
from modelrunner.server.answer import Answer
from modelrunner.server.cancel_scope import Ending
from modelrunner.wire.headers import RECORD_HEADER, REPLAY_HEADER

_RECORD = RECORD_HEADER.lower().encode()
_REPLAY = REPLAY_HEADER.lower().encode()
_OFF = frozenset({b"off", b"false", b"0", b"no"})
_LEFT = frozenset({Ending.CLIENT_LEFT, Ending.CLIENT_STALLED})
_MOST_ANSWER = 64 << 20  # bytes
_LAST_PIECES = 3
_LAST_WORDS = 4096  # bytes of each of them
_BODY = "http.response.body"


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

    def take(self, noted: Noted) -> None:
        """Take a note."""
        ...


class Note:
    """The note of one request. It stands between an answer and its client, and sees what passes."""

    __slots__ = (
        "_at",
        "_cut",
        "_engine",
        "_error",
        "_first",
        "_headers",
        "_key",
        "_last",
        "_media_type",
        "_model",
        "_pieces",
        "_scope",
        "_send",
        "_since",
        "_size",
        "_status",
        "_taker",
        "body",
        "is_wanted",
    )

    def __init__(self, taker: Taker, send: Send, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        self._taker = taker
        self._send = send
        self._scope = scope
        self._headers = headers
        self._at = time.time()
        self._since = time.monotonic()
        self._key: Key | None = None
        self._model = ""
        self._status = 0
        self._media_type = b""
        self._first = self._last = 0.0
        self._pieces: list[bytes] = []
        self._size = 0
        self._cut = False
        self._error: str | None = None
        self._engine: list[bytes] = []
        self.body: bytes | None = None
        self.is_wanted = True

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on to the client."""
        if message["type"] == _BODY:
            piece = message["body"]
            if piece:
                self._last = time.monotonic()
                if self._size <= _MOST_ANSWER:
                    self._pieces.append(piece)
                else:
                    self._cut = True
                if not self._size:
                    self._first = self._last
                self._size += len(piece)
        else:
            self._status = message["status"]
            for name, value in message["headers"]:
                if name == b"content-type":
                    self._media_type = value
                    break
        return self._send(message)

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
        note = Note(self._taker, self._send, self._scope, self._headers)
        note.body, note._at, note._since = self.body, self._at, self._since
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
        since, now = self._since, time.monotonic()
        outcome = "ok"
        if self._error is not None or is_cancelled:
            outcome = "failed" if self._error is not None else "cancelled"
        queued, loading, asked = timing or (0.0, 0.0, None)
        key = self._key
        instance, record = _UNKNOWN if key is None else self._taker.circumstances(key)
        scope, header = self._scope, self._headers.get
        client = scope.get("client")
        unwanted = header(_RECORD)
        began = self._size > 0
        self._taker.take(
            Noted(  # in the order of its fields: names would cost as much again
                self._at,
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
                b"".join([piece[-_LAST_WORDS:] for piece in self._engine]),
            )
        )


Begin = Callable[[Send, Scope, Mapping[bytes, bytes]], Note | None]
