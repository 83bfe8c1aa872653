"""Replies of the management routes: JSON, text, streams of lines, and errors in the caller's form."""

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modelrunner.dialects import reading
from modelrunner.dialects.base import Dialect
from modelrunner.dialects.openai import error_body
from modelrunner.errors import InvalidRequest, RunnerError, unforeseen
from modelrunner.server.connection.bodies import read_body
from modelrunner.server.connection.cancel_scope import CancelScope, Ending, Group
from modelrunner.settings.kinds import parse_boolean
from modelrunner.wire.headers import ERROR_MEDIA_TYPE

_log = logging.getLogger(__name__)
T = TypeVar("T")

JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


def json_reply(value: object, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(encode_json(value), status, media_type=JSON)


def encode_json(value: object) -> bytes:
    """Write JSON and a line end, so that a terminal shows it well."""
    return msgspec.json.encode(value) + b"\n"


def text_reply(text: str, status: int = 200) -> Response:
    """Answer with a line of text that no browser takes for anything else."""
    return Response(f"{text}\n", status, {"x-content-type-options": "nosniff"}, _TEXT)


def not_found() -> Response:
    """Answer that there is nothing at this path, or not for this method."""
    return text_reply("not found", 404)


def error_reply(exc: RunnerError, *, as_json: bool) -> Response:
    """Answer with an error: JSON for those who can read it, else a line of text with the way out below."""
    if as_json:
        reply = json_reply(error_body(exc), exc.status)
    else:
        reply = text_reply(f"{exc.message}\n\nhint: {exc.hint}" if exc.hint else exc.message, exc.status)
    return _with_headers(reply, exc)


def dialect_reply(exc: RunnerError, dialect: Dialect) -> Response:
    """Answer with an error in a dialect's form."""
    reply = Response(dialect.error(exc) + b"\n", exc.status, media_type=JSON)
    return _with_headers(reply, exc)


def _with_headers(reply: Response, exc: RunnerError) -> Response:
    if exc.retry_after is not None:
        reply.headers["retry-after"] = str(exc.retry_after)
    if "allow" in exc.detail:
        reply.headers["allow"] = str(exc.detail["allow"])
    return reply


def accepts(headers: Mapping[str, str], *media_types: str) -> bool:
    """Whether one of the types is asked for by name in `Accept`; a wildcard asks for nothing."""
    ranges = (part.partition(";") for part in headers.get("accept", "").lower().split(","))
    return any(name.strip() in media_types and "q=0" not in rest.split() for name, _, rest in ranges)


def accepts_errors(headers: Mapping[str, str]) -> bool:
    """Whether the caller can read errors as JSON."""
    return accepts(headers, ERROR_MEDIA_TYPE)


async def read(request: Request, limit: int) -> bytes:
    """Read a body of at most `limit` bytes; what is left of it when the client goes is nothing.

    Raises:
        RequestTooLarge: it is longer.
    """
    announced = int(request.headers.get("content-length", 0))
    return await read_body(request.receive, announced, limit) or b""


def parse(body: bytes, kind: type[T]) -> T:
    """Read JSON of a shape, whatever its content type was.

    Raises:
        InvalidRequest: it is not JSON, or not of that shape.
    """
    return reading.read(body, kind, words="invalid request body")


def query_flag(request: Request, name: str, *, bare: bool = True) -> bool:
    """Read a boolean of the query; `bare` is what a name without a value means.

    Raises:
        InvalidRequest: a value that is no boolean.
    """
    text = request.query_params.get(name)
    if text is None:
        return False
    if not text:
        return bare
    try:
        return parse_boolean(text)
    except InvalidRequest as exc:
        raise InvalidRequest(
            f'invalid {name} parameter: "{text}" is not a valid boolean', hint="write `true` or `false`"
        ) from exc


class LinesReply:
    """A reply of lines that are sent as they arise, until they end, the client leaves or the daemon stops.

    An error before the first line is raised, so that it has a status of its own; a later one goes through
    `last_words`.
    """

    def __init__(
        self,
        lines: AsyncGenerator[bytes, None],
        *,
        group: Group,
        media_type: str,
        last_words: Callable[[RunnerError], bytes],
    ) -> None:
        self._lines = lines
        self._group = group
        self._media_type = media_type
        self._last_words = last_words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        begun = False
        try:
            with CancelScope(receive, self._group) as cancel_scope:
                async with contextlib.aclosing(self._lines) as lines:
                    async for line in lines:
                        if not begun:
                            begun = True
                            await self._start(send)
                        await send({"type": "http.response.body", "body": line, "more_body": True})
            if cancel_scope.ending is Ending.CLIENT_LEFT:
                return
            if not begun:
                await self._start(send)
            end = b""
        except RunnerError as exc:
            if not begun:
                raise
            end = self._last_words(exc)
        except Exception as exc:
            if not begun:
                raise
            _log.exception("stream broke off path=%s", scope["path"])
            end = self._last_words(unforeseen(exc))
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _start(self, send: Send) -> None:
        headers = [
            (b"content-type", self._media_type.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
