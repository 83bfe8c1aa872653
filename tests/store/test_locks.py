"""Who may write what."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelrunner.errors import StoreError
from modelrunner.oci.digest import Digest
from modelrunner.store.locks import FileLock, Turns, holding, sweep

DIGEST = Digest.of(b"content")
HOLDER = """
import sys
from pathlib import Path
from modelrunner.store.locks import FileLock
assert FileLock(Path(sys.argv[1])).acquire_now()
print("held", flush=True)
sys.stdin.read()
"""


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """A second lock on the same file is not granted until the first is released."""
    first, second = FileLock(tmp_path / "x.lock"), FileLock(tmp_path / "x.lock")

    seen = [first.acquire_now(), second.acquire_now()]
    first.release()
    seen.append(second.acquire_now())
    second.release()

    assert seen == [True, False, True]


def test_a_released_lock_leaves_no_file(tmp_path: Path) -> None:
    """Pulling ten thousand blobs does not leave ten thousand files."""
    with holding(tmp_path / "locks" / "x.lock"):
        pass

    assert list((tmp_path / "locks").iterdir()) == []


def test_a_lock_on_a_file_without_a_name_is_none(tmp_path: Path) -> None:
    """Who opened the file before its holder deleted it must not hold it beside one who made it anew."""
    path = tmp_path / "x.lock"
    holder = FileLock(path)
    assert holder.acquire_now()
    path.unlink()
    newer = FileLock(path)
    assert newer.acquire_now()

    holder.release()

    assert path.exists(), "the newer holder's file is not the older one's to delete"
    newer.release()


def test_waiting_ends(tmp_path: Path) -> None:
    """A process that has stopped with the lock in its hand does not stop all others for ever."""
    with FileLock(tmp_path / "x.lock") as lock:
        assert lock.acquire_now()
        with pytest.raises(StoreError, match="store is busy"), holding(tmp_path / "x.lock", patience=0.01):
            pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    """Its file stays, unlocked: the next one takes it over, and a sweep takes it away."""
    path = tmp_path / "x.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        held = FileLock(path).acquire_now()
        child.kill()
        child.wait()
    stale = path.exists()
    sweep(tmp_path)

    assert (held, stale, path.exists()) == (False, True, False)


def test_a_sweep_leaves_held_locks(tmp_path: Path) -> None:
    """Somebody else's lock stays."""
    path = tmp_path / "x.lock"
    with FileLock(path) as lock:
        lock.acquire_now()
        sweep(tmp_path)

        assert path.exists()


def test_a_place_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """A file where the directory should be is an error in words."""
    (tmp_path / "locks").write_text("")

    with pytest.raises(StoreError, match="cannot lock"):
        FileLock(tmp_path / "locks" / "x.lock").acquire_now()


async def test_turns_come_one_after_the_other(tmp_path: Path) -> None:
    """Two tasks that want the same digest do not have it at the same time."""
    turns, log = Turns(tmp_path), list[str]()

    async def take(name: str) -> None:
        async with turns.turn(DIGEST):
            log.append(f"{name} in")
            await asyncio.sleep(0)
            log.append(f"{name} out")

    await asyncio.gather(take("a"), take("b"))

    assert log == ["a in", "a out", "b in", "b out"]


async def test_a_turn_waits_for_another_process(tmp_path: Path) -> None:
    """A lock held outside is waited for without blocking the loop, and taken when it is free."""
    turns = Turns(tmp_path)
    outside = FileLock(turns.path(DIGEST))
    outside.acquire_now()
    entered = asyncio.Event()

    async def take() -> None:
        async with turns.turn(DIGEST):
            entered.set()

    task = asyncio.create_task(take())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(entered.wait()), 0.05)
    outside.release()
    await asyncio.wait_for(task, 10)

    assert entered.is_set()


@pytest.mark.parametrize("outside", [False, True])
async def test_a_cancelled_waiter_leaves_nothing(tmp_path: Path, outside: bool) -> None:
    """Whether it waited for a task or for a process, the right is free afterwards."""
    turns = Turns(tmp_path)
    lock = FileLock(turns.path(DIGEST))
    release = asyncio.Event()

    async def hold() -> None:
        async with turns.turn(DIGEST):
            await release.wait()

    async def take() -> None:
        async with turns.turn(DIGEST):
            pass

    holder = None if outside else asyncio.create_task(hold())
    if outside:
        lock.acquire_now()
    waiter = asyncio.create_task(take())
    await asyncio.wait((waiter,), timeout=0.02)
    waiter.cancel()
    await asyncio.wait((waiter,))
    release.set()
    lock.release()
    if holder:
        await holder

    await asyncio.wait_for(take(), 10)
    assert _names(tmp_path) == []


async def test_a_right_is_taken_only_if_free(tmp_path: Path) -> None:
    """A sweep goes past what somebody is writing."""
    turns = Turns(tmp_path)
    async with turns.turn(DIGEST):
        with turns.if_free(DIGEST) as free:
            assert not free

    with turns.if_free(DIGEST) as free:
        assert free


def test_a_lock_is_not_inherited(tmp_path: Path) -> None:
    """An engine that is started meanwhile does not keep the lock after we let go."""
    with FileLock(tmp_path / "x.lock") as lock:
        lock.acquire_now()
        assert lock._handle is not None

        assert not os.get_inheritable(lock._handle)
