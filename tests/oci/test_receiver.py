"""Long bodies, received beside the HTTP library; on the event loop of the daemon and on that of commands."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from modelrunner.errors import TransferInterrupted
from modelrunner.oci.buffers import BUFFER
from modelrunner.oci.certificates import Certificates
from modelrunner.oci.connections import Connections, Timeouts
from modelrunner.oci.endpoint import Endpoint
from modelrunner.oci.reply import Reply
from modelrunner.testing.tls import connect_proxy, make_authority, tls_front

CONTENT = os.urandom(6 * BUFFER + 12_345)
STALL = 0.5  # seconds

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request as told; counts connections, and what it got rid of."""

    def __init__(self, answer: Answer, size: int) -> None:
        self._answer = answer
        self._size = size
        self.address = ""
        self.connections = 0
        self.left = asyncio.Event()  # a client that has gone
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._size)
                await self._answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        finally:  # also when the client takes no more
            writer.transport.abort()

    async def end(self) -> None:
        """Leave every connection."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@asynccontextmanager
async def _server(answer: Answer, size: int = len(CONTENT)) -> AsyncIterator[Server]:
    server = Server(answer, size)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await server.end()


@asynccontextmanager
async def _connections(authority: Path | None = None) -> AsyncIterator[Connections]:
    timeouts = Timeouts(connect=5.0, stall=STALL)
    async with Connections(
        user_agent="test", timeouts=timeouts, certificates=Certificates(authority)
    ) as connections:
        yield connections


async def _get(connections: Connections, address: str, scheme: str = "http") -> Reply:
    url = f"{scheme}://{address}"
    return await connections.call(Endpoint(address, url, internal=True), "GET", f"{url}/blob", {})


async def _whole(writer: asyncio.StreamWriter) -> None:
    writer.write(CONTENT)
    await writer.drain()


async def _pieces(reply: Reply) -> list[bytes]:
    try:
        return [bytes(piece) async for piece in reply.chunks()]
    finally:
        reply.close()


async def _into(came: bytearray, reply: Reply) -> None:
    try:
        async for piece in reply.chunks():
            came += piece
    finally:
        reply.close()


async def test_a_long_body_comes_in_large_pieces() -> None:
    """Its bytes are kept by whoever has a piece, also when the next ones have come."""
    async with _server(_whole) as server, _connections() as connections:
        reply = await _get(connections, server.address)
        kept = [piece async for piece in reply.chunks()]
        reply.close()

    assert CONTENT == b"".join(kept)
    assert BUFFER == max(map(len, kept))


async def test_the_connection_is_used_again() -> None:
    """Once all of a body is here, it is the library's as before."""
    async with _server(_whole) as server, _connections() as connections:
        for _ in range(3):
            assert CONTENT == b"".join(await _pieces(await _get(connections, server.address)))

        assert 1 == server.connections


async def test_a_body_comes_through_tls_and_a_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from most registries; that connection is kept too."""
    authority = make_authority(tmp_path)
    async with _server(_whole) as server, _connections(authority.certificate) as connections:
        with tls_front(server.address, authority) as address, connect_proxy() as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.address)
            for _ in range(2):
                assert CONTENT == b"".join(await _pieces(await _get(connections, address, "https")))

            assert [address] == proxy.targets


@pytest.mark.parametrize("after", [0, 1, BUFFER, 3 * BUFFER + 1, len(CONTENT) - 1])
async def test_a_break_is_told_after_what_came(after: int) -> None:
    """Nothing that arrived is lost, wherever it happens."""

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(CONTENT[:after])
        await writer.drain()
        raise ConnectionError

    came = bytearray()
    async with _server(cut) as server, _connections() as connections:
        reply = await _get(connections, server.address)
        with pytest.raises(TransferInterrupted, match="broke off"):
            await _into(came, reply)

    assert CONTENT[:after] == came


async def test_silence_is_a_break() -> None:
    """After the time that the settings give it."""
    silence = asyncio.Event()

    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(CONTENT[: 2 * BUFFER + 7])
        await silence.wait()

    async with _server(stall) as server, _connections() as connections:
        reply = await _get(connections, server.address)
        with pytest.raises(TransferInterrupted, match="nothing came in time"):
            await _pieces(reply)
        silence.set()


async def test_a_slow_line_shows_that_it_moves() -> None:
    """A piece need not be full: what came is passed on, so that it is written and counted."""
    passed = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        for start, stop in pairwise((0, 10, 20, 2 * BUFFER, len(CONTENT))):
            passed.clear()
            writer.write(CONTENT[start:stop])
            await passed.wait()

    came = bytearray()
    async with _server(drip) as server, _connections() as connections:
        reply = await _get(connections, server.address)
        async for piece in reply.chunks():
            came += piece
            if len(came) in {10, 20, 2 * BUFFER, len(CONTENT)}:
                passed.set()
        reply.close()

    assert CONTENT == came


async def test_a_slow_reader_holds_the_sender_back() -> None:
    """What waits in memory is a few buffers, and what the sockets hold, whatever the size of the body."""
    size, block = 64 * BUFFER, bytes(1 << 16)
    sent = 0

    async def count(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < size:
            writer.write(block)
            await writer.drain()
            sent += len(block)

    async with _server(count, size) as server, _connections() as connections:
        reply = await _get(connections, server.address)
        async with aclosing(reply.chunks()) as pieces:
            came, before = len(await anext(pieces)), -1
            while sent != before:  # until it moves no more
                before = sent
                await asyncio.sleep(0.1)
            assert size / 2 > sent
            came += sum([len(piece) async for piece in pieces])
        reply.close()

    assert size == came


async def test_who_leaves_in_the_middle_closes_the_connection() -> None:
    """The rest is not fetched, and the next request has a connection of its own."""
    async with _server(_whole) as server, _connections() as connections:
        reply = await _get(connections, server.address)
        async with aclosing(reply.chunks()) as pieces:
            await anext(pieces)
        reply.close()
        async with asyncio.timeout(5):
            await server.left.wait()

        assert CONTENT == b"".join(await _pieces(await _get(connections, server.address)))
        assert 2 == server.connections


async def test_who_is_cancelled_leaves_at_once() -> None:
    """A pull that is called off waits for no byte."""
    silence = asyncio.Event()

    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(CONTENT[:BUFFER])
        await silence.wait()

    async with _server(stall) as server, _connections() as connections:
        reply = await _get(connections, server.address)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_pieces(reply), STALL / 2)
        silence.set()
