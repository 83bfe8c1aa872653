"""A proxy between a client and a real registry that breaks exchanges on request, and counts what passes.

HTTP/1.1 on loopback, in a thread with an event loop of its own, so that blocking tests can use it as well. A
plan decides for each request what goes wrong with it; nothing is random here, a plan may be.
"""

import asyncio
import contextlib
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from modelrunner.testing.faults import PIECE, Ending, Fault, Plan, Request

_KERNEL = 128 * 1024  # bytes that the system may hold back of an answer: what is counted has nearly arrived
_MAX_HEAD = 64 * 1024
_PATIENCE = 30.0  # seconds that a test waits for something to happen here
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_REASONS = {307: "Temporary Redirect", 403: "Forbidden", 416: "Range Not Satisfiable", 503: "Unavailable"}


@dataclass(slots=True)
class Exchange:
    """One request and what became of it, in bytes of the answer's body and of the request's own."""

    request: Request
    status: int = 0
    sent: int = 0
    received: int = 0


class FaultProxy:
    """The proxy; `plan` may be replaced at any time, also by a test's thread."""

    def __init__(self, upstream: str, plan: Plan | None = None) -> None:
        """`upstream` is the registry's `host:port`."""
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self.plan: Plan = plan or (lambda _: None)
        self.address = ""
        self.exchanges: list[Exchange] = []
        self._signed: dict[str, tuple[str, int]] = {}
        self._numbers = itertools.count(1)
        self._under_way = 0
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._going_on = asyncio.Event()

    @property
    def fetched(self) -> int:
        """Bytes of blobs that were sent to clients so far."""
        return sum(exchange.sent for exchange in tuple(self.exchanges) if exchange.request.is_blob)

    @property
    def blobs(self) -> list[Exchange]:
        """Every request for a blob's bytes so far."""
        return [exchange for exchange in tuple(self.exchanges) if exchange.request.is_blob]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait, in another thread than the proxy's, until bytes that passed made something true.

        Raises:
            TimeoutError: they did not.
        """
        with self._changed:
            if not self._changed.wait_for(condition, _PATIENCE):
                raise TimeoutError("nothing happened at the proxy")

    def wait_until_idle(self) -> None:
        """Wait until no exchange is under way, as when every client has left."""
        self.wait_until(lambda: self._under_way == 0)

    def go_on(self) -> None:
        """Let every answer that pauses go on, now and later."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._going_on.set)

    async def serve(self, ready: Callable[[], None], done: asyncio.Event) -> None:
        """Relay connections until `done`."""
        self._loop = asyncio.get_running_loop()
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._connection(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_MAX_HEAD)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready()
        await done.wait()
        server.close()
        for task in tuple(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL)
        writer.transport.set_write_buffer_limits(high=PIECE)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
            writer.close()  # what was written goes out first
            await _closed(writer)
        except asyncio.CancelledError:
            await _dropped(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read and answer one request; whether the connection may carry another."""
        method, path, _ = (await _first_line(reader)).split(" ")
        headers = await _headers(reader)
        target, expired = self._original(path)
        request = Request(method, target, headers, redirected=target != path)
        exchange = Exchange(request)
        self.exchanges.append(exchange)
        fault = Fault(status=403) if expired else self.plan(request) or Fault()
        self._note(under_way=1)
        try:
            if fault.reset:
                _abort(writer)
                return False
            if fault.uses is not None and not request.redirected:
                fault = replace(fault, status=307, headers=(("Location", self._sign(target, fault.uses)),))
            if fault.status is not None:
                await reader.readexactly(int(headers.get("content-length", 0)))
                return await _answer(writer, exchange, fault)
            return await _Relay(self, exchange, fault).run(reader, writer)
        finally:
            self._note(under_way=-1)

    def _note(self, *, under_way: int = 0) -> None:
        with self._changed:
            self._under_way += under_way
            self._changed.notify_all()

    def _sign(self, target: str, uses: int) -> str:
        name = f"/signed/{next(self._numbers)}"
        self._signed[name] = (target, uses)
        return f"http://{self.address}{name}"

    def _original(self, path: str) -> tuple[str, bool]:
        """Where a request was meant to go, and whether the place that it goes to has expired."""
        target, uses = self._signed.get(path, (path, 1))
        if path in self._signed:
            self._signed[path] = (target, uses - 1)
        return target, uses <= 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the registry."""
        return await asyncio.open_connection(*self._upstream, limit=_MAX_HEAD)

    async def told_to_go_on(self, reader: asyncio.StreamReader) -> bool:
        """Wait for `go_on`; False when the client leaves before."""
        gone, told = asyncio.create_task(reader.read(1)), asyncio.create_task(self._going_on.wait())
        try:
            await asyncio.wait([gone, told], return_when=asyncio.FIRST_COMPLETED)
            return told.done()
        finally:
            gone.cancel()
            told.cancel()
            await asyncio.wait([gone, told])

    def count(self, exchange: Exchange, *, sent: int = 0, received: int = 0) -> None:
        """Take note of bytes that passed."""
        exchange.sent += sent
        exchange.received += received
        self._note()


@dataclass(slots=True)
class _Relay:
    """One exchange with the registry, and what is done to it on the way."""

    proxy: FaultProxy
    exchange: Exchange
    fault: Fault

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Relay; whether the client's connection may carry another exchange."""
        from_registry, to_registry = await self.proxy.connect()
        try:
            await self._send_request(reader, to_registry)
            return await self._send_answer(from_registry, reader, writer)
        finally:
            await _dropped(to_registry)

    async def _send_request(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        request = self.exchange.request
        headers = {**request.headers, "connection": "close"}
        if self.fault.whole:
            headers.pop("range", None)
        if self.fault.shift and request.range is not None:
            first, last = request.range
            shifted = "" if last is None else last + self.fault.shift
            headers["range"] = f"bytes={first + self.fault.shift}-{shifted}"
        lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        upstream.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        left = int(headers.get("content-length", 0))
        while left and (data := await reader.read(min(self.fault.piece, left))):
            if self.fault.taken is not None and self.exchange.received >= self.fault.taken:
                self.fault.happened()
                raise ConnectionError("broken off")
            upstream.write(data)
            await upstream.drain()
            left -= len(data)
            self.proxy.count(self.exchange, received=len(data))
        if left:
            raise ConnectionError("the client left in the middle of its request")

    async def _send_answer(
        self, upstream: asyncio.StreamReader, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        status = await _first_line(upstream)
        headers = {**await _headers(upstream)}
        self.exchange.status = int(status.split(" ")[1])
        headers.pop("connection", None)
        size = self._disguise(headers)
        status = (
            "HTTP/1.1 206 Partial Content" if self.fault.shift and self.exchange.request.range else status
        )
        has_body = self.exchange.request.method != "HEAD" and self.exchange.status not in {204, 304}
        if size is None and has_body:
            headers["connection"] = "close"  # the end of the connection is the end of the body
        lines = [status, *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if has_body and not await self._send_body(upstream, size, reader, writer):
            return False
        await writer.drain()
        return size is not None or not has_body

    def _disguise(self, headers: dict[str, str]) -> int | None:
        """Change what the answer says of itself; the size of its body, if that is known."""
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        by = self.fault.relabel - self.fault.shift
        if found and by:
            headers["content-range"] = f"bytes {int(found[1]) + by}-{int(found[2]) + by}/{found[3]}"
        return int(headers["content-length"]) if "content-length" in headers else None

    async def _send_body(
        self,
        upstream: asyncio.StreamReader,
        size: int | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Send the body up to where it is cut; whether it was sent whole."""
        stop = self.fault.cut
        while size is None or self.exchange.sent < size:
            if stop is not None and self.exchange.sent >= stop:
                if not await self._break_off(reader, writer):
                    return False
                stop = None
            limit = self.fault.piece if stop is None else min(self.fault.piece, stop - self.exchange.sent)
            data = await upstream.read(limit)
            if not data:
                return size is None
            writer.write(data)
            await writer.drain()
            self.proxy.count(self.exchange, sent=len(data))
            if self.fault.pause:
                await asyncio.sleep(self.fault.pause)
        return True

    async def _break_off(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Do what the fault says in the middle of a body; whether the rest is sent after all."""
        self.fault.happened()
        if self.fault.ending is Ending.RESET:
            _abort(writer)
        elif self.fault.ending is Ending.STALL:
            await reader.read()  # ends when the client has left
        elif self.fault.ending is Ending.PAUSE:
            return await self.proxy.told_to_go_on(reader)
        return False


async def _first_line(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n")).decode("latin-1").rstrip("\r\n")


async def _headers(reader: asyncio.StreamReader) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    while line := await _first_line(reader):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


async def _answer(writer: asyncio.StreamWriter, exchange: Exchange, fault: Fault) -> bool:
    assert fault.status is not None
    exchange.status = fault.status
    lines = [f"HTTP/1.1 {fault.status} {_REASONS.get(fault.status, 'Fault')}", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in fault.headers]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    await writer.drain()
    return True


async def _closed(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _dropped(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        writer.transport.abort()
    await _closed(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that the other side sees a reset."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def fault_proxy(upstream: str, plan: Plan | None = None) -> Iterator[FaultProxy]:
    """Run a proxy in front of a registry at `upstream`; its `address` is what references are to name."""
    proxy = FaultProxy(upstream, plan)
    ready, done, loops = threading.Event(), asyncio.Event(), list[asyncio.AbstractEventLoop]()

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await proxy.serve(ready.set, done)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="fault-proxy", daemon=True)
    thread.start()
    if not ready.wait(_PATIENCE):
        raise RuntimeError("the proxy does not start")
    try:
        yield proxy
    finally:
        loops[0].call_soon_threadsafe(done.set)
        thread.join()
