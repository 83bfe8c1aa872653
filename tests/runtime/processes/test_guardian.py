"""The guardian: a real process that ends what a daemon leaves, also when the daemon is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from modelrunner.runtime.processes.guardian import Guardian
from modelrunner.runtime.processes.process import Child

# Starts two workers, one of which leaves the group, says their numbers, and ignores being asked to end.
ENGINE = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
argv = [sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(600)"]
workers = [subprocess.Popen(argv, start_new_session=leave).pid for leave in (False, True)]
print(*workers, flush=True)
time.sleep(600)
"""

DAEMON = """
import asyncio, sys, uvloop
from pathlib import Path
from modelrunner.runtime.processes.guardian import Guardian
from modelrunner.runtime.processes.process import Child

async def main(run, code):
    guardian = Guardian(Path(run))
    await guardian.open()
    child = await Child.start(
        (sys.executable, "-c", code),
        env={"DMR_ENGINE_DIRECTORY": f"{run}/1"},
        on_line=lambda line: print(child.pid, guardian.pid, line, flush=True),
    )
    guardian.watch(child.pid)
    await asyncio.wait((child.exited,))

RUN(main(*sys.argv[1:]))
"""


def gone(pid: int) -> bool:
    """Whether a process does not run any more; a zombie does not, and somebody else's to reap."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until_gone(*pids: int) -> None:
    async with asyncio.timeout(20):
        while not all(gone(pid) for pid in pids):  # noqa: ASYNC110 - they are no children of ours; there is no event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def guarding(run: Path) -> AsyncIterator[Guardian]:
    guardian = Guardian(run)
    await guardian.open()
    try:
        yield guardian
    finally:
        await guardian.close()


class Engine:
    """A process with two workers, of which the second is not in its group."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._said = asyncio.get_running_loop().create_future()
        self.child: Child
        self.workers: list[int] = []

    async def start(self) -> "Engine":
        env = {"DMR_ENGINE_DIRECTORY": str(self._directory)}
        argv = (sys.executable, "-c", ENGINE)
        self.child = await Child.start(argv, env=env, on_line=self._said.set_result)
        self.workers = [int(word) for word in (await self._said).split()]
        return self

    async def end(self) -> None:
        self.child.kill()
        await asyncio.wait((self.child.exited,))


@pytest.mark.skipif(sys.platform != "linux", reason="who has left a group is known by /proc")
@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_a_killed_daemon_leaves_nothing_of_an_engine(short_path: Path, run: str) -> None:
    """Neither the engine nor its workers, in its group or out of it; then the guardian goes too."""
    argv = (sys.executable, "-c", DAEMON.replace("RUN", run), str(short_path), ENGINE)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        engine, guardian, *workers = (int(word) for word in daemon.stdout.readline().split())
        assert len(workers) == 2
        assert not any(gone(pid) for pid in (engine, guardian, *workers))
        daemon.kill()
        daemon.wait()
        asyncio.run(until_gone(engine, *workers, guardian))


@pytest.mark.skipif(sys.platform != "linux", reason="who has left a group is known by /proc")
async def test_what_an_engine_leaves_is_ended_with_it(short_path: Path) -> None:
    """Also what has left its group; the workers of another engine stay."""
    async with guarding(short_path) as guardian:
        one, two = [await Engine(short_path / name).start() for name in ("1", "11")]
        await one.end()
        assert not gone(one.workers[1])

        guardian.forget(one.child.pid, short_path / "1")

        await until_gone(*one.workers)
        assert not any(gone(pid) for pid in two.workers)
        await two.end()
    await until_gone(*two.workers)


async def test_a_guardian_that_is_killed_is_replaced(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one knows what the old one was told."""
    monkeypatch.setattr("modelrunner.runtime.processes.guardian._AGAIN_AFTER", 0.0)
    async with guarding(short_path) as guardian:
        engine = await Engine(short_path / "1").start()
        guardian.watch(engine.child.pid)
        first = guardian.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while guardian.pid == first:  # noqa: ASYNC110 - its replacement is nobody's event
                await asyncio.sleep(0.005)

    await asyncio.wait((engine.child.exited,), timeout=20)
    assert engine.child.exited.result() == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="who has left a group is known by /proc")
async def test_a_guardian_ends_with_its_daemon_only(short_path: Path) -> None:
    """Signals to end, which whole groups and sessions are sent, do not concern it."""
    async with guarding(short_path) as guardian:
        assert guardian.pid is not None
        process = psutil.Process(guardian.pid)
        engine = await Engine(short_path / "1").start()
        await engine.end()
        guardian.forget(engine.child.pid, short_path / "1")
        await until_gone(*engine.workers)  # so it listens
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
        assert not gone(process.pid)

    assert gone(process.pid)


async def test_telling_the_guardian_costs_a_start_next_to_nothing(short_path: Path) -> None:
    """It is there before the first engine; a start costs one line on a pipe."""
    async with guarding(short_path) as guardian:
        before = [process.pid for process in psutil.Process().children(recursive=True)]
        begun = time.process_time()
        for number in range(1000):
            guardian.watch(10_000_000 + number)
        took = time.process_time() - begun
        after = [process.pid for process in psutil.Process().children(recursive=True)]

    assert guardian.pid in before
    assert before == after
    assert took / 1000 < 0.0002
