"""The lifecycles of models in memory: one task for each owns its instance from its start until it is gone.

It starts it, has it sleep and wake when it is told to, and stops it. What is to be done is decided elsewhere;
what has happened is told to the scheduler, and to whoever listens to events.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic

from modelrunner.errors import EngineFailed, NotReadyInTime, RunnerError
from modelrunner.runtime.events import Event, Events, Kind
from modelrunner.runtime.scheduling.lease import Loaded, R
from modelrunner.runtime.scheduling.plan import Key, Reason, State
from modelrunner.runtime.scheduling.refusal import copy_of, log_failure
from modelrunner.runtime.scheduling.request_queue import Ticket
from modelrunner.runtime.scheduling.scheduler import Scheduler

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Lifecycle:
    """The task that owns a resident, and how it is told to sleep or wake, and to end."""

    dismissed: asyncio.Future[None]
    turn: asyncio.Future[None]
    task: asyncio.Task[None] | None = None


class Lifecycles(Generic[R]):
    """The tasks of all residents.

    `start` returns a ready instance, or raises when nothing of it is left running. `settle` is called when
    something has happened after which there may be something to do, `disappoint` for each who waited for a
    start that failed. `clock` is the scheduler's, `wall` gives seconds since the epoch.
    """

    def __init__(
        self,
        scheduler: Scheduler[R],
        start: Callable[[Key], Awaitable[R]],
        *,
        events: Events,
        settle: Callable[[], None],
        disappoint: Callable[[Ticket, RunnerError], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._start = start
        self._events = events
        self._settle = settle
        self._disappoint = disappoint
        self._clock = clock
        self._wall = wall
        self._all: dict[Loaded[R], _Lifecycle] = {}

    def __iter__(self) -> Iterator[Loaded[R]]:
        """Those of whom something is left."""
        return iter(tuple(self._all))

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What ends when nothing is left of anybody."""
        return [lifecycle.task for lifecycle in self._all.values() if lifecycle.task is not None]

    def task(self, loaded: Loaded[R]) -> asyncio.Task[None] | None:
        """What ends when nothing is left of one."""
        return self._all[loaded].task

    def load(self, loaded: Loaded[R]) -> None:
        """Begin one: it is started."""
        self.tell(Kind.STARTING, loaded, loaded.reason)
        loop = asyncio.get_running_loop()
        self._all[loaded] = lifecycle = _Lifecycle(loop.create_future(), loop.create_future())
        lifecycle.task = task = asyncio.create_task(
            self._live(loaded, lifecycle), name=f"resident {loaded.key}"
        )
        task.add_done_callback(partial(self._ended, loaded))

    async def _live(self, loaded: Loaded[R], lifecycle: _Lifecycle) -> None:
        try:
            running = await self._start(loaded.key)
        except Exception as exc:  # noqa: BLE001 - the top of a task; everyone who waits is told
            self._fail(loaded, exc)
            return
        try:
            self._ready(loaded, running)
            while await self._is_turned(running, lifecycle):
                await self._sleep_or_wake(loaded, running, lifecycle)
            self._settle()
        finally:
            await running.stop()

    def _ready(self, loaded: Loaded[R], running: R) -> None:
        self._scheduler.ready(loaded, running, self._clock())
        seconds = loaded.ready_since - loaded.since
        _log.info("model ready key=%s seconds=%.2f", loaded.key, seconds)
        self.tell(Kind.READY, loaded, loaded.reason, f"{seconds:.2f} s")
        self._settle()

    async def _is_turned(self, running: R, lifecycle: _Lifecycle) -> bool:
        """Wait until it is told to sleep or wake; False when it ends, or is to end."""
        over = (running.exited, lifecycle.dismissed)
        await asyncio.wait((*over, lifecycle.turn), return_when=asyncio.FIRST_COMPLETED)
        return not any(each.done() for each in over)

    async def _sleep_or_wake(self, loaded: Loaded[R], running: R, lifecycle: _Lifecycle) -> None:
        """Have it sleep or wake, unless it ends, or is to end, meanwhile."""
        lifecycle.turn = asyncio.get_running_loop().create_future()
        wakes = loaded.state is State.WAKING
        work = asyncio.create_task(running.wake() if wakes else running.sleep())
        try:
            await asyncio.wait(
                (work, running.exited, lifecycle.dismissed), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            work.cancel()
            await asyncio.wait((work,))
        if lifecycle.dismissed.done():
            return
        now = self._clock()
        failure = EngineFailed(running.obituary) if running.exited.done() else work.exception()
        if isinstance(failure, Exception):
            log_failure(loaded.key, failure)
            self._scheduler.restless(loaded, str(failure), now)
            self.dismissed(loaded)
        elif wakes:
            self._scheduler.awake(loaded, now)
            self.tell(Kind.READY, loaded, loaded.reason, f"{now - loaded.since:.2f} s")
        else:
            self._scheduler.asleep(loaded, now)
            self.tell(Kind.ASLEEP, loaded, loaded.reason)
        self._settle()

    def turn(self, loaded: Loaded[R], kind: Kind) -> None:
        """Ask the resident's task to have it sleep, or wake."""
        self._all[loaded].turn.set_result(None)
        _log.info("model %s key=%s reason=%s", kind, loaded.key, loaded.reason)
        self.tell(kind, loaded, loaded.reason)

    def _fail(self, loaded: Loaded[R], exc: Exception) -> None:
        log_failure(loaded.key, exc)
        counts = isinstance(exc, EngineFailed | NotReadyInTime) or not isinstance(exc, RunnerError)
        for ticket in self._scheduler.failed(loaded, str(exc), self._clock(), counts=counts):
            self._disappoint(ticket, copy_of(exc))

    def dismiss(self, loaded: Loaded[R], reason: Reason) -> None:
        """Have the scheduler and one's task know that it is to end."""
        self._scheduler.dismiss(loaded, reason, self._clock())
        self.dismissed(loaded)

    def dismissed(self, loaded: Loaded[R]) -> None:
        """Ask the resident's task to stop it, or break off its start."""
        lifecycle = self._all[loaded]
        if loaded.running is not None:
            lifecycle.dismissed.set_result(None)
        elif lifecycle.task is not None:
            lifecycle.task.cancel()
        _log.info("model stopping key=%s reason=%s", loaded.key, loaded.reason)
        self.tell(Kind.STOPPING, loaded, loaded.reason)

    def _ended(self, loaded: Loaded[R], task: asyncio.Task[None]) -> None:
        """The resident's task is over: nothing of it is left, and its place is free."""
        del self._all[loaded]
        if not task.cancelled() and (exc := task.exception()) is not None:
            _log.error("model not stopped properly key=%s", loaded.key, exc_info=exc)
        if self._scheduler.gone(loaded, self._clock()):
            self.tell(Kind.GONE, loaded, loaded.reason, loaded.detail)
        self._settle()

    def tell(self, kind: Kind, loaded: Loaded[R], reason: Reason, detail: str = "") -> None:
        """Have an event say what happened to one."""
        others = () if loaded.cause is None else (loaded.cause,)
        self._events.emit(Event(kind, loaded.key, reason, self._wall(), detail, others))
