"""Connections to an engine: what the bytes on the socket become, and what becomes of the connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from modelrunner.engines.base import Address
from modelrunner.runtime.channel.connection import Connection, ConnectionLost, Connections, request_head

HEAD = request_head("POST", "/v1/completions", [(b"accept", b"*/*")], 2)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def answering(path: Path, *answers: bytes) -> AsyncIterator[Connections]:
    """Connections to a server that answers each request on a connection with the next of some texts.

    A text that is empty ends the connection.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in answers:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                writer.write(answer)
                if not answer:
                    break
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_unix_server(serve, path):
        connections = Connections(Address(socket=path))
        try:
            yield connections
        finally:
            connections.close()


async def whole(connection: Connection) -> bytes:
    """Read a body to its end."""
    pieces = []
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("answer", "status", "body", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", 200, b"hello!", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx", 201, b"x", True),
    ],
)
async def test_an_answer_is_read_to_its_end(
    short_path: Path, answer: bytes, status: int, body: bytes, kept: bool
) -> None:
    """However its length is told; and the connection is kept when the engine keeps it."""
    async with answering(short_path / "e.sock", answer, answer) as connections:
        connection = await connections.fresh()
        actual, _ = await connections.ask(connection, HEAD, b"{}")
        read = await whole(connection)
        connections.release(connection)

        assert (status, body) == (actual, read)
        assert (connection if kept else None) is connections.kept()


async def test_an_answer_without_a_length_ends_with_its_connection(short_path: Path) -> None:
    """As HTTP/1.0 had it."""
    async with answering(short_path / "e.sock", b"HTTP/1.1 200 OK\r\n\r\nhello") as connections:
        connection = await connections.fresh()
        await connections.ask(connection, HEAD, b"{}")

        assert await whole(connection) == b"hello"


@pytest.mark.parametrize(
    ("answer", "answered"),
    [
        (b"", False),
        (b"SSH-2.0-OpenSSH\r\n", True),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, True),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc", True),
        (b"HTTP/1.1 000 X\r\nContent-Length: 1\r\n\r\na", True),
        (b"HTTP/1.1 999 X\r\nContent-Length: 1\r\n\r\na" + b"HTTP/1.1 204 X\r\n\r\n", True),
    ],
)
async def test_what_is_no_answer_loses_the_connection(
    short_path: Path, answer: bytes, answered: bool
) -> None:
    """Nothing, another protocol, or headers without end; the first may be asked again elsewhere.

    The others say what is wrong with them.
    """
    async with answering(short_path / "e.sock", answer) as connections:
        connection = await connections.fresh()
        with pytest.raises(ConnectionLost) as caught:
            await connections.ask(connection, HEAD, b"{}")

        assert answered == caught.value.answered == (caught.value.fault is not None)
        assert not connection.open


async def test_a_body_that_breaks_off_is_a_loss(short_path: Path) -> None:
    """What had arrived is given out first."""
    async with answering(short_path / "e.sock", CHUNKED + b"5\r\nhello\r\n") as connections:
        connection = await connections.fresh()
        await connections.ask(connection, HEAD, b"{}")

        assert await connection.read() == b"hello"
        with pytest.raises(ConnectionLost):
            await connection.read()


async def test_a_slow_reader_slows_the_engine(short_path: Path) -> None:
    """No more than a bounded part of an answer is held here, and all of it arrives in the end."""
    size = 40 * 1024 * 1024
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            while sent < size:
                writer.write(bytes(65536))
                sent += 65536
                await writer.drain()

    async with await asyncio.start_unix_server(serve, short_path / "e.sock"):
        connections = Connections(Address(socket=short_path / "e.sock"))
        connection = await connections.fresh()
        await connections.ask(connection, HEAD, b"{}")
        for _ in range(1000):  # turns of the loop, in which the server could send for ever
            await asyncio.sleep(0)
        ahead = sent

        assert ahead < size // 4
        assert size == len(await whole(connection))
        connections.close()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nEVIL", b"HTTP/1.1 404 No\r\nX-Evil: 1\r\n", b"x"]
)
async def test_what_follows_an_answer_is_nobodys(short_path: Path, more: bytes) -> None:
    """The answer stays as it is, and the connection is not used again."""
    async with answering(short_path / "e.sock", ANSWER + more) as connections:
        connection = await connections.fresh()
        status, headers = await connections.ask(connection, HEAD, b"{}")
        body = await whole(connection)
        connections.release(connection)

        assert (200, [(b"content-length", b"5")], b"hello") == (status, headers, body)
        assert connections.kept() is None


async def test_what_an_idle_connection_says_ends_it(short_path: Path) -> None:
    """It would be the answer to the next request."""
    late, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            await late.wait()
            writer.write(ANSWER)
            await reader.read()
        ended.set()

    async with await asyncio.start_unix_server(serve, short_path / "e.sock"):
        connections = Connections(Address(socket=short_path / "e.sock"))
        connection = await connections.fresh()
        await connections.ask(connection, HEAD, b"{}")
        await whole(connection)
        late.set()
        await ended.wait()

        assert not connection.open


async def test_a_connection_that_is_left_early_is_closed(short_path: Path) -> None:
    """Its answer is not complete, so nobody else may have it."""
    async with answering(short_path / "e.sock", CHUNKED + b"5\r\nhello\r\n") as connections:
        connection = await connections.fresh()
        await connections.ask(connection, HEAD, b"{}")
        connections.release(connection)

        assert connections.kept() is None
        assert not connection.open
