"""Bodies of requests and of engines' answers, read whole within a limit."""

from collections.abc import AsyncIterator

import msgspec
from starlette.types import Receive

from modelrunner.errors import EngineFailed, RequestTooLarge
from modelrunner.units import format_bytes

# What msgspec raises for JSON that is none: also for bytes that are no UTF-8, and for deep nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


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


async def collect(pieces: AsyncIterator[bytes], limit: int) -> bytes:
    """Join an answer that has to be turned as a whole.

    Raises:
        EngineFailed: it is longer than `limit` bytes.
    """
    whole = bytearray()
    async for piece in pieces:
        whole += piece
        if len(whole) > limit:
            raise EngineFailed(f"the engine did not answer properly: more than {format_bytes(limit)}")
    return bytes(whole)


async def beginning(pieces: AsyncIterator[bytes], limit: int) -> bytes:
    """Join the first `limit` bytes of an answer, or a little more; the rest is not read."""
    whole = bytearray()
    async for piece in pieces:
        whole += piece
        if len(whole) >= limit:
            break
    return bytes(whole)
