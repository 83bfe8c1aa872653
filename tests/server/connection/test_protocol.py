"""Bytes on a client's connection: upgrades that are not taken, and how much of a head is read."""

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest

from modelrunner.server.connection.protocol import Protocol

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
WEBSOCKET = b"connection: upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Key: AA==\r\n"
CLOSE = b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SLICES = {"whole": 1_000_000, "bytes": 1, "pieces": 37}


def post(body: bytes, headers: bytes = b"") -> bytes:
    """Make a chat request."""
    first = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    return first + b"%bContent-Length: %d\r\n\r\n%b" % (headers, len(body), body)


def chunked(body: bytes, headers: bytes) -> bytes:
    """Make a chat request whose length is not told."""
    first = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    return first + b"%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (headers, len(body), body)


async def say(daemon: "Daemon", data: bytes, step: int = 1_000_000, more: bytes = b"") -> bytes:
    """Send pieces of some length, each by itself, then `more`; return all that comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(daemon.url.rpartition(":")[2]))
    try:
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await asyncio.sleep(0)
        await writer.drain()
        if more:
            await asyncio.sleep(0)
            writer.write(more)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def statuses(answers: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d+)", answers)


@pytest.mark.parametrize("step", SLICES.values(), ids=SLICES.keys())
@pytest.mark.parametrize("headers", [H2C, WEBSOCKET])
async def test_an_upgrade_is_ignored(tiny: "Daemon", headers: bytes, step: int) -> None:
    """The request is answered with its body, and so is the next; however the bytes arrive."""
    body = json.dumps(tiny.chat(text="said in vain")).encode()
    data = post(body, headers) + chunked(body, headers) + post(body) + CLOSE
    answers = await say(tiny, data, step)

    assert [b"200"] * 4 == statuses(answers)
    assert 3 == answers.count(b"said in vain")
    assert answers.endswith(b"}\n")


async def test_a_tunnel_is_refused(daemon: "Daemon") -> None:
    """It is no proxy."""
    answers = await say(daemon, b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\nabc")

    assert [b"400"] == statuses(answers)


async def test_a_body_is_not_counted_as_headers(tiny: "Daemon") -> None:
    """Nor are earlier requests: the beginning of the next head comes with a large body."""
    body = json.dumps(tiny.chat(text="x " * 50_000)).encode()
    answers = await say(tiny, post(body) + CLOSE[:20], more=CLOSE[20:])

    assert [b"200", b"200"] == statuses(answers)


@pytest.mark.parametrize("step", [1_000_000, 5000])
@pytest.mark.parametrize("size", [100_000, 60_000])
@pytest.mark.parametrize("lines", [1, 50])
async def test_headers_have_a_limit(daemon: "Daemon", step: int, size: int, lines: int) -> None:
    """64 KiB, whether they come at once or in pieces, in one line or in many."""
    filler = b"".join(b"X-%d: %b\r\n" % (number, b"x" * (size // lines)) for number in range(lines))
    answers = await say(daemon, CLOSE[:-2] + filler + b"\r\n", step)

    assert (b"200" in statuses(answers)) == (size < 65_536)


async def test_a_trailer_is_no_header(tiny: "Daemon") -> None:
    """It comes after the host was judged, and changes nothing."""
    body = json.dumps(tiny.chat(text="said in vain")).encode()
    data = chunked(body, b"")[:-2] + b"Host: evil.example\r\nOrigin: https://evil.example\r\n\r\n" + CLOSE

    assert [b"200", b"200"] == statuses(await say(tiny, data))


@pytest.mark.parametrize("end", [b"\r\n0\r\n", b"\r\n0\r\nX: ", b"\r\n1;x="])
async def test_what_is_said_beside_a_body_has_a_limit(tiny: "Daemon", end: bytes) -> None:
    """Trailers without end, one without end, and what is said of a chunk: the connection is closed."""
    data = chunked(b"{}", b"")[: -len(b"\r\n0\r\n\r\n")] + end
    line = b"x" * 1000 if end[-1:] != b"\n" else b"X: %b\r\n" % (b"x" * 1000)

    assert await say(tiny, data + line * 1_000, step=20_000) == b""


async def test_small_chunks_are_counted_as_a_body(tiny: "Daemon") -> None:
    """A body of one byte in each chunk is mostly what is said of chunks, and is read."""
    body = json.dumps(tiny.chat(text="x" * 20_000)).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n" + CLOSE

    assert [b"200", b"200"] == statuses(await say(tiny, data))


@pytest.mark.parametrize("hosts", [(b"localhost", b"evil.example"), (b"evil.example", b"localhost")])
async def test_a_request_has_one_host(daemon: "Daemon", hosts: tuple[bytes, bytes]) -> None:
    """Of two, nobody knows which one a proxy believed."""
    lines = b"".join(b"Host: %b\r\n" % host for host in hosts)

    assert [b"400"] == statuses(await say(daemon, b"GET /version HTTP/1.1\r\n" + lines + b"\r\n"))


async def test_a_body_that_is_too_large_is_not_asked_for(daemon: "Daemon") -> None:
    """A client that asks whether to go on is told no."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"

    assert [b"413"] == statuses(await say(daemon, head + b"Expect: 100-continue\r\n\r\n"))


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/engines/_configure", b"/models/load"])
async def test_a_body_that_trickles_is_broken_off(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    """Whatever the route, a client that sends a byte now and then does not keep its connection."""
    monkeypatch.setattr("modelrunner.server.connection.protocol._SLOW_SECONDS", 0.5)
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" % path

    assert [b"408"] == statuses(await say(daemon, head + b"{"))


async def test_a_body_in_line_behind_another_answer_is_not_slow(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    """To say so would be to write into that answer."""
    monkeypatch.setattr("modelrunner.server.connection.protocol._SLOW_SECONDS", 1e-9)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(daemon.url.rpartition(":")[2]))
    first = b"GET /engines/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    second = b"POST /models/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    try:
        writer.write(first + second)
        await reader.readuntil(b"\r\n\r\n")
        (connection,) = daemon.server.server_state.connections
        assert isinstance(connection, Protocol)
        assert (True, False) == (bool(connection.pipeline), connection.flow.read_paused)
        await daemon.server.on_tick(0)

        assert not connection.transport.is_closing()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_leaves_with_more_in_the_line_ends_what_is_being_answered(
    tiny: "Daemon", caplog: pytest.LogCaptureFixture
) -> None:
    """Also of requests that came together, where the last one is not the one that is answered."""
    body = json.dumps(tiny.chat(text="x " * 5000, stream=True, fake={"tokens_per_second": 20})).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(tiny.url.rpartition(":")[2]))
    writer.write(post(body) + post(body))
    await reader.readuntil(b"data: ")
    assert [1] == [each.leases for each in tiny.residents]
    writer.close()

    async with asyncio.timeout(5):
        await tiny.engine_says("aborted by client")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_requests_that_come_together_are_each_watched(tiny: "Daemon") -> None:
    """The end of one does not end the watching of the next."""
    quick = json.dumps(tiny.chat(text="quick")).encode()
    slow = json.dumps(tiny.chat(text="x " * 5000, stream=True, fake={"tokens_per_second": 20})).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(tiny.url.rpartition(":")[2]))
    writer.write(post(quick) + post(slow))
    await reader.readuntil(b"data: ")
    writer.close()

    async with asyncio.timeout(5):
        await tiny.engine_says("aborted by client")


@pytest.mark.parametrize("kept", [b"", b"Connection: keep-alive\r\n"])
async def test_a_stream_in_http_1_0_ends_with_the_connection(tiny: "Daemon", kept: bytes) -> None:
    """Nothing but the events is in it: such a client takes the sizes of chunks for text."""
    body = json.dumps(tiny.chat(text="some words more", stream=True)).encode()
    answer = await say(tiny, post(body, kept).replace(b"HTTP/1.1", b"HTTP/1.0"))

    head, _, events = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    lines = [line for line in events.split(b"\n") if line]
    assert len(lines) > 3
    assert {b"data"} == {line.partition(b":")[0] for line in lines}
    assert b"data: [DONE]" == lines[-1]


async def test_an_answer_of_known_length_is_whole_in_http_1_0(tiny: "Daemon") -> None:
    """And a head alone has no body."""
    get = CLOSE.replace(b"HTTP/1.1", b"HTTP/1.0")
    answer, head = await say(tiny, get), await say(tiny, get.replace(b"GET", b"HEAD"))

    first, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body) in first + b"\r\n"
    assert json.loads(body)["version"]
    assert head.endswith(b"\r\n\r\n")


async def test_an_answer_that_is_not_read_is_broken_off_and_told_of_once(
    tiny: "Daemon", caplog: pytest.LogCaptureFixture
) -> None:
    tiny.services.requests._stall = 0.1
    body = json.dumps({**tiny.chat(fake={"tokens": 1_000_000}), "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(tiny.url.rpartition(":")[2]))
    writer.write(post(body))
    await tiny.engine_says("aborted")
    async with asyncio.timeout(30):
        while await reader.read(1 << 20):
            pass
    writer.close()

    assert "the client does not read it" in caplog.text
    assert [] == [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
