"""The models in memory, for requests to use: a shell of tasks and futures around the scheduler.

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

from modelrunner.errors import Busy, EngineFailed, NotReadyInTime, RunnerError
from modelrunner.runtime.events import Event, Events, Kind
from modelrunner.runtime.lease import Lease, Loaded, R
from modelrunner.runtime.ledger import PLACE, Amounts
from modelrunner.runtime.line import ANY_TERMS, Terms, Ticket
from modelrunner.runtime.plan import DEFAULT_PATIENCE, Key, Limits, Reason, State, Wait, Why
from modelrunner.runtime.refusal import copy_of, log_failure, refused, shutting_down
from modelrunner.runtime.scheduler import Outlook, Scheduler, Wishes
from modelrunner.runtime.sleeping import is_coming
from modelrunner.runtime.views import FailuresView, ResidentView, WaiterView
from modelrunner.runtime.weights import Weight, Weights, weightless

_log = logging.getLogger(__name__)


class Timer(Protocol):
    """A call that is to come and can be taken back."""

    def cancel(self) -> None:
        """Take it back."""
        ...


Later = Callable[[float, Callable[[], None]], Timer]  # seconds from now, and what to call then


def _later(delay: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(delay, call)


_SAID_OTHERWISE = frozenset({Why.LOADING, Why.ESTIMATING})  # waits that every load has


class _Claim(Generic[R]):
    """`async with` around a lease; a class, because a generator costs more on every request."""

    __slots__ = ("_key", "_lease", "_pool", "_terms")

    def __init__(self, pool: "Pool[R]", key: Key, terms: Terms) -> None:
        self._pool = pool
        self._key = key
        self._terms = terms
        self._lease: Lease[R] | None = None

    async def __aenter__(self) -> Lease[R]:
        pool, key, terms = self._pool, self._key, self._terms
        self._lease = lease = pool.try_lease(key, terms) or await pool.acquire(key, terms)
        return lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lease is not None:
            self._lease.release()


@dataclass(slots=True)
class _Life:
    """The task that owns a resident, and how it is told to sleep or wake, and to end."""

    dismissed: asyncio.Future[None]
    turn: asyncio.Future[None]
    task: asyncio.Task[None] | None = None


class Pool(Generic[R]):
    """Leases on running instances.

    `start` returns a ready instance, or raises when nothing of it is left running. `weigh` says what a model
    needs. `places` is how many models may be in memory, `memory` how much they may take in all, in bytes by
    device, and `queue` how many requests may wait. `wishes` are asked anew at each decision; call `settle`
    when their answers changed. `patience` is explained in `policy.Limits`. `look` says how much memory is
    free. `clock` (seconds, of which only differences count), `wall` (seconds since the epoch) and `later` are
    time, for tests to move by hand.
    """

    def __init__(
        self,
        start: Callable[[Key], Awaitable[R]],
        *,
        places: int,
        wishes: Wishes,
        weigh: Callable[[Key], Awaitable[Weight]] = weightless,
        memory: Amounts | None = None,
        look: Callable[[], Amounts] = dict,
        queue: int = 512,
        patience: float = DEFAULT_PATIENCE,
        events: Events | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        later: Later = _later,
    ) -> None:
        self.events = events if events is not None else Events()
        self._start = start
        self._look = look
        self._queue = queue
        self._clock = clock
        self._wall = wall
        self._later = later
        self._wishes = wishes
        self._scheduler: Scheduler[R] = Scheduler(Limits({**(memory or {}), PLACE: places}, patience), wishes)
        self._lives: dict[Loaded[R], _Life] = {}
        self._futures: dict[Ticket, asyncio.Future[Lease[R]]] = {}
        self._weights = Weights(weigh, self._weighed)
        self._told: dict[Key, Wait] = {}
        self._timer: Timer | None = None
        self._wake_at: float | None = None

    # What requests use

    def lease(self, key: Key, terms: Terms = ANY_TERMS) -> AbstractAsyncContextManager[Lease[R]]:
        """Use the instance for `key` within the block; it is loaded first when it is not here.

        Raises:
            Busy: too many requests wait already.
            InsufficientMemory: there is not enough for this model, now or ever.
            PlacesTaken: pinned models have all places.
            ShuttingDown: the pool is being closed.
            RunnerError: what went wrong when it was loaded.
        """
        return _Claim(self, key, terms)

    def try_lease(self, key: Key, terms: Terms = ANY_TERMS) -> Lease[R] | None:
        """Take a lease if the instance is ready now; the path of nearly every request, so it never waits."""
        loaded = self._scheduler.take(key, terms)
        if loaded is None or loaded.running is None:
            return None
        return Lease(loaded, loaded.running, self._give_back)

    async def acquire(self, key: Key, terms: Terms = ANY_TERMS) -> Lease[R]:
        """Take a lease, waiting in line when the instance is not ready. The caller releases it.

        Raises:
            Busy, InsufficientMemory, ShuttingDown, RunnerError: as for `lease`.
        """
        lease = self.try_lease(key, terms)
        if lease is not None:
            return lease
        if self._scheduler.closing:
            raise shutting_down()
        if len(self._scheduler.line) >= self._queue:
            raise Busy(
                f"too many requests are waiting for a model: `{self._queue}`", hint="try again in a moment"
            )
        ticket = self._scheduler.join(key, self._clock(), terms)
        future: asyncio.Future[Lease[R]] = asyncio.get_running_loop().create_future()
        self._futures[ticket] = future
        self.settle()
        try:
            return await future
        except asyncio.CancelledError:
            self._withdraw(ticket, future)
            raise
        finally:
            self._futures.pop(ticket, None)

    async def preload(self, key: Key, terms: Terms = ANY_TERMS) -> None:
        """Load an instance without using it; its idle time starts as soon as it is ready.

        Raises:
            Busy, InsufficientMemory, ShuttingDown, RunnerError: as for `lease`.
        """
        (await self.acquire(key, terms)).release()

    # What administration uses

    def residents(self) -> tuple[ResidentView, ...]:
        """Show who is here, in the order in which they came."""
        now = self._clock()
        epoch = self._wall() - now
        return tuple(
            ResidentView(
                key=each.key,
                state=each.state,
                leases=each.leases,
                last_used=None if each.leases or each.state is State.STARTING else epoch + each.idle_since,
                keep_alive=self._scheduler.keep_alive(each),
                memory={name: amount for name, amount in each.need.items() if name != PLACE},
                pinned=self._wishes.pinned(each.key),
                slots=None if each.running is None else each.running.slots,
                load_time=self._scheduler.histories.of(each.key).load_time,
                worth=self._scheduler.view(each, now).worth,
                draining=each.draining,
            )
            for each in self._scheduler.residents.values()
        )

    def running(self) -> tuple[tuple[Key, R], ...]:
        """Give the instances that are ready."""
        here = self._scheduler.residents.values()
        return tuple((each.key, each.running) for each in here if each.running is not None)

    def line(self) -> tuple[WaiterView, ...]:
        """Show who waits, in turn, and why."""
        now = self._clock()
        views = []
        for position, ticket in enumerate(self._scheduler.line, 1):
            wait = self._scheduler.waits[ticket.key]
            views.append(
                WaiterView(
                    name=ticket.terms.name,
                    key=ticket.key,
                    position=position,
                    waited=now - ticket.since,
                    why=wait.why.value,
                    text=wait.why.text,
                    others=wait.others,
                )
            )
        return tuple(views)

    @property
    def waiting(self) -> int:
        """How many requests wait in line."""
        return len(self._scheduler.line)

    @property
    def capacity(self) -> Amounts:
        """What there is in all: places, and memory in bytes by device."""
        return self._scheduler.limits.capacity

    @property
    def free(self) -> Amounts:
        """How much memory is seen to be free now, in bytes by device."""
        return self._look()

    def failures(self, key: Key) -> FailuresView | None:
        """Say how a model failed lately, if it did."""
        failed = self._scheduler.histories.of(key).failures
        if failed is None:
            return None
        now = self._clock()
        pause = max(0.0, failed.next_try - now)
        return FailuresView(failed.count, failed.words, pause, failed.refused_until(now) is not None)

    def stalled(self) -> float:
        """For how long (in seconds) the line has not moved although nothing that is in use explains it."""
        scheduler = self._scheduler
        if not scheduler.line or any(each.leases for each in scheduler.residents.values()):
            return 0.0
        return self._clock() - scheduler.moved_at

    async def outlook(self, key: Key) -> tuple[Weight, Outlook]:
        """Say what a model needs, and what would happen if it were asked for now.

        A wait's `until` is in seconds from now.

        Raises:
            RunnerError: its need cannot be found out.
        """
        weight = await self._weights.weigh(key)
        now = self._clock()
        outlook = self._scheduler.outlook(key, weight.need, now, self._look)
        wait = outlook.wait
        if wait is not None and wait.until is not None:
            outlook = outlook._replace(wait=wait._replace(until=wait.until - now))
        return weight, outlook

    async def unload(self, match: Callable[[Key], bool]) -> int:
        """Stop those that match and are idle; wait until their processes are gone; say how many they were.

        A load that nobody waits for is broken off. What is in use, or loads for somebody, is left alone.
        """
        for key in filter(match, self._scheduler.histories.keys()):
            self._forgive(key)
        return await self._stop_idle(match, Reason.UNLOADED)

    async def reload(self, key: Key) -> bool:
        """Stop the instance, if there is one, so that the next request starts it with a new configuration.

        A load that nobody waits for is broken off. Returns False, and changes nothing, while it is in use, or
        loads for somebody.
        """
        loaded = self._scheduler.residents.get(key)
        if loaded is not None and not self._may_go(loaded):
            return False
        self._forgive(key)
        self.settle()  # whoever waits for it already wants it weighed anew
        await self._stop_idle(lambda other: other == key, Reason.RECONFIGURED)
        return True

    def _may_go(self, loaded: Loaded[R]) -> bool:
        """Whether nobody would notice its end."""
        if loaded.state in {State.STOPPING, State.DOZING}:
            return True
        return self._scheduler.is_idle(loaded) or self._is_abandoned(loaded)

    def _is_abandoned(self, loaded: Loaded[R]) -> bool:
        """Whether it is being loaded or woken, and everybody who waited for it has left."""
        return is_coming(loaded.state) and loaded.key not in self._scheduler.line

    def _forgive(self, key: Key) -> None:
        self._scheduler.forgive(key)
        self._weights.forget(key)

    async def close(self, deadline: float) -> None:
        """Turn new and waiting requests away, give running ones `deadline` seconds, then stop everything."""
        if not self._scheduler.closing:
            self._scheduler.closing = True
            self._turn_away()
        await self._until_empty(deadline)
        for loaded in self._scheduler.residents.values():
            if loaded.state is not State.STOPPING:
                self._dismiss(loaded, Reason.SHUTDOWN)
        await self._until_empty(None)
        self._arm(None)

    async def _until_empty(self, deadline: float | None) -> None:
        tasks = [life.task for life in self._lives.values() if life.task is not None]
        tasks += self._weights.tasks
        if tasks:
            await asyncio.wait(tasks, timeout=deadline)

    def _turn_away(self) -> None:
        for ticket in tuple(self._scheduler.line):
            self._scheduler.leave(ticket, self._clock())
            self._disappoint(ticket, shutting_down())
        for task in self._weights.tasks:
            task.cancel()
        for loaded in self._lives:
            if loaded.state is State.STARTING:
                self._dismiss(loaded, Reason.SHUTDOWN)
        self.settle()

    async def _stop_idle(self, match: Callable[[Key], bool], reason: Reason) -> int:
        stopped = 0
        leaving: list[asyncio.Task[None]] = []
        for loaded in self._scheduler.residents.values():
            if not match(loaded.key) or not self._may_go(loaded):
                continue
            if loaded.state is not State.STOPPING:
                self._dismiss(loaded, reason)
                stopped += 1
            task = self._lives[loaded].task
            if task is not None:
                leaving.append(task)
        if leaving:
            await asyncio.wait(leaving)
        return stopped

    # Decide, then act; nothing here awaits

    def settle(self) -> None:
        """Bring what is here into line with what the scheduler wants now."""
        effects = self._scheduler.settle(self._clock(), self._look)
        for loaded in effects.gone:
            _log.warning("model crashed key=%s last_line=%s", loaded.key, loaded.detail.rpartition("\n")[2])
            self._emit(Kind.GONE, loaded, Reason.CRASHED, loaded.detail)
        for loaded in effects.stop:
            self._dismissed(loaded)
        for loaded in effects.sleep:
            self._turn(loaded, Kind.DOZING)
        for loaded in effects.wake:
            self._turn(loaded, Kind.WAKING)
        for loaded in effects.start:
            self._load(loaded)
        for ticket, refusal in effects.refuse:
            failed = self._scheduler.histories.of(ticket.key).failures
            advice = self._weights.advice(ticket.key)
            error = refused(refusal, advice=advice, failed=failed, now=self._clock())
            self._disappoint(ticket, error)
            self.events.emit(Event(Kind.REFUSED, ticket.key, refusal.why, self._wall(), error.message))
        for ticket, loaded in effects.grant:
            self._grant(ticket, loaded)
        for key in effects.estimate:
            self._weights.find(key)
        self._tell_who_waits()
        self._arm(effects.wake_at)

    def _tell_who_waits(self) -> None:
        """Say why somebody waits, when that is another reason than before."""
        waits = self._scheduler.waits
        for key, wait in waits.items():
            told = self._told.get(key)
            if wait.why not in _SAID_OTHERWISE and (told is None or told.why is not wait.why):
                self.events.emit(Event(Kind.WAITING, key, wait.why, self._wall(), others=wait.others))
        self._told = waits

    def _grant(self, ticket: Ticket, loaded: Loaded[R]) -> None:
        assert loaded.running is not None
        now = self._clock()
        queued = now - ticket.since
        loading = max(0.0, loaded.ready_since - max(loaded.since, ticket.since))
        lease = Lease(loaded, loaded.running, self._give_back, queued - loading, loading)
        future = self._futures.get(ticket)
        if future is None or future.done():  # it left just now
            lease.release()
        else:
            future.set_result(lease)

    def _withdraw(self, ticket: Ticket, future: asyncio.Future[Lease[R]]) -> None:
        """Leave the line, and give back a lease that came too late."""
        # Asking for the exception also tells the loop that somebody has seen it.
        if future.done() and not future.cancelled() and future.exception() is None:
            future.result().release()
        self._scheduler.leave(ticket, self._clock())
        self.settle()

    def _disappoint(self, ticket: Ticket, error: RunnerError) -> None:
        future = self._futures.get(ticket)
        if future is not None and not future.done():
            future.set_exception(error)

    def _give_back(self, loaded: Loaded[R]) -> None:
        now = self._clock()
        scheduler = self._scheduler
        scheduler.release(loaded, now)
        if scheduler.line or (not loaded.leases and not self._wakes_in_time(loaded, now)):
            self.settle()

    def _wakes_in_time(self, loaded: Loaded[R], now: float) -> bool:
        """Whether the timer is early enough for a resident that is idle from now on; spares most settling."""
        if self._scheduler.closing:
            return False
        keep_alive = self._scheduler.keep_alive(loaded)
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

    # What a model needs

    def _weighed(self, key: Key, outcome: Weight | Exception) -> None:
        if isinstance(outcome, Weight):
            self._scheduler.estimated(key, outcome.need, outcome.asleep)
        else:
            log_failure(key, outcome)
            for ticket in self._scheduler.not_estimated(key):
                self._disappoint(ticket, copy_of(outcome))
        self.settle()

    # The life of a resident

    def _load(self, loaded: Loaded[R]) -> None:
        self._emit(Kind.STARTING, loaded, loaded.reason)
        loop = asyncio.get_running_loop()
        self._lives[loaded] = life = _Life(loop.create_future(), loop.create_future())
        life.task = task = asyncio.create_task(self._live(loaded, life), name=f"resident {loaded.key}")
        task.add_done_callback(partial(self._ended, loaded))

    async def _live(self, loaded: Loaded[R], life: _Life) -> None:
        try:
            running = await self._start(loaded.key)
        except Exception as exc:  # noqa: BLE001 - the top of a task; everyone who waits is told
            self._fail(loaded, exc)
            return
        try:
            self._ready(loaded, running)
            while await self._is_turned(running, life):
                await self._sleep_or_wake(loaded, running, life)
            self.settle()
        finally:
            await running.stop()

    def _ready(self, loaded: Loaded[R], running: R) -> None:
        self._scheduler.ready(loaded, running, self._clock())
        seconds = loaded.ready_since - loaded.since
        _log.info("model ready key=%s seconds=%.2f", loaded.key, seconds)
        self._emit(Kind.READY, loaded, loaded.reason, f"{seconds:.2f} s")
        self.settle()

    async def _is_turned(self, running: R, life: _Life) -> bool:
        """Wait until it is told to sleep or wake; False when it ends, or is to end."""
        over = (running.exited, life.dismissed)
        await asyncio.wait((*over, life.turn), return_when=asyncio.FIRST_COMPLETED)
        return not any(each.done() for each in over)

    async def _sleep_or_wake(self, loaded: Loaded[R], running: R, life: _Life) -> None:
        """Have it sleep or wake, unless it ends, or is to end, meanwhile."""
        life.turn = asyncio.get_running_loop().create_future()
        wakes = loaded.state is State.WAKING
        work = asyncio.create_task(running.wake() if wakes else running.sleep())
        try:
            await asyncio.wait((work, running.exited, life.dismissed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            await asyncio.wait((work,))
        if running.exited.done() or life.dismissed.done():
            return
        now = self._clock()
        if isinstance(exc := work.exception(), Exception):
            log_failure(loaded.key, exc)
            self._scheduler.restless(loaded, str(exc), now)
            self._dismissed(loaded)
        elif wakes:
            self._scheduler.awake(loaded, now)
            self._emit(Kind.READY, loaded, loaded.reason, f"{now - loaded.since:.2f} s")
        else:
            self._scheduler.asleep(loaded, now)
            self._emit(Kind.ASLEEP, loaded, loaded.reason)
        self.settle()

    def _turn(self, loaded: Loaded[R], kind: Kind) -> None:
        """Ask the resident's task to have it sleep, or wake."""
        self._lives[loaded].turn.set_result(None)
        _log.info("model %s key=%s reason=%s", kind, loaded.key, loaded.reason)
        self._emit(kind, loaded, loaded.reason)

    def _fail(self, loaded: Loaded[R], exc: Exception) -> None:
        log_failure(loaded.key, exc)
        counts = isinstance(exc, EngineFailed | NotReadyInTime) or not isinstance(exc, RunnerError)
        for ticket in self._scheduler.failed(loaded, str(exc), self._clock(), counts=counts):
            self._disappoint(ticket, copy_of(exc))

    def _dismiss(self, loaded: Loaded[R], reason: Reason) -> None:
        self._scheduler.dismiss(loaded, reason, self._clock())
        self._dismissed(loaded)

    def _dismissed(self, loaded: Loaded[R]) -> None:
        """Ask the resident's task to stop it, or break off its start."""
        life = self._lives[loaded]
        if loaded.running is not None:
            life.dismissed.set_result(None)
        elif life.task is not None:
            life.task.cancel()
        _log.info("model stopping key=%s reason=%s", loaded.key, loaded.reason)
        self._emit(Kind.STOPPING, loaded, loaded.reason)

    def _ended(self, loaded: Loaded[R], task: asyncio.Task[None]) -> None:
        """The resident's task is over: nothing of it is left, and its place is free."""
        del self._lives[loaded]
        if not task.cancelled() and (exc := task.exception()) is not None:
            _log.error("model not stopped properly key=%s", loaded.key, exc_info=exc)
        if self._scheduler.gone(loaded, self._clock()):
            self._emit(Kind.GONE, loaded, loaded.reason, loaded.detail)
        self.settle()

    def _emit(self, kind: Kind, loaded: Loaded[R], reason: Reason, detail: str = "") -> None:
        others = () if loaded.cause is None else (loaded.cause,)
        self.events.emit(Event(kind, loaded.key, reason, self._wall(), detail, others))
