"""Bodies of requests and of engines' answers, read whole within a limit."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import msgspec
from starlette.types import Receive

from modelrunner.errors import EngineFailed, RequestTooLarge
from modelrunner.units import format_bytes

# What msgspec raises for JSON that is none: also for bytes that are no UTF-8, and for deep nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Room:
    """The memory that all bodies may take together; who finds none free waits, first come, first served."""

    def __init__(self, size: int) -> None:
        """`size` is in bytes."""
        self.size = size
        self.free = size
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait for `size` bytes, or for all that there are when there are fewer."""
        size = min(size, self.size)
        if not self._line and size <= self.free:
            self.free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            else:
                with contextlib.suppress(ValueError):  # who gave just now has passed over it
                    self._line.remove((size, turn))
                self.give(0)  # it may have stood before one that fits
            raise

    def give(self, size: int) -> None:
        """Give bytes back."""
        self.free += size
        while self._line and self._line[0][0] <= self.free:
            wanted, turn = self._line.popleft()
            if not turn.cancelled():
                self.free -= wanted
                turn.set_result(None)


class Held:
    """What one body takes of a room, as long as the block lasts; a body that came at once takes nothing."""

    __slots__ = ("_room", "_size")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._size:
            self._room.give(self._size)

    async def take(self, size: int) -> None:
        """Wait for room for a body of this size."""
        await self._room.take(size)
        self._size = min(size, self._room.size)

    def shrink(self, size: int) -> None:
        """Give back what the body did not need."""
        if size < self._size:
            self._room.give(self._size - size)
            self._size = size


async def read_body(
    receive: Receive, announced: int, limit: int, hint: str | None = None, held: Held | None = None
) -> bytes | None:
    """Read a whole body, of `announced` bytes if that is known; None when the client left meanwhile.

    The rest of one that does not come at once waits for room, if there is somebody who holds it.

    Raises:
        RequestTooLarge: it is longer than `limit` bytes; the error has `hint`.
    """
    if announced > limit:
        raise _too_large(limit, hint)  # before a client that asks is told to go on
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) <= limit:
            return body
    elif held is not None:
        await held.take(announced or limit)
    pieces = bytearray()
    while message["type"] == "http.request":
        pieces += message.get("body", b"")
        if len(pieces) > limit:
            raise _too_large(limit, hint)
        if not message.get("more_body"):
            if held is not None:
                held.shrink(len(pieces))
            return bytes(pieces)
        message = await receive()
    return None


def _too_large(limit: int, hint: str | None) -> RequestTooLarge:
    return RequestTooLarge(f"request too large: more than {format_bytes(limit)}", hint=hint)


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
