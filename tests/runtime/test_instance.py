"""Instances: with the fake engine as a real process, and with servers in this loop that misbehave as told."""

import asyncio
import gzip
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from modelrunner.engines.ask import Ask, AskEngine
from modelrunner.engines.base import Address, Launch
from modelrunner.errors import EngineFailed, InvalidRequest, NotReadyInTime, PortTaken, ShuttingDown
from modelrunner.runtime.instance import Instance

JSON = [(b"content-type", b"application/json")]


class Log:
    """The lines of an engine, to wait for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    async def wait_for(self, text: str) -> None:
        async with asyncio.timeout(20):
            while not any(text in line for line in self.lines):
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def log() -> Log:
    return Log()


def fake(path: Path, *, within: float = 20.0, **behaviour: object) -> Launch:
    """The fake engine, behaving as told."""
    argv = (sys.executable, "-m", "modelrunner.testing.engine", "--model", "m", "--host", str(path))
    return Launch(argv, env={"FAKE_ENGINE": json.dumps(behaviour)}, ready_within=within)


async def start(
    launch: Launch, path: Path, log: Log, diagnose: Callable[[str], str | None] = lambda _: None
) -> Instance:
    return await Instance.start(launch, Address(path), "fake", log, diagnose, environ=os.environ)


@asynccontextmanager
async def running(launch: Launch, path: Path, log: Log) -> AsyncIterator[Instance]:
    instance = await start(launch, path, log)
    try:
        yield instance
    finally:
        await instance.stop()


def contents(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def chat(instance: Instance, **body: object) -> bytes:
    request = {"messages": [{"role": "user", "content": "hello world"}], **body}
    return await read(instance, "POST", "/v1/chat/completions", json.dumps(request).encode())


async def read(instance: Instance, method: str, target: str, body: bytes = b"") -> bytes:
    async with instance.request(method, target, JSON, body) as upstream:
        return b"".join([chunk async for chunk in upstream.chunks()])


async def test_a_started_instance_answers(short_path: Path, log: Log) -> None:
    """It is ready when `start` returns."""
    path = short_path / "e.sock"
    async with running(fake(path, load_seconds=0.1), path, log) as instance:
        answer = json.loads(await chat(instance))

        assert answer["choices"][0]["message"]["content"] == "hello world"
        assert instance.alive


async def test_an_instance_may_listen_on_tcp(log: Log) -> None:
    """For engines that know no Unix sockets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = (sys.executable, "-m", "modelrunner.testing.engine", "--model", "m", "--port", str(port))
    address = Address(port=port)
    instance = await Instance.start(Launch(argv), address, "fake", log, lambda _: None, environ=os.environ)

    assert json.loads(await chat(instance))["choices"][0]["message"]["content"] == "hello world"
    await instance.stop()


async def test_a_port_that_was_stolen_is_told_from_a_crash(log: Log) -> None:
    """The engine ended because somebody listens where it was to."""
    with socket.create_server(("127.0.0.1", 0)) as thief:
        port = thief.getsockname()[1]
        with pytest.raises(PortTaken, match=f"took the port `{port}`"):
            await start_on_port(port, log)

    with pytest.raises(EngineFailed, match="out of luck") as caught:
        await start_on_port(port, log, crash_at_load="out of luck")
    assert not isinstance(caught.value, PortTaken)


async def test_a_thief_is_not_taken_for_the_engine(log: Log) -> None:
    """A program that answers on the engine's port, before the engine has come to it, is somebody else."""

    async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(healthy, "127.0.0.1", 0) as thief:
        port = thief.sockets[0].getsockname()[1]
        launch = Launch((sys.executable, "-c", "import time; time.sleep(600)"))
        with pytest.raises(PortTaken):
            await Instance.start(launch, Address(port=port), "fake", log, lambda _: None, environ=os.environ)


async def start_on_port(port: int, log: Log, **behaviour: object) -> Instance:
    argv = (sys.executable, "-m", "modelrunner.testing.engine", "--model", "m", "--port", str(port))
    launch = Launch(argv, env={"FAKE_ENGINE": json.dumps(behaviour)})
    return await Instance.start(launch, Address(port=port), "fake", log, lambda _: None, environ=os.environ)


async def test_a_stopped_instance_leaves_nothing(short_path: Path, log: Log) -> None:
    """No process and no socket; and requests are told that it was stopped."""
    path = short_path / "e.sock"
    instance = await start(fake(path), path, log)
    await instance.stop()

    assert not psutil.pid_exists(instance.pid)
    assert contents(short_path) == []
    with pytest.raises(ShuttingDown):
        await chat(instance)


async def test_a_crash_at_load_is_told_with_the_last_lines(short_path: Path, log: Log) -> None:
    """Without a diagnosis, the status is the sentence."""
    path = short_path / "e.sock"
    with pytest.raises(EngineFailed, match=r"fake exited with status 1\n\n(.|\n)*out of luck\Z"):
        await start(fake(path, crash_at_load="out of luck"), path, log)


async def test_a_crash_at_load_is_diagnosed(short_path: Path, log: Log) -> None:
    """The engine's plug-in reads the last lines and says what they mean."""
    path = short_path / "e.sock"
    with pytest.raises(EngineFailed, match=r"\Ayou have no luck\n\n(.|\n)*out of luck\Z"):
        await start(
            fake(path, crash_at_load="out of luck"),
            path,
            log,
            lambda tail: "you have no luck" if "out of luck" in tail else None,
        )


async def test_a_signal_is_told_by_name(short_path: Path, log: Log) -> None:
    """Because its number says nothing to most."""
    launch = Launch((sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"))

    with pytest.raises(EngineFailed, match="fake was killed by SIGSEGV"):
        await start(launch, short_path / "e.sock", log)


async def test_a_program_that_cannot_be_run_is_named(short_path: Path, log: Log) -> None:
    """With what the system says about it."""
    with pytest.raises(EngineFailed, match="fake could not be started: `/no/engine`: No such file"):
        await start(Launch(("/no/engine",)), short_path / "e.sock", log)


async def test_an_engine_that_is_never_ready_is_stopped(short_path: Path, log: Log) -> None:
    """After the time that its launch allows."""
    path = short_path / "e.sock"
    with pytest.raises(NotReadyInTime, match=r"fake was not ready within 0\.5 seconds"):
        await start(fake(path, hang_at_load=True, within=0.5), path, log)

    assert [] == [child for child in psutil.Process().children() if str(path) in child.cmdline()]


async def test_a_start_that_is_cancelled_leaves_no_process(short_path: Path, log: Log) -> None:
    """Even when the engine does not listen to SIGTERM."""
    path = short_path / "e.sock"
    task = asyncio.create_task(start(fake(path, hang_at_load=True, ignore_sigterm=True), path, log))
    await log.wait_for("loading model")
    task.cancel()
    await asyncio.wait((task,))

    assert task.cancelled()
    assert [] == [child for child in psutil.Process().children() if str(path) in child.cmdline()]


async def test_an_engine_inherits_no_credentials(short_path: Path, log: Log) -> None:
    """But the rest, and what its launch adds."""
    code = "import os; print([n for n in ('HOME_X', 'HF_TOKEN', 'ADDED') if n in os.environ]); exit(1)"
    launch = Launch((sys.executable, "-c", code), env={"ADDED": "1"})
    environ = {**os.environ, "HOME_X": "1", "HF_TOKEN": "secret"}

    with pytest.raises(EngineFailed, match=re.escape("['HOME_X', 'ADDED']")):
        await Instance.start(
            launch, Address(short_path / "e.sock"), "fake", log, lambda _: None, environ=environ
        )


async def test_a_stream_arrives_as_it_is_made(short_path: Path, log: Log) -> None:
    """The first chunk is here while the engine has not finished, or ever will."""
    path = short_path / "e.sock"
    async with running(fake(path, tokens=10_000, tokens_per_second=20), path, log) as instance:
        body = b'{"stream": true, "messages": [{"role": "user", "content": "x"}]}'
        async with instance.request("POST", "/v1/chat/completions", JSON, body) as upstream:
            chunk = await anext(upstream.chunks())

            assert upstream.status == 200
            assert (b"content-type", b"text/event-stream") in upstream.headers
            assert b"transfer-encoding" not in dict(upstream.headers)
            assert chunk.startswith(b"data: ")


async def test_leaving_stops_the_generation(short_path: Path, log: Log) -> None:
    """The engine sees that its client has gone, while it streams."""
    path = short_path / "e.sock"
    async with running(fake(path, tokens=10_000, tokens_per_second=20), path, log) as instance:
        task = asyncio.create_task(chat(instance, stream=True))
        await log.wait_for("generation started")
        task.cancel()

        await log.wait_for("generation aborted by client")


async def test_leaving_before_the_answer_begins_stops_the_generation_too(short_path: Path, log: Log) -> None:
    """An answer that is not streamed has no headers until it is complete."""
    path = short_path / "e.sock"
    async with running(fake(path, tokens=10_000, tokens_per_second=20), path, log) as instance:
        task = asyncio.create_task(chat(instance))
        await log.wait_for("generation started")
        task.cancel()

        await log.wait_for("generation aborted by client")


async def test_a_crash_in_mid_stream_is_an_error(short_path: Path, log: Log) -> None:
    """Not the end of the answer; and its last lines say why."""
    path = short_path / "e.sock"
    async with running(fake(path, tokens=9, crash_after_tokens=3), path, log) as instance:
        with pytest.raises(EngineFailed, match=r"fake exited with status 1\n\n(.|\n)*crashed"):
            await chat(instance, stream=True)
        assert not instance.alive


async def test_a_crash_before_the_answer_is_an_error(short_path: Path, log: Log) -> None:
    """The request is not given to another process; the last lines say why."""
    path = short_path / "e.sock"
    async with running(fake(path), path, log) as instance:
        with pytest.raises(EngineFailed, match="crashed on purpose at a request"):
            await chat(instance, fake={"crash_on_request": True})
        with pytest.raises(EngineFailed, match="crashed on purpose at a request"):
            await chat(instance)


async def test_why_it_ended_comes_before_its_last_words(short_path: Path, log: Log) -> None:
    """An engine that was killed cannot say so itself."""
    path = short_path / "e.sock"
    async with running(fake(path), path, log) as instance:
        os.kill(instance.pid, signal.SIGKILL)
        await asyncio.wait((instance.exited,))

        assert instance.obituary.startswith("fake was killed by SIGKILL\n\n")
        assert "model loaded" in instance.obituary


async def test_a_stop_in_mid_stream_says_so(short_path: Path, log: Log) -> None:
    """It is not the engine's fault."""
    path = short_path / "e.sock"
    async with running(fake(path, tokens=10_000, tokens_per_second=20), path, log) as instance:
        task = asyncio.create_task(chat(instance, stream=True))
        await log.wait_for("generation started")
        await instance.stop()

        with pytest.raises(ShuttingDown):
            await task


async def test_an_error_of_the_engine_passes(short_path: Path, log: Log) -> None:
    """Its status and its body are the client's."""
    path = short_path / "e.sock"
    async with running(fake(path), path, log) as instance:
        body = b'{"messages": [], "fake": {"status": 418}}'
        async with instance.request("POST", "/v1/chat/completions", JSON, body) as upstream:
            assert upstream.status == 418
            assert b"refused on purpose" in b"".join([chunk async for chunk in upstream.chunks()])


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served_by(handler: Handler, path: Path, log: Log) -> AsyncIterator[Instance]:
    """An instance whose process does nothing, and whose socket is served here; health is seen to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readline()
            if first.startswith(b"GET /health"):
                writer.write(answer(b""))
            else:
                await handler(Prefixed(first, reader), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server, running(Launch(("sleep", "600")), path, log) as instance:
        yield instance


class Prefixed(asyncio.StreamReader):
    """A reader from which a line has been taken, with that line put back."""

    def __init__(self, line: bytes, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self._line = line
        self._reader = reader

    async def readuntil(self, separator: bytes = b"\n") -> bytes:  # type: ignore[override]  # no tuples here
        line, self._line = self._line, b""
        return line + await self._reader.readuntil(separator)

    async def readexactly(self, n: int) -> bytes:
        return await self._reader.readexactly(n)


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", body)
    return b"\r\n".join(lines)


async def one_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def test_a_request_passes_as_it_is(short_path: Path, log: Log) -> None:
    """Path, query, end-to-end headers and body; and nothing is added but Host and Content-Length."""
    seen: list[tuple[bytes, bytes]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await one_request(reader))
        writer.write(answer(b"{}"))

    async with served_by(handle, short_path / "e.sock", log) as instance:
        headers = [
            (b"host", b"example.org"),
            (b"connection", b"keep-alive"),
            (b"content-length", b"999"),
            (b"expect", b"100-continue"),
            (b"cookie", b"a=b"),
            (b"user-agent", b"x"),
            (b"x-own", b"1"),
        ]
        async with instance.request("POST", "/v1/x%2Fy?a=b+c&d=%20", headers, b"body\n"):
            pass

    expected = (
        b"POST /v1/x%2Fy?a=b+c&d=%20 HTTP/1.1\r\n"
        b"Host: localhost\r\n"
        b"Content-Length: 5\r\n"
        b"user-agent: x\r\n"
        b"x-own: 1\r\n\r\n"
    )
    assert [(expected, b"body\n")] == seen


async def test_an_answer_passes_as_it_is(short_path: Path, log: Log) -> None:
    """A compressed body is not opened, cookies are not kept, redirects are not followed."""
    packed = gzip.compress(b"hello")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one_request(reader)
        writer.write(answer(packed, b"Content-Encoding: gzip", b"Set-Cookie: a=b", b"Keep-Alive: timeout=5"))

    async with (
        served_by(handle, short_path / "e.sock", log) as instance,
        instance.request("GET", "/", [], b"") as upstream,
    ):
        body = b"".join([chunk async for chunk in upstream.chunks()])

    assert packed == body
    assert [
        (b"content-length", b"%d" % len(packed)),
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"a=b"),
    ] == upstream.headers


async def test_a_large_body_passes(short_path: Path, log: Log) -> None:
    """A picture in a prompt, say."""
    large = os.urandom(3 << 20)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await one_request(reader)
        writer.write(answer(b"same" if body == large else b"other"))

    async with served_by(handle, short_path / "e.sock", log) as instance:
        assert await read(instance, "POST", "/", large) == b"same"


async def test_connections_are_used_again(short_path: Path, log: Log) -> None:
    """By requests that follow each other."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await one_request(reader)
            writer.write(answer(b"{}"))

    async with served_by(handle, short_path / "e.sock", log) as instance:
        for _ in range(5):
            await read(instance, "POST", "/", b"x")

    assert connections == 1


async def test_a_connection_that_the_engine_has_closed_is_replaced(short_path: Path, log: Log) -> None:
    """The request that met it is sent again, once, on a new one."""
    requests = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await one_request(reader)
        requests += 1
        writer.write(answer(b"%d" % requests))
        await one_request(reader)  # and closes without an answer

    async with served_by(handle, short_path / "e.sock", log) as instance:
        assert await read(instance, "POST", "/", b"x") == b"1"
        assert await read(instance, "POST", "/", b"x") == b"2"


async def test_an_engine_that_answers_nobody_is_an_error(short_path: Path, log: Log) -> None:
    """A new connection that is closed without an answer is not bad luck, and nothing is asked twice."""
    requests = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await one_request(reader)
        requests += 1

    async with served_by(handle, short_path / "e.sock", log) as instance:
        with pytest.raises(EngineFailed, match="fake did not complete its answer"):
            await read(instance, "POST", "/", b"x")

    assert requests == 1


async def test_an_answer_that_breaks_off_is_an_error(short_path: Path, log: Log) -> None:
    """However well it has begun."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

    async with served_by(handle, short_path / "e.sock", log) as instance:
        with pytest.raises(EngineFailed, match="fake did not complete its answer"):
            await read(instance, "POST", "/", b"x")


async def test_an_answer_that_is_not_http_is_an_error(short_path: Path, log: Log) -> None:
    """And not one of the client's."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one_request(reader)
        writer.write(b"what?\r\n\r\n")

    async with served_by(handle, short_path / "e.sock", log) as instance:
        with pytest.raises(EngineFailed, match="fake did not answer properly: not HTTP"):
            await read(instance, "POST", "/", b"x")


async def test_idle_connections_give_way(short_path: Path, log: Log) -> None:
    """An engine that serves one connection at a time, as llama-server serves as many as it has threads."""
    turn = asyncio.Lock()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with turn:
            while True:
                await one_request(reader)
                writer.write(answer(b"{}"))

    async with served_by(handle, short_path / "e.sock", log) as instance, asyncio.timeout(20):
        answers = await asyncio.gather(*(read(instance, "POST", "/", b"x") for _ in range(10)))

    assert answers == [b"{}"] * 10


async def test_a_full_queue_of_connections_is_waited_for(short_path: Path, log: Log) -> None:
    """Linux refuses connections that an engine has not yet had the time to accept; that is no error."""
    path = short_path / "e.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        accept = threading.Event()
        thread = threading.Thread(target=_accept_slowly, args=(listener, accept), daemon=True)
        thread.start()
        async with running(Launch(("sleep", "600")), path, log) as instance, asyncio.timeout(20):
            tasks = [asyncio.create_task(read(instance, "POST", "/", b"x")) for _ in range(20)]
            await asyncio.sleep(0)
            accept.set()
            answers = await asyncio.gather(*tasks)

    assert answers == [b"ok"] * 20


def _accept_slowly(listener: socket.socket, accept: threading.Event) -> None:
    """Answer the question for health, then nothing until told to, then everything."""
    for number in range(21):
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer(b"ok", b"Connection: close"))
        if number == 0:
            accept.wait()


@pytest.mark.parametrize("target", ["", "v1", "/a b", "/a\r\nX: y", "/é", "//x\x00"])
async def test_a_target_is_path_and_query(short_path: Path, log: Log, target: str) -> None:
    """Nothing in it can end the request line."""
    path = short_path / "e.sock"
    async with running(fake(path), path, log) as instance:
        with pytest.raises(InvalidRequest):
            await read(instance, "GET", target)


class Companion:
    """Notes what it is asked, and asks the engine itself."""

    def __init__(self) -> None:
        self.attentive = True
        self.events: list[str] = []

    async def prepare(self, ask: AskEngine, target: str, body: bytes) -> "Companion":
        answer = await ask(Ask("GET", "/health"))
        self.events.append(f"prepare {target} {json.loads(body)['max_tokens']} {answer.status}")
        self.attentive = False
        return self

    def see(self, chunk: bytes) -> None:
        self.events.append("piece" if chunk else "end")

    async def save(self, ask: AskEngine) -> None:
        answer = await ask(Ask("GET", "/health"))
        self.events.append(f"save {answer.status}")


async def test_a_companion_sees_the_request_the_answer_and_the_end(short_path: Path, log: Log) -> None:
    """It talks to the engine before the request is passed on and before the process is stopped."""
    path = short_path / "e.sock"
    companion = Companion()
    async with running(fake(path), path, log) as instance:
        instance.accompany(companion)
        await chat(instance, max_tokens=3)
        await chat(instance, max_tokens=4)

    assert companion.events[0] == "prepare /v1/chat/completions 3 200"
    assert companion.events[1:-2] == ["piece"] * (len(companion.events) - 3)
    assert companion.events[-2:] == ["end", "save 200"]


async def test_a_companion_is_not_asked_when_the_engine_crashed(short_path: Path, log: Log) -> None:
    """There is nobody left to talk to."""
    path = short_path / "e.sock"
    companion = Companion()
    instance = await start(fake(path), path, log)
    instance.accompany(companion)
    os.kill(instance.pid, signal.SIGKILL)
    await asyncio.wait((instance.exited,))
    await instance.stop()

    assert companion.events == []


async def test_a_stop_that_is_cancelled_while_a_companion_saves_still_stops(
    short_path: Path, log: Log
) -> None:
    """No process is left behind."""

    class Slow(Companion):
        async def save(self, ask: AskEngine) -> None:
            self.events.append("save")
            stopping.cancel()
            await asyncio.Event().wait()

    path = short_path / "e.sock"
    instance = await start(fake(path), path, log)
    companion = Slow()
    instance.accompany(companion)
    stopping = asyncio.create_task(instance.stop())
    with pytest.raises(asyncio.CancelledError):
        await stopping

    assert companion.events == ["save"]
    assert not psutil.pid_exists(instance.pid)
