"""Noticing that an engine is ready, against a small server in the same loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from modelrunner.engines.base import Address
from modelrunner.runtime.channel.readiness import until_ready


class Engine:
    """Answers with `status`, and counts the questions. Answers nothing while it is None."""

    def __init__(self) -> None:
        self.status: int | None = 503
        self.asked = asyncio.Event()
        self.questions: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.questions.append(await reader.readline())
        self.asked.set()
        if self.status is not None:
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % self.status)
        else:
            await reader.read()
        writer.close()


@asynccontextmanager
async def polling(address: Address) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(until_ready(address, "/health"))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_only_200_counts(short_path: Path) -> None:
    """An engine that is still loading answers, but with another status."""
    engine, path = Engine(), short_path / "x.sock"
    async with await asyncio.start_unix_server(engine, path), polling(Address(path)) as task:
        async with asyncio.timeout(20):
            await engine.asked.wait()
            assert not task.done()
            engine.status = 200
            await task

    assert engine.questions[0] == b"GET /health HTTP/1.1\r\n"


async def test_an_engine_may_listen_later(short_path: Path) -> None:
    """No socket at first, and one that nobody listens on, are nothing special."""
    engine, path = Engine(), short_path / "x.sock"
    engine.status = 200
    async with polling(Address(path)) as task:
        await asyncio.sleep(0)
        assert not task.done()
        async with await asyncio.start_unix_server(engine, path), asyncio.timeout(20):
            await task


async def test_an_engine_that_accepts_and_is_silent_is_asked_again(short_path: Path) -> None:
    """One lost question does not hold up the rest."""
    engine, path = Engine(), short_path / "x.sock"
    engine.status = None
    async with await asyncio.start_unix_server(engine, path), polling(Address(path)) as task:
        async with asyncio.timeout(20):
            await engine.asked.wait()
            engine.status = 200
            await task

    assert len(engine.questions) == 2


async def test_tcp_works_too() -> None:
    """For engines that know no Unix sockets."""
    engine = Engine()
    engine.status = 200
    async with await asyncio.start_server(engine, "127.0.0.1", 0) as server, asyncio.timeout(20):
        await until_ready(Address(port=server.sockets[0].getsockname()[1]), "/health")


async def test_readiness_is_noticed_within_20_ms(short_path: Path) -> None:
    """The best of a few tries, because the machine may be busy with something else."""
    times = []
    loop = asyncio.get_running_loop()
    for number in range(5):
        engine, path = Engine(), short_path / f"{number}.sock"
        async with await asyncio.start_unix_server(engine, path), polling(Address(path)) as task:
            while len(engine.questions) < 8:
                engine.asked.clear()
                await engine.asked.wait()
            engine.status = 200
            begun = loop.time()
            await task
            times.append(loop.time() - begun)

    assert min(times) <= 0.020
