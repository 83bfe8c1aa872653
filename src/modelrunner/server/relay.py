"""The data path: a request goes to its model's engine byte for byte, and the answer comes back as it arises.

Raw ASGI without a framework around it: here requests per second and the time to the first token are won. Of
the body only what routing needs is read, and nothing here touches a disk when the model is loaded.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from starlette.types import Receive, Scope, Send

from modelrunner.dialects.base import Dialect
from modelrunner.engines.registry import Engines
from modelrunner.errors import InvalidRequest, RequestTooLarge, RunnerError, unforeseen
from modelrunner.models.kinds import Mode
from modelrunner.runtime.instance import Instance, Upstream
from modelrunner.runtime.pool import Pool
from modelrunner.server.catalogue import Catalogue
from modelrunner.server.lifeline import Group, Lifeline
from modelrunner.server.middleware import Guard, Headers
from modelrunner.server.terms import terms_of
from modelrunner.units import format_bytes
from modelrunner.wire import PRELOAD_HEADER

_log = logging.getLogger(__name__)

_PRELOAD = PRELOAD_HEADER.lower().encode()
# `Date` and `Server` are ours; CORS is decided at our edge, not by the engine.
_KEPT_FROM_CLIENT = frozenset((b"date", b"server"))
_CORS = b"access-control-"
_BODY_HINT = "send less, or raise DMR_BODY_LIMIT"


class _Probe(msgspec.Struct):
    """All that is read of a body: whom it is for, and how long that one is to stay afterwards."""

    model: str | None = None
    keep_alive: str | float | None = None


_probe = msgspec.json.Decoder(_Probe)
# What msgspec raises for JSON that is none: also for bytes that are no UTF-8, and for deep nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a path leads: a mode, the engine's own path, and the engine if the path names one."""

    mode: Mode
    path: str
    engine: str | None = None


class Relay:
    """Serves every inference request of every path."""

    def __init__(
        self,
        *,
        pool: Pool[Instance],
        catalogue: Catalogue,
        engines: Engines,
        guard: Guard,
        dialect: Dialect,
        group: Group,
        body_limit: int,
    ) -> None:
        """`group` ends with the daemon; `body_limit` is in bytes."""
        self._pool = pool
        self._catalogue = catalogue
        self._engines = engines
        self._guard = guard
        self._dialect = dialect
        self._group = group
        self._limit = body_limit

    async def serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors before the first byte have a status, later ones are an event."""
        answer = _Answer(send, self._dialect)
        try:
            await self._serve(endpoint, scope, receive, answer)
        except RunnerError as exc:
            await answer.fail(exc)
        except Exception as exc:  # noqa: BLE001 - the top of a request; it is logged and told
            _log.exception("request failed path=%s", scope["path"])
            await answer.fail(unforeseen(exc))

    async def _serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        answer.cors = self._guard.judge(headers.get(b"host"), headers.get(b"origin"), scope["http_version"])
        if endpoint.engine is not None:
            self._engines.get(endpoint.engine)  # an unknown engine is told of before what else may be wrong
        with Lifeline(None, self._group) as lifeline:
            body = await read_body(receive, int(headers.get(b"content-length", 0)), self._limit, _BODY_HINT)
            if body is None:
                return
            probe = _probed(body)
            question = (probe.model or "", endpoint.mode, endpoint.engine)
            key = self._catalogue.known_key(question) or await self._catalogue.key(question)
            terms = terms_of(headers, probe.keep_alive)
            answer.name = terms.name
            lifeline.watch(receive)
            async with self._pool.lease(key, terms) as lease:
                answer.timing = (lease.queued, lease.loading, time.monotonic())
                if headers.get(_PRELOAD) == b"true":
                    lifeline.release()
                    await answer.empty()
                    return
                query = scope["query_string"]
                path = f"{endpoint.path}?{query.decode('latin-1')}" if query else endpoint.path
                async with lease.running.request("POST", path, scope["headers"], body) as upstream:
                    await answer.pass_on(upstream, lifeline)


class _Answer:
    """What the client gets, and how much of it has been sent."""

    __slots__ = ("_begun", "_dialect", "_events", "_open_line", "_send", "cors", "name", "timing")

    def __init__(self, send: Send, dialect: Dialect) -> None:
        self._send = send
        self._dialect = dialect
        self._begun = False
        self._events = False
        self._open_line = False
        self.cors: Headers = ()
        self.name = ""
        self.timing: tuple[float, float, float] | None = None

    async def pass_on(self, upstream: Upstream, lifeline: Lifeline) -> None:
        """Send an engine's answer, each piece when it comes."""
        headers = [*self.cors, *self._ours()]
        for header in upstream.headers:
            name = header[0]
            if name not in _KEPT_FROM_CLIENT and not name.startswith(_CORS):
                headers.append(header)
                if name == b"content-type":
                    self._events = header[1].startswith(b"text/event-stream")
        send = self._send
        start = {"type": "http.response.start", "status": upstream.status, "headers": headers}
        async for chunk in upstream.chunks():
            # Only now, so that an engine that dies before its first word still gets a status of its own.
            if not self._begun:
                self._begun = True
                await send(start)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._open_line = not chunk.endswith(b"\n\n")
        lifeline.release()
        if not self._begun:
            self._begun = True
            await send(start)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _ours(self) -> list[tuple[bytes, bytes]]:
        """What the request was called, and how long what took, in milliseconds.

        Source: W3C Server Timing, "The Server-Timing Header Field".
        """
        headers = [(b"x-request-id", self.name.encode("latin-1"))] if self.name else []
        if self.timing is not None:
            queued, loading, since = self.timing
            took = (queued * 1e3, loading * 1e3, (time.monotonic() - since) * 1e3)
            headers.append((b"server-timing", b"queue;dur=%.1f, load;dur=%.1f, engine;dur=%.1f" % took))
        return headers

    async def empty(self) -> None:
        """Send 200 and nothing else."""
        await self._whole(200, b"", ())

    async def fail(self, exc: RunnerError) -> None:
        """Tell the client what went wrong, in whatever way is left."""
        if not self._begun:
            headers = [(b"content-type", b"application/json")]
            if exc.retry_after is not None:
                headers.append((b"retry-after", b"%d" % exc.retry_after))
            if isinstance(exc, RequestTooLarge):
                headers.append((b"connection", b"close"))  # the rest of the body is not read
            await self._whole(exc.status, self._dialect.error(exc), headers)
            return
        _log.warning("answer broken off error=%s", exc)
        if self._events:
            end = b"\n\n" if self._open_line else b""
            event = end + self._dialect.late_error(exc)
            await self._send({"type": "http.response.body", "body": event, "more_body": False})
        # Otherwise the answer stays incomplete, and the server closes the connection, which clients notice.

    async def _whole(self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._begun = True
        length = (b"content-length", b"%d" % len(body))
        every = [length, *headers, *self.cors, *self._ours()]
        start = {"type": "http.response.start", "status": status, "headers": every}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def read_body(receive: Receive, announced: int, limit: int, hint: str | None = None) -> bytes | None:
    """Read a whole body, of `announced` bytes if that is known; None when the client left meanwhile.

    Raises:
        RequestTooLarge: it is longer than `limit` bytes; the error has `hint`.
    """
    message = await receive()
    if message["type"] == "http.request" and announced <= limit and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) <= limit:
            return body
    pieces = bytearray()
    while message["type"] == "http.request":
        pieces += message.get("body", b"")
        if max(len(pieces), announced) > limit:
            raise RequestTooLarge(f"request too large: more than {format_bytes(limit)}", hint=hint)
        if not message.get("more_body"):
            return bytes(pieces)
        message = await receive()
    return None


def _probed(body: bytes) -> _Probe:
    try:
        return _probe.decode(body)
    except UNREADABLE as exc:
        raise InvalidRequest(f"invalid request: {exc}", hint="the body has to be a JSON object") from exc
