"""Disk work in threads."""

import asyncio
import threading

import pytest

from modelrunner.store.offload import in_thread


async def test_gives_the_result() -> None:
    """What the function returns is what the caller gets."""
    assert await in_thread(divmod, 7, 3) == (2, 1)


async def test_raises_what_the_function_raised() -> None:
    """An error in the thread is an error of the caller."""
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0)


async def test_a_cancelled_caller_waits_for_the_thread() -> None:
    """Cancelling twice still waits, so that the thread uses no file that its caller has closed."""
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(10)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(2):
        task.cancel()
        await asyncio.wait((task,), timeout=0.01)
    was_done = task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (was_done, ended.is_set()) == (False, True)


async def test_long_work_is_told_to_stop() -> None:
    """Cancelling sets the event that the work watches."""
    started, stop = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return stop.wait(10)

    task = asyncio.create_task(in_thread(work, stop=stop))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert stop.is_set()


async def test_an_error_after_a_cancellation_is_not_reported_twice() -> None:
    """The cancellation wins, and nobody complains of an exception that was never seen."""
    started, release = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(10)
        raise OSError("too late")

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    release.set()

    with pytest.raises(asyncio.CancelledError):
        await task
