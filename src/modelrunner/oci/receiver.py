"""Takes a long body off a connection whose head the HTTP library has read, straight into large buffers.

The library copies each piece twice and hands it over in many steps. Here the transport, plain or TLS, to the
server or through a proxy, writes into a buffer of ours, and that is what is written and hashed. Requests,
heads, short bodies and bodies of unknown length are the library's, and so is the connection afterwards.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from modelrunner.oci.buffers import Buffers

_AHEAD = 1  # full buffers that may wait for a reader, while the next one fills
_LINGER = 0.1  # seconds a reader waits for a buffer to fill once something is in it


class Receiver(asyncio.BufferedProtocol):
    """The next `size` bytes of a connection, for one reader; stands in for `owner` until they are here."""

    def __init__(
        self,
        transport: asyncio.Transport,
        owner: asyncio.BaseProtocol,
        size: int,
        done: Callable[[], None],
        buffers: Buffers,
    ) -> None:
        """Begin at once; `done` is called when the connection is the owner's again."""
        self._transport = transport
        self._owner = owner
        self._left = size  # of the connection
        self._done = done
        self._buffers = buffers
        buffers.enter()
        self._full: deque[memoryview] = deque()
        self._view = memoryview(b"")
        self._begin = self._end = 0  # of what is in the current buffer and has not been read
        self._paused = False
        self._lost = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._settled = asyncio.Event()  # a buffer is full, or no more will come
        transport.pause_reading()  # else uvloop goes on as the old protocol wanted it
        transport.set_protocol(self)
        transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - of the protocol; a body says more
        """Where the next bytes go: the rest of the current buffer, and no further than the body."""
        if self._end == len(self._view):
            self._view = self._buffers.lend()[: self._left]
            self._begin = self._end = 0
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that came."""
        self._end += nbytes
        self._left -= nbytes
        self._news.set()
        if self._end == len(self._view):
            self._full.append(self._view[self._begin :])
            self._begin = self._end
            self._settled.set()
        if not self._left:
            self._give_back()
        elif len(self._full) >= _AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The other side sends no more; the transport closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader, and the owner, which keeps no closed connections."""
        self._lost, self._error = True, exc
        self._buffers.leave()
        self._news.set()
        self._settled.set()
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on what is not about reading."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on what is not about reading."""
        self._owner.resume_writing()

    async def read(self, patience: float | None) -> memoryview:
        """The next bytes, a buffer at a time where they come fast; none at the end.

        Raises:
            TimeoutError: not one came for `patience` seconds.
            OSError: the connection broke.
        """
        if not self._full and self._begin == self._end and not self._is_over:
            async with asyncio.timeout(patience):
                await self._news.wait()
        if not self._full and not self._is_over:
            try:
                async with asyncio.timeout(_LINGER):
                    await self._settled.wait()
            except TimeoutError:
                pass
        piece = self._take()
        if not piece and self._lost and self._left:
            raise self._error if isinstance(self._error, OSError) else ConnectionResetError from self._error
        return piece

    @property
    def _is_over(self) -> bool:
        return self._lost or not self._left

    def _take(self) -> memoryview:
        if self._full:
            piece = self._full.popleft()
        else:
            piece = self._view[self._begin : self._end]
            self._begin = self._end
        if not self._full and not self._is_over:
            self._settled.clear()
            if self._begin == self._end:
                self._news.clear()
        if self._paused and not self._lost:
            self._paused = False
            self._transport.resume_reading()
        return piece

    def _give_back(self) -> None:
        self._transport.pause_reading()  # else uvloop goes on as the old protocol wanted it
        self._transport.set_protocol(self._owner)
        self._transport.resume_reading()  # aiohttp before 3.14 does not, and would never see the next answer
        self._settled.set()
        self._buffers.leave()
        self._done()
