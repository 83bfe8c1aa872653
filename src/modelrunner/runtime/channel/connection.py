"""HTTP connections to an engine: a request out in one write, an answer in as it arrives, nothing in between.

This is the data path, where a general client cost more than everything else together (60 of 150 µs for a
request); the parsing is a C library's. Which requests go where, and what a loss means, is not known here.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Iterable
from itertools import chain, repeat
from typing import cast

import httptools

from modelrunner.engines.base import Address
from modelrunner.runtime.channel.headers import Header

# llama-server gives a thread to each open connection, idle or not, and starts with few: idle ones must not
# stay while others wait for a thread (a first burst of 60 requests took 29 s when they did). Reuse pays when
# requests follow each other at once; otherwise a new connection costs a tenth of a millisecond.
_IDLE_SECONDS = 0.25
_STARVING_SECONDS = 0.05  # without an answer
_FULL_QUEUE_PAUSES = (0.001, 0.002, 0.004, 0.008)  # seconds
_MOST_AHEAD = 256 * 1024  # bytes read of an answer that nobody has taken yet
_MOST_HEADERS = 64 * 1024  # bytes
_UNASKED = "bytes that nobody asked for"


class ConnectionLost(Exception):
    """The engine closed the connection, or said something that is not HTTP: then that is the `fault`.

    `answered` if it had begun to.
    """

    def __init__(self, message: str, *, answered: bool, fault: str | None = None) -> None:
        super().__init__(message)
        self.answered = answered
        self.fault = fault


class Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._lost: str | None = None
        self._fault: str | None = None
        self._reading = True
        self._begin()
        self._complete = True  # nothing was asked

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._ahead = 0
        self._head_bytes = 0
        self._status = 0
        self._headers: list[Header] = []
        self._has_head = False
        self._complete = False
        self._kept = False  # whether the engine keeps the connection after this answer

    @property
    def open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._lost is None

    @property
    def reusable(self) -> bool:
        """Whether the answer was read to its end and the engine keeps the connection."""
        return self._kept and not self._pieces and self.open

    @property
    def ended(self) -> bool:
        """Whether all of the answer that was asked for has come, and been read."""
        return self._complete and not self._pieces

    def close(self) -> None:
        """Close at once; an engine that still generates notices."""
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, head: bytes, body: bytes) -> tuple[int, list[Header]]:
        """Send a request; return the status and the headers of the answer.

        Raises:
            ConnectionLost: there will be no answer.
        """
        assert self._transport is not None
        self._begin()
        self._transport.writelines((head, body))
        while not self._has_head:
            await self._more()
        return self._status, self._headers

    async def read(self) -> bytes:
        """Return what has arrived of the body; empty at its end.

        Raises:
            ConnectionLost: it broke off.
        """
        while not self._pieces and not self._complete:
            await self._more()
        if not self._pieces:
            return b""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._ahead = 0
        if not self._reading and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()
        return data

    async def _more(self) -> None:
        if self._lost is not None:
            answered = self._has_head or self._head_bytes > 0
            raise ConnectionLost(self._lost, answered=answered, fault=self._fault)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _give_up(self, fault: str) -> None:
        """Use it no more; an answer that is complete is still read."""
        if self._lost is None:
            self._lost = self._fault = fault
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; uvloop's is one by its methods only."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse; whatever is not HTTP ends the connection, and so does what nobody asked for."""
        if self._complete:
            self._give_up(_UNASKED)
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # it is no HttpParserError
            self._give_up("another protocol, by status 101")
            return
        except httptools.HttpParserError as exc:
            self._give_up(f"not HTTP: {exc}")
            return
        if not self._has_head and self._head_bytes > _MOST_HEADERS:
            self._give_up("headers without end")
        elif self._ahead > _MOST_AHEAD and self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; of an answer without a length it is the proper one."""
        if exc is None and self._lost is None and self._has_head and not self._is_framed():
            self._complete = True
        if self._lost is None:
            self._lost = str(exc) if exc else "connection closed"
        self._wake()

    def _is_framed(self) -> bool:
        return any(name in {b"content-length", b"transfer-encoding"} for name, _ in self._headers)

    # What the parser calls

    def on_message_begin(self) -> None:
        """Refuse a second answer to one question."""
        if self._complete:
            self._give_up(_UNASKED)
            raise ValueError(_UNASKED)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, its name in lower case."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """An interim answer (1xx) is followed by the real one."""
        status = self._parser.get_status_code()
        if 200 <= status < 600:
            self._status = status
            self._has_head = True
        elif not 100 <= status < 200:
            self._give_up(f"not HTTP: status {status:03}")
            raise ValueError(status)

    def on_body(self, data: bytes) -> None:
        """Keep a piece for whoever reads."""
        self._pieces.append(data)
        self._ahead += len(data)

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self._has_head:
            self._complete = True
            self._kept = self._parser.should_keep_alive()
        else:
            self._headers = []


class Connections:
    """The connections to one engine, kept for a moment between requests."""

    def __init__(self, address: Address) -> None:
        self.closed = False
        self._address = address
        self._idle: list[Connection] = []  # the one used last comes last, and is used first
        self._busy: set[Connection] = set()
        self._unanswered: dict[Connection, float] = {}  # oldest first: when they were asked
        self._sweep: asyncio.TimerHandle | None = None

    def kept(self) -> Connection | None:
        """Take a connection that is open and idle, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                self._busy.add(connection)
                return connection
        return None

    async def fresh(self) -> Connection:
        """Make a connection.

        Raises:
            OSError: nobody listens.
        """
        loop = asyncio.get_running_loop()
        if self._address.socket is not None:
            sock = await _connect(str(self._address.socket))
            _, connection = await loop.create_unix_connection(Connection, sock=sock)
        else:
            _, connection = await loop.create_connection(Connection, self._address.host, self._address.port)
        if self.closed:
            connection.close()
        self._busy.add(connection)
        return connection

    async def ask(self, connection: Connection, head: bytes, body: bytes) -> tuple[int, list[Header]]:
        """Ask on a connection; while there is no answer, others give way."""
        self._unanswered[connection] = asyncio.get_running_loop().time()
        try:
            return await connection.ask(head, body)
        finally:
            self._unanswered.pop(connection, None)

    def release(self, connection: Connection) -> None:
        """Take a connection back: for the next request when its answer was read to the end, else to close."""
        self._busy.discard(connection)
        if self.closed or not connection.reusable or self._somebody_starves():
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(_IDLE_SECONDS, self._close_idle)

    def close(self) -> None:
        """Close all, also those in use, and make no more."""
        self.closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    def _close_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        expired = [entry for entry in self._idle if entry.idle_since + _IDLE_SECONDS <= now]
        self._idle = [entry for entry in self._idle if entry.idle_since + _IDLE_SECONDS > now]
        for connection in expired:
            connection.close()
        self._sweep = None
        if self._idle:
            delay = self._idle[0].idle_since + _IDLE_SECONDS - now
            self._sweep = asyncio.get_running_loop().call_later(delay, self._close_idle)

    def _somebody_starves(self) -> bool:
        oldest = next(iter(self._unanswered.values()), None)
        return oldest is not None and asyncio.get_running_loop().time() - oldest > _STARVING_SECONDS


def request_head(method: str, target: str, headers: Iterable[Header], length: int) -> bytes:
    """Put the head of a request together; `headers` have been read by a parser, so nothing ends a line."""
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    first = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n".encode("ascii")
    return b"%b%b\r\n" % (first, lines)


async def _connect(path: str) -> socket.socket:
    """Connect, waiting while the queue of connections that the engine has not accepted yet is full.

    It has 5 places in llama-server. Linux then answers EAGAIN, which uvloop makes an error of, and asyncio a
    connection that is none.
    """
    for pause in chain(_FULL_QUEUE_PAUSES, repeat(_FULL_QUEUE_PAUSES[-1])):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(path)
        except BlockingIOError:
            sock.close()
        except OSError:
            sock.close()
            raise
        else:
            return sock
        await asyncio.sleep(pause)
    raise AssertionError  # `repeat` has no end
