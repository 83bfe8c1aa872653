"""The models in memory, for requests to use: a thin shell around `policy.plan`.

State changes only between awaits, in methods that are no coroutines, which is why there is no lock. One task
per resident owns its whole life: start, ready, gone. No request owns a load, so a client that leaves takes
itself out of the line and nothing else. What an instance is, and how it is started, is not known here.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Generic, Protocol

from modelrunner.errors import Busy, EngineFailed, RunnerError, ShuttingDown
from modelrunner.runtime import policy
from modelrunner.runtime.events import Event, Events, Kind
from modelrunner.runtime.lease import Lease, Loaded, R
from modelrunner.runtime.line import Line
from modelrunner.runtime.policy import Key, Reason, State

_log = logging.getLogger(__name__)


class Timer(Protocol):
    """A call that is to come and can be taken back."""

    def cancel(self) -> None:
        """Take it back."""
        ...


Later = Callable[[float, Callable[[], None]], Timer]  # seconds from now, and what to call then


def _later(delay: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(delay, call)


@dataclass(frozen=True, slots=True)
class ResidentView:
    """A resident as others see it.

    `last_used` is in seconds since the epoch, None while it loads or is in use; `keep_alive` in seconds, None
    for ever.
    """

    key: Key
    state: State
    leases: int
    last_used: float | None
    keep_alive: float | None

    @property
    def loading(self) -> bool:
        """Whether it is not ready yet."""
        return self.state is State.STARTING


class _Claim(Generic[R]):
    """`async with` around a lease; a class, because a generator costs more on every request."""

    __slots__ = ("_key", "_lease", "_pool")

    def __init__(self, pool: "Pool[R]", key: Key) -> None:
        self._pool = pool
        self._key = key
        self._lease: Lease[R] | None = None

    async def __aenter__(self) -> R:
        self._lease = lease = self._pool.try_lease(self._key) or await self._pool.acquire(self._key)
        return lease.running

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lease is not None:
            self._lease.release()


class Pool(Generic[R]):
    """Leases on running instances.

    `start` returns a ready instance, or raises when nothing of it is left running. `places` is how many may
    be in memory and `queue` how many requests may wait. `keep_alive` is asked anew at each decision; call
    `settle` when its answers changed. `patience` is explained in `policy.Limits`. `clock` (seconds, of which
    only differences count), `wall` (seconds since the epoch) and `later` are time, for tests to move by hand.
    """

    def __init__(
        self,
        start: Callable[[Key], Awaitable[R]],
        *,
        places: int,
        keep_alive: Callable[[Key], float | None],
        queue: int = 512,
        patience: float = policy.DEFAULT_PATIENCE,
        events: Events | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        later: Later = _later,
    ) -> None:
        self.events = events if events is not None else Events()
        self._start = start
        self._limits = policy.Limits(places, patience)
        self._keep_alive = keep_alive
        self._queue = queue
        self._clock = clock
        self._wall = wall
        self._later = later
        self._residents: dict[Key, Loaded[R]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._line: Line[R] = Line()
        self._timer: Timer | None = None
        self._wake_at: float | None = None
        self._closing = False

    # What requests use

    def lease(self, key: Key) -> AbstractAsyncContextManager[R]:
        """Use the instance for `key` within the block; it is loaded first when it is not here.

        Raises:
            Busy: too many requests wait already.
            ShuttingDown: the pool is being closed.
            RunnerError: what went wrong when it was loaded.
        """
        return _Claim(self, key)

    def try_lease(self, key: Key) -> Lease[R] | None:
        """Take a lease if the instance is ready now; the path of nearly every request, so it never waits."""
        resident = self._residents.get(key)
        if resident is None or resident.state is not State.READY or resident.draining or self._closing:
            return None
        running = resident.running
        if running is None or not running.alive:
            return None
        resident.leases += 1
        return Lease(resident, running, self._give_back)

    async def acquire(self, key: Key) -> Lease[R]:
        """Take a lease, waiting in line when the instance is not ready. The caller releases it.

        Raises:
            Busy, ShuttingDown, RunnerError: as for `lease`.
        """
        lease = self.try_lease(key)
        if lease is not None:
            return lease
        if self._closing:
            raise _shutting_down()
        if len(self._line) >= self._queue:
            raise Busy(
                f"too many requests are waiting for a model: `{self._queue}`", hint="try again in a moment"
            )
        waiter = self._line.join(key, self._clock())
        self.settle()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._line.leave(waiter)
            self.settle()
            raise

    async def preload(self, key: Key) -> None:
        """Load an instance without using it; its idle time starts as soon as it is ready.

        Raises:
            Busy, ShuttingDown, RunnerError: as for `lease`.
        """
        (await self.acquire(key)).release()

    # What administration uses

    def residents(self) -> tuple[ResidentView, ...]:
        """Show who is here, in the order in which they came."""
        epoch = self._wall() - self._clock()
        return tuple(
            ResidentView(
                key=r.key,
                state=r.state,
                leases=r.leases,
                last_used=None if r.leases or r.state is State.STARTING else epoch + r.idle_since,
                keep_alive=self._keep_alive(r.key),
            )
            for r in self._residents.values()
        )

    @property
    def waiting(self) -> int:
        """How many requests wait in line."""
        return len(self._line)

    async def unload(self, match: Callable[[Key], bool]) -> int:
        """Stop those that match and are idle; wait until their processes are gone; say how many they were.

        What is in use or still loading is left alone.
        """
        return await self._stop_idle(match, Reason.UNLOADED)

    async def reload(self, key: Key) -> bool:
        """Stop the instance, if there is one, so that the next request starts it with a new configuration.

        A load that nobody waits for is broken off. Returns False, and changes nothing, while it is in use, or
        loads for somebody.
        """
        resident = self._residents.get(key)
        if resident is not None and resident.state is State.STARTING and key not in self._line:
            await self._break_off(resident)
            resident = self._residents.get(key)
        if resident is not None and resident.state is not State.STOPPING and not self._is_idle(resident):
            return False
        await self._stop_idle(lambda other: other == key, Reason.RECONFIGURED)
        return True

    async def _break_off(self, resident: Loaded[R]) -> None:
        resident.reason = Reason.RECONFIGURED
        if resident.task is not None:
            resident.task.cancel()
            await asyncio.wait((resident.task,))

    async def close(self, deadline: float) -> None:
        """Turn new and waiting requests away, give running ones `deadline` seconds, then stop everything."""
        if not self._closing:
            self._closing = True
            self._turn_away()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline)
        for resident in self._residents.values():
            if resident.state is State.READY:
                self._dismiss(resident, Reason.SHUTDOWN)
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._arm(None)

    def _turn_away(self) -> None:
        for waiter in self._line.take_all():
            waiter.future.set_exception(_shutting_down())
        for resident in self._residents.values():
            if resident.state is State.STARTING and resident.task is not None:
                resident.task.cancel()
        self.settle()

    async def _stop_idle(self, match: Callable[[Key], bool], reason: Reason) -> int:
        stopped = 0
        leaving: list[asyncio.Task[None]] = []
        for resident in self._residents.values():
            if not match(resident.key):
                continue
            if self._is_idle(resident):
                self._dismiss(resident, reason)
                stopped += 1
            if resident.state is State.STOPPING and resident.task is not None:
                leaving.append(resident.task)
        if leaving:
            await asyncio.wait(leaving)
        return stopped

    # Decide, then act; nothing here awaits

    def settle(self) -> None:
        """Bring what is here into line with what the policy wants now."""
        if self._closing:
            for resident in self._residents.values():
                if self._is_idle(resident):
                    self._dismiss(resident, Reason.SHUTDOWN)
        views = [self._view(resident) for resident in self._residents.values()]
        plan = policy.plan(views, self._line.order(), self._limits, self._clock())
        for key in plan.gone:
            self._drop_crashed(self._residents[key])
        for step in plan.stop:
            self._dismiss(self._residents[step.key], step.reason)
        for step in plan.start:
            self._load(step.key, step.reason)
        for resident in self._residents.values():
            resident.draining = resident.key in plan.drain
            self._serve_line(resident)
        self._arm(plan.wake_at)

    def _view(self, resident: Loaded[R]) -> policy.Resident:
        return policy.Resident(
            key=resident.key,
            state=resident.state,
            leases=resident.leases,
            idle_since=resident.idle_since,
            ready_since=resident.ready_since,
            keep_alive=self._keep_alive(resident.key),
            alive=resident.running is None or resident.running.alive,
        )

    def _is_idle(self, resident: Loaded[R]) -> bool:
        return resident.state is State.READY and resident.leases == 0 and resident.key not in self._line

    def _serve_line(self, resident: Loaded[R]) -> None:
        running = resident.running
        if resident.state is not State.READY or resident.draining or running is None:
            return
        for waiter in self._line.take(resident.key):
            resident.leases += 1
            waiter.future.set_result(Lease(resident, running, self._give_back))

    def _give_back(self, resident: Loaded[R]) -> None:
        resident.leases -= 1
        if resident.leases:
            return
        now = resident.idle_since = self._clock()
        if len(self._line) or self._closing or not self._wakes_in_time(resident.key, now):
            self.settle()

    def _wakes_in_time(self, key: Key, now: float) -> bool:
        """Whether the timer is early enough for a resident that is idle from now on; spares most settling."""
        keep_alive = self._keep_alive(key)
        return keep_alive is None or (self._wake_at is not None and self._wake_at <= now + keep_alive)

    def _arm(self, wake_at: float | None) -> None:
        if wake_at == self._wake_at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake_at = wake_at
        if wake_at is not None:
            self._timer = self._later(max(0.0, wake_at - self._clock()), self._wake)

    def _wake(self) -> None:
        self._timer = self._wake_at = None
        self.settle()

    # The life of a resident

    def _load(self, key: Key, reason: Reason) -> None:
        resident: Loaded[R] = Loaded(key, self._clock())
        self._residents[key] = resident
        self._emit(Kind.STARTING, resident, reason)
        resident.task = task = asyncio.create_task(self._live(resident), name=f"resident {key}")
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, resident))

    async def _live(self, resident: Loaded[R]) -> None:
        try:
            running = await self._start(resident.key)
        except Exception as exc:  # noqa: BLE001 - the top of a task; everyone who waits is told
            self._fail(resident, exc)
            return
        try:
            self._ready(resident, running)
            await asyncio.wait((running.exited, resident.dismissed), return_when=asyncio.FIRST_COMPLETED)
            self.settle()
        finally:
            await running.stop()

    def _ready(self, resident: Loaded[R], running: R) -> None:
        resident.running = running
        resident.state = State.READY
        resident.ready_since = resident.idle_since = self._clock()
        seconds = resident.ready_since - resident.since
        _log.info("model ready key=%s seconds=%.2f", resident.key, seconds)
        self._emit(Kind.READY, resident, Reason.REQUESTED, f"{seconds:.2f} s")
        self.settle()

    def _fail(self, resident: Loaded[R], exc: Exception) -> None:
        resident.reason = Reason.FAILED
        resident.detail = str(exc)
        if isinstance(exc, RunnerError):
            _log.warning("model not loaded key=%s error=%s", resident.key, exc)
        else:
            _log.error("model not loaded key=%s", resident.key, exc_info=exc)
        for waiter in self._line.take(resident.key):
            waiter.future.set_exception(_copy(exc))

    def _dismiss(self, resident: Loaded[R], reason: Reason) -> None:
        """Ask the resident's task to stop it; the place stays taken until that is done."""
        resident.state = State.STOPPING
        resident.reason = reason
        resident.dismissed.set_result(None)
        _log.info("model stopping key=%s reason=%s", resident.key, reason)
        self._emit(Kind.STOPPING, resident, reason)

    def _drop_crashed(self, resident: Loaded[R]) -> None:
        """Forget a resident whose process is gone; its task clears up, its leases find out by themselves."""
        del self._residents[resident.key]
        tail = resident.running.tail if resident.running is not None else ""
        _log.warning("model crashed key=%s last_line=%s", resident.key, tail.rpartition("\n")[2])
        self._emit(Kind.GONE, resident, Reason.CRASHED, tail)

    def _ended(self, resident: Loaded[R], task: asyncio.Task[None]) -> None:
        """The resident's task is over: nothing of it is left, and its place is free."""
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            _log.error("model not stopped properly key=%s", resident.key, exc_info=exc)
        if self._residents.get(resident.key) is resident:
            del self._residents[resident.key]
            self._emit(Kind.GONE, resident, resident.reason, resident.detail)
        self.settle()

    def _emit(self, kind: Kind, resident: Loaded[R], reason: Reason, detail: str = "") -> None:
        self.events.emit(Event(kind, resident.key, reason, self._wall(), detail))


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("the daemon is shutting down")


def _copy(exc: Exception) -> RunnerError:
    """Make an exception for each who waited: one raised in several tasks would mix their tracebacks."""
    if isinstance(exc, RunnerError):
        copy = type(exc)(exc.message, hint=exc.hint, detail=exc.detail)
    else:
        copy = EngineFailed("the model could not be loaded", hint="the daemon's log has the reason")
    copy.__cause__ = exc
    return copy
