"""What a client gets, and how much of it has been sent: the last word on headers and on late errors."""

import itertools
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Protocol

from starlette.types import Send

from modelrunner.dialects.base import Dialect
from modelrunner.dialects.passing import Passing
from modelrunner.errors import RequestTooLarge, RunnerError
from modelrunner.runtime.channel.headers import Header
from modelrunner.server.connection.cancel_scope import CancelScope
from modelrunner.server.inference.note import Note

_log = logging.getLogger(__name__)

# `Date` and `Server` are ours; CORS is decided at our edge, not by the engine; the name was the client's.
_KEPT_FROM_CLIENT = frozenset((b"date", b"server", b"x-request-id"))
_CORS = b"access-control-"
_LONGEST_NAME = 128  # bytes of a request's name that are given back
_ours = f"req_{secrets.token_hex(6)}"
_numbers = itertools.count(1)


class Passed(Protocol):
    """An engine's answer that is passed on as it is."""

    status: int
    headers: list[Header]

    @property
    def ended(self) -> bool:
        """Whether what has been read of the body is all of it, as far as is known yet."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        ...


class Writer(Protocol):
    """Who takes down an answer in a dialect's own words: a client, or whoever keeps it for one."""

    async def write(self, piece: bytes, media_type: bytes) -> None:
        """Take a piece; may wait until it can be taken."""
        ...

    async def end(self, piece: bytes, media_type: bytes) -> None:
        """Take the last piece, which may be all of it, or nothing."""
        ...


class Answer:
    """The way back to one client; a dialect says how it is told of errors."""

    __slots__ = (
        "_begun",
        "_cancel_scope",
        "_dialect",
        "_events",
        "_note",
        "_open_line",
        "_send",
        "cors",
        "name",
        "notes",
        "timing",
    )

    def __init__(
        self,
        send: Send,
        dialect: Dialect,
        cancel_scope: CancelScope,
        *,
        name: bytes | None,
        note: Note | None = None,
    ) -> None:
        """`name` is what the client calls the request; one is made up when there is none.

        The note gets what is sent.
        """
        self._send = send
        self._note = note
        self._dialect = dialect
        self._cancel_scope = cancel_scope
        self._begun = False
        self._events = False  # whether an error can be told in the stream that has begun
        self._open_line = False
        self.cors: tuple[Header, ...] = ()
        self.name = name[:_LONGEST_NAME] if name else b"%b-%d" % (_ours.encode(), next(_numbers))
        self.timing: tuple[float, float, float] | None = None
        self.notes: tuple[Header, ...] = ()

    def speak(self, dialect: Dialect) -> None:
        """Tell of errors in another way from now on."""
        self._dialect = dialect

    async def pass_on(self, upstream: Passed) -> None:
        """Send an engine's answer, each piece when it comes."""
        media_type, headers = b"", [*self.cors, *self._own_headers()]
        for header in upstream.headers:
            name = header[0]
            if name not in _KEPT_FROM_CLIENT and not name.startswith(_CORS):
                headers.append(header)
                if name == b"content-type":
                    media_type = header[1]
        self._events = media_type.startswith(b"text/event-stream")
        send, cancel_scope, note = self._send, self._cancel_scope, self._note
        chunks = upstream.chunks()
        is_over = False
        async for chunk in _watched(chunks) if self._events else chunks:
            # Only now, so that an engine that dies before its first word still gets a status of its own.
            if not self._begun:
                await self._begin(upstream.status, headers, media_type)
            if note is not None:
                note.piece(chunk)
            # Most answers are whole with the first piece; of events some may be held back until the end.
            is_over = upstream.ended and not self._events
            cancel_scope.sends += 1
            await send({"type": "http.response.body", "body": chunk, "more_body": not is_over})
            cancel_scope.sends += 1
            if is_over:
                cancel_scope.release()
            self._open_line = not chunk.endswith(b"\n\n")
        if is_over:
            return
        if not self._begun:
            await self._begin(upstream.status, headers, media_type)
        await self._last(b"")

    async def write(self, piece: bytes, media_type: bytes) -> None:
        """Send a piece of an answer in our own words, before the first one the head."""
        if not self._begun:
            self._events = True
            headers = [(b"content-type", media_type), (b"cache-control", b"no-cache")]
            headers += (*self.cors, *self._own_headers())
            await self._begin(200, headers, media_type)
        if piece and self._note is not None:
            self._note.piece(piece)
        cancel_scope = self._cancel_scope
        cancel_scope.sends += 1
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        cancel_scope.sends += 1

    async def end(self, piece: bytes, media_type: bytes) -> None:
        """Send the last piece of an answer in our own words, which may be all of it."""
        if self._begun:
            await self._last(piece)
        else:
            await self.whole(200, piece, ((b"content-type", media_type),))

    async def whole(self, status: int, body: bytes, headers: Iterable[Header]) -> None:
        """Send all at once."""
        length = (b"content-length", b"%d" % len(body))
        every = [length, *headers, *self.cors, *self._own_headers()]
        media_type = next((value for name, value in every if name == b"content-type"), b"")
        await self._begin(status, every, media_type)
        await self._last(body)

    def _begin(self, status: int, headers: list[Header], media_type: bytes) -> Awaitable[None]:
        """Send the head."""
        self._begun = True
        if self._note is not None:
            self._note.status, self._note.media_type = status, media_type
        return self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _last(self, piece: bytes) -> None:
        """Send what is last; nothing waits once it is written, so a client may go then."""
        if piece and self._note is not None:
            self._note.piece(piece)
        cancel_scope = self._cancel_scope
        cancel_scope.sends += 1
        await self._send({"type": "http.response.body", "body": piece, "more_body": False})
        cancel_scope.sends += 1
        cancel_scope.release()

    async def fail(self, exc: RunnerError) -> None:
        """Tell the client what went wrong, in whatever way is left."""
        if not self._begun:
            headers = [(b"content-type", b"application/json")]
            if exc.retry_after is not None:
                headers.append((b"retry-after", b"%d" % exc.retry_after))
            if isinstance(exc, RequestTooLarge):
                headers.append((b"connection", b"close"))  # the rest of the body is not read
            await self.whole(exc.status, self._dialect.error(exc), headers)
            return
        _log.warning("answer broken off request=%s error=%s", self.name.decode("latin-1"), exc)
        if (
            self._events and self._cancel_scope.sends % 2 == 0
        ):  # else the client does not read, and will not now
            end = b"\n\n" if self._open_line else b""
            event = end + self._dialect.late_error(exc)
            if self._note is not None:
                self._note.piece(event)
            await self._send({"type": "http.response.body", "body": event, "more_body": False})
        # Otherwise the answer stays incomplete, and the server closes the connection, which clients notice.

    def _own_headers(self) -> list[Header]:
        """What the request was called, and how long what took, in milliseconds.

        Source: W3C Server Timing, "The Server-Timing Header Field".
        """
        headers = [(b"x-request-id", self.name), *self.notes]
        if self._dialect.name_header is not None:
            headers.append((self._dialect.name_header, self.name))
        if self.timing is not None:
            queued, loading, since = self.timing
            took = (queued * 1e3, loading * 1e3, (time.monotonic() - since) * 1e3)
            headers.append((b"server-timing", b"queue;dur=%.1f, load;dur=%.1f, engine;dur=%.1f" % took))
        return headers


async def _watched(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Give a stream of events as it is, up to an error in it, which is raised."""
    passing = Passing()
    try:
        async for piece in pieces:
            chunk = passing.feed(piece)
            if chunk:
                yield chunk
            if passing.failure is not None:
                raise passing.failure
        last = passing.end()
        if passing.failure is not None:
            raise passing.failure
        if last:
            yield last
    finally:
        passing.failure = None  # whose traceback has this frame, and with it all that the request holds
