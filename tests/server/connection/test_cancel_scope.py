"""Requests end when their client leaves or the daemon stops, and not otherwise."""

import asyncio

import pytest
from starlette.types import Message, Receive

from modelrunner.errors import DeadlineExceeded, ShuttingDown
from modelrunner.server.connection.cancel_scope import CancelScope, Ending, Group


def client(left: asyncio.Event) -> Receive:
    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    return receive


async def test_a_block_that_ends_by_itself_ends_as_it_likes() -> None:
    """No cancellation stays behind, and no task that watches."""
    before = asyncio.all_tasks()
    with CancelScope(client(asyncio.Event()), Group()) as cancel_scope:
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert cancel_scope.ending is None
    assert before == asyncio.all_tasks()


async def test_a_client_that_leaves_ends_the_block_quietly() -> None:
    """What comes after the block runs, and can tell why."""
    left = asyncio.Event()
    asyncio.get_running_loop().call_soon(left.set)
    with CancelScope(client(left), Group()) as cancel_scope:
        await asyncio.Event().wait()

    assert Ending.CLIENT_LEFT is cancel_scope.ending
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_the_end_of_the_group_ends_the_block_with_an_error() -> None:
    """The request can say that the daemon is going."""
    group = Group()
    asyncio.get_running_loop().call_soon(group.end)

    with pytest.raises(ShuttingDown), CancelScope(client(asyncio.Event()), group):
        await asyncio.Event().wait()

    assert not group._cancel_scopes


async def test_who_comes_after_the_end_is_ended_at_once() -> None:
    """A group that has ended takes nobody in."""
    group = Group()
    group.end()

    with pytest.raises(ShuttingDown), CancelScope(client(asyncio.Event()), group):
        await asyncio.Event().wait()


async def test_a_released_scope_hears_nothing_any_more() -> None:
    """After the last piece, neither the client nor the daemon can end the block."""
    left, group = asyncio.Event(), Group()
    with CancelScope(client(left), group) as cancel_scope:
        cancel_scope.release()
        left.set()
        group.end()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert cancel_scope.ending is None


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Whoever cancels the task gets what they asked for."""

    async def request() -> None:
        with CancelScope(client(asyncio.Event()), Group()):
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_in_the_block_is_passed_on() -> None:
    """Errors are not mistaken for an end."""
    with pytest.raises(ValueError, match="inside"), CancelScope(client(asyncio.Event()), Group()):
        raise ValueError("inside")


async def test_a_deadline_ends_the_block_with_an_error() -> None:
    """The request can say that its time is over."""
    cancel_scope = CancelScope(client(asyncio.Event()), Group())
    cancel_scope.within(0.01)

    with pytest.raises(DeadlineExceeded), cancel_scope:
        await asyncio.Event().wait()


async def test_a_block_that_ends_in_time_is_not_ended_again() -> None:
    """Nothing is left of its deadline."""
    with CancelScope(client(asyncio.Event()), Group()) as cancel_scope:
        cancel_scope.within(0.01)
    await asyncio.sleep(0.02)

    assert cancel_scope.ending is None


async def test_a_client_that_takes_nothing_ends_the_block_quietly() -> None:
    """A piece that is on its way for too long is the last."""
    with CancelScope(client(asyncio.Event()), Group(stall=0.01)) as cancel_scope:
        cancel_scope.sends += 1
        await asyncio.Event().wait()

    assert Ending.CLIENT_STALLED is cancel_scope.ending


async def test_a_client_that_takes_slowly_is_served() -> None:
    """What counts is that pieces are taken, and an engine may be silent for as long as it likes."""
    with CancelScope(client(asyncio.Event()), Group(stall=0.05)) as cancel_scope:
        for _ in range(8):
            cancel_scope.sends += 1
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.15)

    assert cancel_scope.ending is None


class Line:
    """A connection whose client can leave."""

    def __init__(self) -> None:
        self.watcher: CancelScope | None = None

    def watch(self, watcher: CancelScope) -> None:
        self.watcher = watcher

    def unwatch(self, watcher: CancelScope) -> None:
        assert watcher is self.watcher
        self.watcher = None


async def test_a_connection_tells_of_its_client_without_a_task() -> None:
    """The block ends as it does otherwise, and no task waits meanwhile."""
    line = Line()
    before = asyncio.all_tasks()
    with CancelScope(None, Group()) as cancel_scope:
        cancel_scope.watch(client(asyncio.Event()), line)
        assert before == asyncio.all_tasks()
        asyncio.get_running_loop().call_soon(cancel_scope.client_left)
        await asyncio.Event().wait()

    assert Ending.CLIENT_LEFT is cancel_scope.ending
    assert line.watcher is None


async def test_what_a_connection_tells_too_late_ends_nothing() -> None:
    """The block was left when the news came."""
    with CancelScope(None, Group()) as cancel_scope:
        cancel_scope.watch(client(asyncio.Event()), Line())
        cancel_scope.release()
        cancel_scope.client_left()
        await asyncio.sleep(0)

    assert cancel_scope.ending is None
