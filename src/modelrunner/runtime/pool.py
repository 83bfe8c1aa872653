"""The models in memory, for requests to use: a shell of tasks and futures around the scheduler.

State changes only between awaits, in methods that are no coroutines, which is why there is no lock. One task
per resident owns its whole life (`lifecycle.py`). No request owns a load, so a client that leaves takes
itself out of the queue and nothing else. What an instance is, and how it is started, is not known here.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic

from modelrunner.errors import Busy, RunnerError
from modelrunner.runtime.alarm import Alarm, Later, later
from modelrunner.runtime.claim import Claim
from modelrunner.runtime.events import Event, Events, Kind
from modelrunner.runtime.lifecycle import Lifecycles
from modelrunner.runtime.memory_needs import MemoryNeed, MemoryNeeds, nothing_needed
from modelrunner.runtime.scheduling.effects import Outlook
from modelrunner.runtime.scheduling.lease import Lease, Loaded, R
from modelrunner.runtime.scheduling.ledger import PLACE, Amounts
from modelrunner.runtime.scheduling.plan import DEFAULT_PATIENCE, Key, Limits, Reason, State, Wait, Why
from modelrunner.runtime.scheduling.refusal import copy_of, log_failure, refused, shutting_down
from modelrunner.runtime.scheduling.request_queue import ANY_TERMS, Terms, Ticket
from modelrunner.runtime.scheduling.scheduler import Scheduler, Wishes
from modelrunner.runtime.scheduling.sleeping import is_coming
from modelrunner.runtime.views import FailuresView, ResidentView, WaiterView

_log = logging.getLogger(__name__)
_SAID_OTHERWISE = frozenset({Why.LOADING, Why.WAKING, Why.ESTIMATING})  # waits that every load has


class Pool(Generic[R]):
    """Leases on running instances.

    `start` returns a ready instance, or raises when nothing of it is left running; `estimate` says what one
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
        estimate: Callable[[Key], Awaitable[MemoryNeed]] = nothing_needed,
        memory: Amounts | None = None,
        look: Callable[[], Amounts] = dict,
        queue: int = 512,
        patience: float = DEFAULT_PATIENCE,
        events: Events | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        later: Later = later,
    ) -> None:
        self.events = events if events is not None else Events()
        self._look = look
        self._most_waiting = queue
        self._clock = clock
        self._wall = wall
        self._wishes = wishes
        self._scheduler: Scheduler[R] = Scheduler(Limits({**(memory or {}), PLACE: places}, patience), wishes)
        self._lifecycles: Lifecycles[R] = Lifecycles(
            self._scheduler,
            start,
            events=self.events,
            settle=self.settle,
            disappoint=self._disappoint,
            clock=clock,
            wall=wall,
        )
        self._futures: dict[Ticket, asyncio.Future[Lease[R]]] = {}
        self._needs = MemoryNeeds(estimate, self._estimated)
        self._told: dict[Key, Wait] = {}
        self._alarm = Alarm(self.settle, clock=clock, later=later)

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
        return Claim(self, key, terms)

    def try_lease(self, key: Key, terms: Terms = ANY_TERMS) -> Lease[R] | None:
        """Take a lease if the instance is ready now; the path of nearly every request, so it never waits."""
        loaded = self._scheduler.take(key, terms)
        if loaded is None or loaded.running is None:
            return None
        return Lease(loaded, loaded.running, self._give_back)

    async def acquire(self, key: Key, terms: Terms = ANY_TERMS) -> Lease[R]:
        """Take a lease, waiting in the queue when the instance is not ready. The caller releases it.

        Raises:
            Busy, InsufficientMemory, ShuttingDown, RunnerError: as for `lease`.
        """
        lease = self.try_lease(key, terms)
        if lease is not None:
            return lease
        if self._scheduler.closing:
            raise shutting_down()
        if len(self._scheduler.queue) >= self._most_waiting:
            raise Busy(
                f"too many requests are waiting for a model: `{self._most_waiting}`",
                hint="try again in a moment",
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

    def queue(self) -> tuple[WaiterView, ...]:
        """Show who waits, in turn, and why."""
        now = self._clock()
        views = []
        for position, ticket in enumerate(self._scheduler.queue, 1):
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
        """How many requests wait in the queue."""
        return len(self._scheduler.queue)

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
        """For how long (in seconds) the queue has not moved although nothing that is in use explains it."""
        scheduler = self._scheduler
        if not scheduler.queue or any(each.leases for each in scheduler.residents.values()):
            return 0.0
        return self._clock() - scheduler.moved_at

    async def outlook(self, key: Key) -> tuple[MemoryNeed, Outlook]:
        """Say what a model needs, and what would happen if it were asked for now.

        A wait's `until` is in seconds from now.

        Raises:
            RunnerError: its need cannot be found out.
        """
        need = await self._needs.estimate(key)
        now = self._clock()
        outlook = self._scheduler.outlook(key, need.with_place, now, self._look)
        wait = outlook.wait
        if wait is not None and wait.until is not None:
            outlook = outlook._replace(wait=wait._replace(until=wait.until - now))
        return need, outlook

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
        self.settle()  # whoever waits for it already wants it estimated anew
        await self._stop_idle(lambda other: other == key, Reason.RECONFIGURED)
        return True

    def _may_go(self, loaded: Loaded[R]) -> bool:
        """Whether nobody would notice its end."""
        if loaded.state in {State.STOPPING, State.DOZING}:
            return True
        return self._scheduler.is_idle(loaded) or self._is_abandoned(loaded)

    def _is_abandoned(self, loaded: Loaded[R]) -> bool:
        """Whether it is being loaded or woken, and everybody who waited for it has left."""
        return is_coming(loaded.state) and loaded.key not in self._scheduler.queue

    def _forgive(self, key: Key) -> None:
        self._scheduler.forgive(key)
        self._needs.forget(key)

    async def close(self, deadline: float) -> None:
        """Turn new and waiting requests away, give running ones `deadline` seconds, then stop everything."""
        if not self._scheduler.closing:
            self._scheduler.closing = True
            self._turn_away()
        await self._until_empty(deadline)
        for loaded in self._scheduler.residents.values():
            if loaded.state is not State.STOPPING:
                self._lifecycles.dismiss(loaded, Reason.SHUTDOWN)
        await self._until_empty(None)
        self._alarm.arm(None)

    async def _until_empty(self, deadline: float | None) -> None:
        tasks = [*self._lifecycles.tasks, *self._needs.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=deadline)

    def _turn_away(self) -> None:
        for ticket in tuple(self._scheduler.queue):
            self._scheduler.leave(ticket, self._clock())
            self._disappoint(ticket, shutting_down())
        for task in self._needs.tasks:
            task.cancel()
        for loaded in self._lifecycles:
            if loaded.state is State.STARTING:
                self._lifecycles.dismiss(loaded, Reason.SHUTDOWN)
        self.settle()

    async def _stop_idle(self, match: Callable[[Key], bool], reason: Reason) -> int:
        stopped = 0
        leaving: list[asyncio.Task[None]] = []
        for loaded in self._scheduler.residents.values():
            if not match(loaded.key) or not self._may_go(loaded):
                continue
            if loaded.state is not State.STOPPING:
                self._lifecycles.dismiss(loaded, reason)
                stopped += 1
            task = self._lifecycles.task(loaded)
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
            self._lifecycles.tell(Kind.GONE, loaded, Reason.CRASHED, loaded.detail)
        for loaded in effects.stop:
            self._lifecycles.dismissed(loaded)
        for loaded in effects.sleep:
            self._lifecycles.turn(loaded, Kind.DOZING)
        for loaded in effects.wake:
            self._lifecycles.turn(loaded, Kind.WAKING)
        for loaded in effects.start:
            self._lifecycles.load(loaded)
        for ticket, refusal in effects.refuse:
            failed = self._scheduler.histories.of(ticket.key).failures
            advice = self._needs.advice(ticket.key)
            error = refused(refusal, advice=advice, failed=failed, now=self._clock())
            self._disappoint(ticket, error)
            self.events.emit(Event(Kind.REFUSED, ticket.key, refusal.why, self._wall(), error.message))
        for ticket, loaded in effects.grant:
            self._grant(ticket, loaded)
        for key in effects.estimate:
            self._needs.find(key)
        self._tell_who_waits()
        self._alarm.arm(effects.wake_at)

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
        """Leave the queue, and give back a lease that came too late."""
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
        if scheduler.queue or (not loaded.leases and not self._wakes_in_time(loaded, now)):
            self.settle()

    def _wakes_in_time(self, loaded: Loaded[R], now: float) -> bool:
        """Whether the timer is early enough for a resident that is idle from now on; spares most settling."""
        if self._scheduler.closing:
            return False
        keep_alive = self._scheduler.keep_alive(loaded)
        return keep_alive is None or (self._alarm.at is not None and self._alarm.at <= now + keep_alive)

    # What a model needs

    def _estimated(self, key: Key, outcome: MemoryNeed | Exception) -> None:
        if isinstance(outcome, MemoryNeed):
            self._scheduler.estimated(key, outcome.with_place, outcome.asleep)
        else:
            log_failure(key, outcome)
            for ticket in self._scheduler.not_estimated(key):
                self._disappoint(ticket, copy_of(outcome))
        self.settle()
