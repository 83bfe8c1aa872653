"""The pool, with instances that are ready and gone when a test says so, and a clock that is moved by hand."""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Coroutine

import pytest

from modelrunner.errors import (
    Busy,
    EngineFailed,
    EngineFailing,
    InsufficientMemory,
    RunnerError,
    ShuttingDown,
    UnsupportedModel,
)
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.events import Kind
from modelrunner.runtime.memory_needs import MemoryNeed
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.scheduling.lease import Stay
from modelrunner.runtime.scheduling.plan import Key, Reason, State, Why
from modelrunner.runtime.scheduling.request_queue import Caller, Terms

A, B, C = (Key("llama.cpp", Digest.of(name), Mode.COMPLETION) for name in (b"a", b"b", b"c"))


class FakeInstance:
    """An instance whose process ends when told to, or when `may_stop` is set after a stop."""

    def __init__(self) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.obituary = "last line"
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.stops = 0
        self.turns: list[str] = []
        self.slots: int | None = None

    @property
    def alive(self) -> bool:
        return not self.exited.done()

    def crash(self) -> None:
        self.exited.set_result(1)

    async def sleep(self) -> None:
        self.turns.append("sleep")

    async def wake(self) -> None:
        self.turns.append("wake")

    async def stop(self) -> None:
        self.stops += 1
        await self.may_stop.wait()
        if self.alive:
            self.exited.set_result(0)


class FixedWishes:
    """What users want, as a test says."""

    def __init__(self, keep_alive: float | None, kept: dict[Key, float | None] | None = None) -> None:
        self.usual = keep_alive
        self.kept = kept or {}
        self.pins: set[Key] = set()
        self.unchecked: set[Key] = set()

    def keep_alive(self, key: Key) -> float | None:
        return self.kept.get(key, self.usual)

    def pinned(self, key: Key) -> bool:
        return key in self.pins

    def memory_check(self, key: Key) -> bool:
        return key not in self.unchecked


class Clock:
    """A clock and its timers, moved by `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: dict[object, tuple[float, Callable[[], None]]] = {}

    def __call__(self) -> float:
        return self.now

    def later(self, delay: float, call: Callable[[], None]) -> "Handle":
        handle = Handle(self)
        self.due[handle] = (self.now + delay, call)
        return handle

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for handle, (at, call) in list(self.due.items()):
            if at <= self.now:
                del self.due[handle]
                call()


class Handle:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def cancel(self) -> None:
        self._clock.due.pop(self, None)


class Fixture:
    """A pool on fakes. `starts[key]` is the outcome that a test gives to a start."""

    def __init__(
        self,
        *,
        places: int = 1,
        queue: int = 8,
        keep_alive: float | None = 300.0,
        memory: dict[str, int] | None = None,
        needs: dict[Key, int] | None = None,
    ) -> None:
        self.clock = Clock()
        self.wishes = FixedWishes(keep_alive)
        self.needs = needs or {}
        self.free = dict(memory or {})
        self.starts: list[tuple[Key, asyncio.Future[FakeInstance]]] = []
        self.cancelled: list[Key] = []
        self.pool: Pool[FakeInstance] = Pool(
            self._start,
            places=places,
            queue=queue,
            patience=30.0,
            wishes=self.wishes,
            estimate=self._estimate,
            memory=memory,
            look=lambda: self.free,
            clock=self.clock,
            wall=lambda: 1_000_000 + self.clock(),
            later=self.clock.later,
        )

    async def _estimate(self, key: Key) -> MemoryNeed:
        return MemoryNeed({"ram": self.needs[key]} if key in self.needs else {})

    async def _start(self, key: Key) -> FakeInstance:
        outcome: asyncio.Future[FakeInstance] = asyncio.get_running_loop().create_future()
        self.starts.append((key, outcome))
        try:
            return await outcome
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise

    async def become_ready(self, key: Key) -> FakeInstance:
        """End the pending start of `key`; it must have begun."""
        await turns()
        outcome = next(outcome for other, outcome in self.starts if other == key and not outcome.done())
        instance = FakeInstance()
        outcome.set_result(instance)
        await turns()
        return instance

    async def load(self, key: Key) -> FakeInstance:
        preload = asyncio.create_task(self.pool.preload(key))
        instance = await self.become_ready(key)
        await preload
        return instance

    async def fail(self, error: Exception) -> None:
        await turns()
        self.starts[-1][1].set_exception(error)
        await turns()

    def states(self) -> dict[Key, State]:
        return {view.key: view.state for view in self.pool.residents()}

    def history(self) -> list[tuple[Kind, Reason | Why]]:
        return [(event.kind, event.reason) for event in self.pool.events.recent()]


async def turns(count: int = 10) -> None:
    """Let everything that can go on without outside events go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def step(coroutine: Coroutine[object, object, object]) -> bool:
    """Run a coroutine up to its first suspension; say whether it ended instead."""
    try:
        coroutine.send(None)
    except StopIteration:
        return True
    coroutine.close()
    return False


async def use(pool: Pool[FakeInstance], key: Key, until: asyncio.Event) -> FakeInstance:
    async with pool.lease(key) as lease:
        await until.wait()
        return lease.running


async def take(pool: Pool[FakeInstance], key: Key) -> FakeInstance:
    async with pool.lease(key) as lease:
        return lease.running


async def test_a_request_for_a_loaded_model_does_not_wait() -> None:
    """Taking a lease on a ready instance never suspends."""
    fixture = Fixture()
    instance = await fixture.load(A)

    lease = fixture.pool.try_lease(A)

    assert lease is not None
    assert lease.running is instance
    assert step(take(fixture.pool, A))
    lease.release()
    await fixture.pool.close(0)


async def test_a_second_request_waits_for_the_first_start() -> None:
    """One load serves all who wait for it."""
    fixture = Fixture()
    requests = [asyncio.create_task(take(fixture.pool, A)) for _ in range(3)]
    instance = await fixture.become_ready(A)

    assert [instance] * 3 == await asyncio.gather(*requests)
    assert [A] == [key for key, _ in fixture.starts]
    await fixture.pool.close(0)


async def test_a_client_that_leaves_cancels_nothing() -> None:
    """The load goes on for the others when the one that caused it leaves."""
    fixture = Fixture()
    first = asyncio.create_task(take(fixture.pool, A))
    await turns()
    second = asyncio.create_task(take(fixture.pool, A))
    await turns()
    first.cancel()
    instance = await fixture.become_ready(A)

    assert first.cancelled()
    assert await second is instance
    assert fixture.cancelled == []
    await fixture.pool.close(0)


async def test_a_load_that_everyone_has_left_goes_on() -> None:
    """The model is there for the next request, and idle until then."""
    fixture = Fixture()
    only = asyncio.create_task(take(fixture.pool, A))
    await turns()
    only.cancel()
    await turns()
    assert fixture.pool.waiting == 0

    await fixture.become_ready(A)

    assert {A: State.READY} == fixture.states()
    await fixture.pool.close(0)


async def test_a_load_that_hangs_for_nobody_gives_way() -> None:
    """It is broken off when somebody else has waited for its place for as long as one has to bear."""
    fixture = Fixture()
    left = asyncio.create_task(take(fixture.pool, A))
    await turns()
    left.cancel()
    await turns()
    other = asyncio.create_task(take(fixture.pool, B))
    await turns()
    assert [Why.ABANDONED.value] == [waiter.why for waiter in fixture.pool.queue()]

    fixture.clock.advance(30.0)
    instance = await fixture.become_ready(B)

    assert await other is instance
    assert [A] == fixture.cancelled
    assert (Kind.STOPPING, Reason.PLACE_NEEDED) in fixture.history()
    await fixture.pool.close(0)


async def test_a_model_asked_for_while_its_start_is_broken_off_is_loaded_anew() -> None:
    """Who comes then waits until nothing of the old start is left."""
    fixture = Fixture()
    left = asyncio.create_task(take(fixture.pool, A))
    await turns()
    left.cancel()
    await turns()
    unloading = asyncio.create_task(fixture.pool.unload(lambda _: True))
    await asyncio.sleep(0)
    again = asyncio.create_task(take(fixture.pool, A))
    assert 1 == await unloading
    instance = await fixture.become_ready(A)

    assert await again is instance
    await fixture.pool.close(0)


async def test_a_client_that_leaves_just_when_it_is_served_keeps_no_lease() -> None:
    """A lease granted to a request that is being cancelled goes back."""
    fixture = Fixture()
    request = asyncio.create_task(fixture.pool.acquire(A))
    await turns()
    with fixture.pool.events.subscribe() as events:
        fixture.starts[0][1].set_result(FakeInstance())
        assert (await events.next()).kind is Kind.READY
    assert [1] == [view.leases for view in fixture.pool.residents()]
    request.cancel()
    await turns()

    assert request.cancelled()
    assert [0] == [view.leases for view in fixture.pool.residents()]
    await fixture.pool.close(0)


async def test_a_failed_load_fails_all_who_wait_for_it() -> None:
    """Everyone gets the same error, as an exception of its own."""
    fixture = Fixture()
    requests = [asyncio.create_task(take(fixture.pool, A)) for _ in range(2)]
    await fixture.fail(EngineFailed("no memory\n\nlast line", hint="buy some"))
    errors = await asyncio.gather(*requests, return_exceptions=True)

    assert ["no memory\n\nlast line"] * 2 == [str(error) for error in errors]
    assert [EngineFailed] * 2 == [type(error) for error in errors]
    assert errors[0] is not errors[1]
    assert fixture.states() == {}
    assert (Kind.GONE, Reason.FAILED) == fixture.history()[-1]


async def test_a_model_that_failed_to_load_is_tried_again() -> None:
    """A failure says nothing about the next request."""
    fixture = Fixture()
    first = asyncio.create_task(take(fixture.pool, A))
    await fixture.fail(EngineFailed("no memory"))
    with pytest.raises(EngineFailed):
        await first

    assert await fixture.load(A) is await take(fixture.pool, A)
    await fixture.pool.close(0)


async def test_an_unexpected_error_is_logged_and_told_in_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours does not reach clients as it is, and does not stop the pool."""
    fixture = Fixture()
    request = asyncio.create_task(take(fixture.pool, A))
    with caplog.at_level(logging.ERROR):
        await fixture.fail(KeyError("oops"))

    with pytest.raises(EngineFailed, match="the model could not be loaded"):
        await request
    assert "oops" in caplog.text


async def test_a_failed_load_without_anyone_waiting_is_no_unretrieved_exception() -> None:
    """Nothing complains when the last client left before the load failed."""
    fixture = Fixture()
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    request = asyncio.create_task(take(fixture.pool, A))
    await turns()
    fixture.starts[0][1].set_exception(EngineFailed("no memory"))
    await asyncio.sleep(0)
    request.cancel()
    await turns()
    gc.collect()

    assert complaints == []


async def test_a_full_line_turns_requests_away() -> None:
    """The line is bounded."""
    fixture = Fixture(queue=2)
    waiting = [asyncio.create_task(take(fixture.pool, A)) for _ in range(2)]
    await turns()

    with pytest.raises(Busy):
        await take(fixture.pool, B)
    await fixture.become_ready(A)
    await asyncio.gather(*waiting)
    await fixture.pool.close(0)


async def test_an_idle_model_makes_room() -> None:
    """A new model starts only when the process of the old one is gone."""
    fixture = Fixture()
    old = await fixture.load(A)
    old.may_stop.clear()
    request = asyncio.create_task(take(fixture.pool, B))
    await turns()
    assert [A] == [key for key, _ in fixture.starts]
    assert {A: State.STOPPING} == fixture.states()

    old.may_stop.set()
    new = await fixture.become_ready(B)

    assert await request is new
    assert {B: State.READY} == fixture.states()
    await fixture.pool.close(0)


async def test_a_request_for_a_model_that_is_stopping_starts_it_again() -> None:
    """An eviction under way is not undone, and the request that races it is not lost."""
    fixture = Fixture()
    old = await fixture.load(A)
    old.may_stop.clear()
    unload = asyncio.create_task(fixture.pool.unload(lambda _: True))
    await turns()
    request = asyncio.create_task(take(fixture.pool, A))
    await turns()
    old.may_stop.set()
    new = await fixture.become_ready(A)

    assert await request is new
    assert await unload == 1
    assert new is not old
    await fixture.pool.close(0)


async def test_a_leased_model_is_not_evicted() -> None:
    """Who waits for a place gets it when the lease ends."""
    fixture = Fixture()
    await fixture.load(A)
    lease = fixture.pool.try_lease(A)
    request = asyncio.create_task(take(fixture.pool, B))
    await turns()
    assert {A: State.READY} == fixture.states()

    assert lease is not None
    lease.release()
    new = await fixture.become_ready(B)

    assert await request is new
    await fixture.pool.close(0)


async def test_a_model_that_is_never_idle_gives_way_in_the_end() -> None:
    """Overlapping requests for one model do not keep another out for ever."""
    fixture = Fixture()
    await fixture.load(A)
    lease = fixture.pool.try_lease(A)
    other = asyncio.create_task(take(fixture.pool, B))
    await turns()
    fixture.clock.advance(30)
    assert fixture.pool.try_lease(A) is None
    late = asyncio.create_task(take(fixture.pool, A))
    await turns()

    assert lease is not None
    lease.release()
    new = await fixture.become_ready(B)
    assert await other is new
    again = await fixture.become_ready(A)
    assert await late is again
    await fixture.pool.close(0)


async def test_a_model_takes_leases_again_when_the_one_who_waited_leaves() -> None:
    """Draining ends with its reason."""
    fixture = Fixture()
    old = await fixture.load(A)
    lease = fixture.pool.try_lease(A)
    other = asyncio.create_task(take(fixture.pool, B))
    await turns()
    fixture.clock.advance(30)
    late = asyncio.create_task(take(fixture.pool, A))
    await turns()
    other.cancel()

    assert await late is old
    assert lease is not None
    lease.release()
    await fixture.pool.close(0)


async def test_an_idle_model_is_stopped_when_its_time_is_up() -> None:
    """The idle time counts from the end of the last lease."""
    fixture = Fixture(keep_alive=60)
    await fixture.load(A)
    fixture.clock.advance(50)
    await take(fixture.pool, A)
    fixture.clock.advance(59)
    await turns()
    assert {A: State.READY} == fixture.states()

    fixture.clock.advance(1)
    await turns()

    assert fixture.states() == {}
    assert [(Kind.STOPPING, Reason.IDLE), (Kind.GONE, Reason.IDLE)] == fixture.history()[-2:]


async def test_there_is_one_timer() -> None:
    """However many models are idle."""
    fixture = Fixture(places=3)
    for key in (A, B, C):
        await fixture.load(key)

    assert len(fixture.clock.due) == 1
    await fixture.pool.close(0)
    assert fixture.clock.due == {}


async def test_a_model_is_stopped_at_once_when_it_is_to_stay_for_no_time() -> None:
    """A keep-alive of zero ends with the last lease."""
    fixture = Fixture(keep_alive=0)
    request = asyncio.create_task(take(fixture.pool, A))
    instance = await fixture.become_ready(A)

    assert await request is instance
    await turns()
    assert fixture.states() == {}


async def test_a_changed_keep_alive_counts_after_settling() -> None:
    """The pool asks anew."""
    fixture = Fixture(keep_alive=None)
    await fixture.load(A)
    assert fixture.clock.due == {}
    fixture.wishes.kept[A] = 5.0
    fixture.pool.settle()

    fixture.clock.advance(5)
    await turns()

    assert fixture.states() == {}


async def test_a_crash_is_noticed_at_once() -> None:
    """A model whose process ends is gone, without anybody asking for it."""
    fixture = Fixture()
    instance = await fixture.load(A)
    instance.crash()
    assert fixture.pool.try_lease(A) is None
    await turns()

    assert fixture.states() == {}
    assert (Kind.GONE, Reason.CRASHED) == fixture.history()[-1]
    assert fixture.pool.events.recent()[-1].detail == "last line"
    assert instance.stops == 1


async def test_a_crashed_model_is_started_for_the_next_request() -> None:
    """The old lease keeps its resident: giving it back does not touch the new one."""
    fixture = Fixture()
    old = await fixture.load(A)
    lease = fixture.pool.try_lease(A)
    old.crash()
    request = asyncio.create_task(fixture.pool.acquire(A))
    new = await fixture.become_ready(A)
    fresh = await request
    assert lease is not None
    lease.release()
    lease.release()

    assert fresh.running is new
    assert [1] == [view.leases for view in fixture.pool.residents()]
    fresh.release()
    await fixture.pool.close(0)


async def test_unload_waits_for_processes_and_leaves_busy_models_alone() -> None:
    """What is leased or loading is neither stopped nor counted."""
    fixture = Fixture(places=3)
    busy, idle = await fixture.load(A), await fixture.load(B)
    lease = fixture.pool.try_lease(A)
    loading = asyncio.create_task(take(fixture.pool, C))
    await turns()
    idle.may_stop.clear()
    unload = asyncio.create_task(fixture.pool.unload(lambda _: True))
    await turns()
    assert not unload.done()
    idle.may_stop.set()

    assert await unload == 1
    assert {A: State.READY, C: State.STARTING} == fixture.states()
    assert (busy.stops, idle.stops) == (0, 1)
    await fixture.become_ready(C)
    await loading
    assert lease is not None
    lease.release()
    await fixture.pool.close(0)


async def test_unload_is_selective() -> None:
    """Only what matches is stopped."""
    fixture = Fixture(places=2)
    await fixture.load(A)
    await fixture.load(B)

    assert await fixture.pool.unload(lambda key: key == A) == 1
    assert {B: State.READY} == fixture.states()
    await fixture.pool.close(0)


async def test_reload_stops_an_idle_model_and_refuses_a_busy_one() -> None:
    """A configuration takes effect with the next start, or not at all."""
    fixture = Fixture()
    assert await fixture.pool.reload(A)
    await fixture.load(A)
    lease = fixture.pool.try_lease(A)
    assert not await fixture.pool.reload(A)
    assert lease is not None
    lease.release()

    assert await fixture.pool.reload(A)
    assert (Kind.GONE, Reason.RECONFIGURED) == fixture.history()[-1]


async def test_reload_breaks_off_a_load_that_nobody_waits_for() -> None:
    """One that somebody waits for goes on."""
    fixture = Fixture()
    waiting = asyncio.create_task(take(fixture.pool, A))
    await turns()
    while_waited_for = await fixture.pool.reload(A)
    waiting.cancel()
    await turns()
    when_nobody_waits = await fixture.pool.reload(A)

    assert (False, True) == (while_waited_for, when_nobody_waits)
    assert [A] == fixture.cancelled
    assert (Kind.GONE, Reason.RECONFIGURED) == fixture.history()[-1]
    assert fixture.states() == {}


async def test_closing_turns_waiting_requests_away_and_ends_loads() -> None:
    """Nothing is left, and nobody waits for ever."""
    fixture = Fixture(places=2)
    idle = await fixture.load(A)
    waiting = asyncio.create_task(take(fixture.pool, B))
    await turns()
    await fixture.pool.close(5)

    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await take(fixture.pool, A)
    assert [B] == fixture.cancelled
    assert idle.stops == 1
    assert fixture.states() == {}


async def test_closing_waits_for_running_requests() -> None:
    """A leased model is stopped when its lease ends, if that is before the deadline."""
    fixture = Fixture()
    instance = await fixture.load(A)
    done = asyncio.Event()
    request = asyncio.create_task(use(fixture.pool, A, done))
    await turns()
    close = asyncio.create_task(fixture.pool.close(30))
    await turns()
    assert instance.stops == 0
    done.set()
    await close

    assert await request is instance
    assert instance.stops == 1


async def test_closing_does_not_wait_for_ever() -> None:
    """After the deadline a leased model is stopped too."""
    fixture = Fixture()
    instance = await fixture.load(A)
    lease = fixture.pool.try_lease(A)
    await fixture.pool.close(0)

    assert instance.stops == 1
    assert fixture.states() == {}
    assert lease is not None
    lease.release()


async def test_residents_show_when_they_were_last_used() -> None:
    """Nothing while loading or in use, else the end of the last lease."""
    fixture = Fixture()
    await fixture.load(A)
    fixture.clock.advance(7)
    lease = fixture.pool.try_lease(A)
    (used,) = fixture.pool.residents()
    assert lease is not None
    lease.release()
    fixture.clock.advance(2)
    (idle,) = fixture.pool.residents()

    assert (None, 1) == (used.last_used, used.leases)
    assert (1_000_007.0, 0) == (idle.last_used, idle.leases)
    assert not idle.loading
    await fixture.pool.close(0)


async def test_events_tell_what_happened_and_why() -> None:
    """From start to end, each with its reason."""
    fixture = Fixture()
    await fixture.load(A)
    await fixture.load(B)
    await fixture.pool.close(0)

    assert [
        (Kind.STARTING, Reason.REQUESTED),
        (Kind.READY, Reason.REQUESTED),
        (Kind.STOPPING, Reason.PLACE_NEEDED),
        (Kind.WAITING, Why.STOPPING),
        (Kind.GONE, Reason.PLACE_NEEDED),
        (Kind.STARTING, Reason.REQUESTED),
        (Kind.READY, Reason.REQUESTED),
        (Kind.STOPPING, Reason.SHUTDOWN),
        (Kind.GONE, Reason.SHUTDOWN),
    ] == fixture.history()


async def test_errors_keep_their_kind() -> None:
    """Every class of the tree can be copied for each who waits."""
    fixture = Fixture()
    classes: list[type[RunnerError]] = [RunnerError, *RunnerError.__subclasses__()]
    for cls in classes:
        fixture.clock.advance(3600)  # what failed long ago is forgotten
        request = asyncio.create_task(take(fixture.pool, A))
        await fixture.fail(cls("why"))
        with pytest.raises(cls, match="why"):
            await request


class Chaos:
    """A pool whose starts take a random while and fail now and then, and the requests that use it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.places = self.random.randint(1, 3)
        self.here: set[Key] = set()
        self.instances: list[FakeInstance] = []
        self.pool: Pool[FakeInstance] = Pool(
            self.start, places=self.places, wishes=FixedWishes(0.001, {A: None}), patience=0.001
        )

    async def pause(self) -> None:
        await turns(self.random.randint(0, 6))

    async def start(self, key: Key) -> FakeInstance:
        assert key not in self.here
        self.here.add(key)
        assert len(self.here) <= self.places
        try:
            await self.pause()
        except asyncio.CancelledError:
            self.here.discard(key)
            raise
        if self.random.random() < 0.1:
            self.here.discard(key)
            raise EngineFailed("no luck")
        instance = FakeInstance()
        instance.exited.add_done_callback(lambda _: self.here.discard(key))
        self.instances.append(instance)
        return instance

    async def request(self) -> None:
        await self.pause()
        try:
            async with self.pool.lease(self.random.choice((A, B, C))) as lease:
                instance = lease.running
                await self.pause()
                if instance.alive and self.random.random() < 0.05:
                    instance.crash()
                elif instance.alive:
                    assert instance.stops == 0
        except EngineFailed:
            pass

    async def cancel_one(self, requests: list[asyncio.Task[None]]) -> None:
        await self.pause()
        self.random.choice(requests).cancel()


@pytest.mark.parametrize("seed", range(25))
async def test_nothing_is_lost_in_chaos(seed: int) -> None:
    """Never above the places, never stopped while leased, every request ends, and nothing is left running."""
    chaos = Chaos(seed)
    requests = [asyncio.create_task(chaos.request()) for _ in range(120)]
    for _ in range(20):
        await chaos.cancel_one(requests)
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
    leases = [view.leases for view in chaos.pool.residents()]
    await chaos.pool.close(0)

    assert [o for o in outcomes if o is not None and not isinstance(o, asyncio.CancelledError)] == []
    assert not any(leases)
    assert chaos.pool.waiting == 0
    assert not any(instance.alive for instance in chaos.instances)


async def test_a_model_that_fails_again_and_again_is_not_tried_for_a_while() -> None:
    """Whoever asks then is told at once, in the engine's own words, and when to come back."""
    fixture = Fixture()
    for _ in range(3):
        request = asyncio.create_task(take(fixture.pool, A))
        await turns()
        fixture.clock.advance(1)
        await fixture.fail(EngineFailed("no such tensor"))
        with pytest.raises(EngineFailed, match="no such tensor"):
            await request

    with pytest.raises(EngineFailing, match=r"3 times in a row.*no such tensor") as refused:
        await take(fixture.pool, A)
    assert 10 == refused.value.retry_after
    assert (Kind.REFUSED, Why.FAILING) == fixture.history()[-1]

    fixture.clock.advance(10)
    assert (await fixture.load(A)).alive
    await fixture.pool.close(0)


async def test_unloading_a_model_that_fails_lets_it_be_tried_at_once() -> None:
    """Somebody may have mended something."""
    fixture = Fixture()
    for _ in range(3):
        request = asyncio.create_task(take(fixture.pool, A))
        await turns()
        fixture.clock.advance(1)
        await fixture.fail(EngineFailed("no luck"))
        await asyncio.gather(request, return_exceptions=True)

    await fixture.pool.unload(lambda key: key == A)

    assert (await fixture.load(A)).alive
    await fixture.pool.close(0)


async def test_no_more_requests_than_slots_are_served_at_a_time() -> None:
    """The next in line gets the slot that becomes free."""
    fixture = Fixture()
    instance = await fixture.load(A)
    instance.slots = 1
    first = await fixture.pool.acquire(A)
    second = asyncio.create_task(fixture.pool.acquire(A))
    await turns()
    (waiter,) = fixture.pool.queue()
    assert ("slots", 1) == (waiter.why, waiter.position)

    first.release()

    (await second).release()
    await fixture.pool.close(0)


async def test_callers_take_turns() -> None:
    """A caller with many requests does not keep another from its turn; a heavier one has more turns."""
    fixture = Fixture(queue=100)
    instance = await fixture.load(A)
    instance.slots = 1
    first = await fixture.pool.acquire(A)
    order: list[str] = []

    async def one(name: str, weight: float) -> None:
        async with fixture.pool.lease(A, Terms(Caller(name, weight))):
            order.append(name)
            await asyncio.sleep(0)

    requests = [asyncio.create_task(one("greedy", 1.0)) for _ in range(8)]
    await turns()
    requests += [asyncio.create_task(one("modest", 1.0)) for _ in range(2)]
    requests += [asyncio.create_task(one("urgent", 8.0)) for _ in range(2)]
    await turns()
    first.release()
    await asyncio.gather(*requests)

    assert ["urgent", "urgent", "greedy", "modest", "greedy", "modest"] == order[:6]
    await fixture.pool.close(0)


async def test_the_keep_alive_of_a_request_counts_until_the_next_one() -> None:
    """Without one, that of the configuration counts."""
    fixture = Fixture(keep_alive=300)
    await fixture.load(A)
    async with fixture.pool.lease(A, Terms(stay=Stay(5.0))):
        pass
    assert [5.0] == [view.keep_alive for view in fixture.pool.residents()]
    await take(fixture.pool, A)
    assert [300] == [view.keep_alive for view in fixture.pool.residents()]
    async with fixture.pool.lease(A, Terms(stay=Stay(5.0))):
        pass

    fixture.clock.advance(5)
    await turns()

    assert fixture.states() == {}
    await fixture.pool.close(0)


async def test_a_model_that_is_too_large_is_refused_at_once() -> None:
    """With the figures, and the request never waits."""
    fixture = Fixture(memory={"ram": 4_000_000_000}, needs={A: 5_000_000_000})

    with pytest.raises(InsufficientMemory, match=r"5\.00GB of `ram`, and 4\.00GB can be had"):
        await take(fixture.pool, A)
    assert fixture.starts == []
    assert (Kind.REFUSED, Why.TOO_LARGE) == fixture.history()[-1]


async def test_a_request_can_do_without_the_check_of_memory() -> None:
    """Somebody may know better."""
    fixture = Fixture(memory={"ram": 4}, needs={A: 5})
    request = asyncio.create_task(fixture.pool.acquire(A, Terms(checked=False)))
    await fixture.become_ready(A)

    (await request).release()
    await fixture.pool.close(0)


async def test_a_model_is_loaded_when_the_memory_of_the_last_one_is_seen_to_be_free() -> None:
    """The end of its process alone does not count."""
    fixture = Fixture(places=4, memory={"ram": 100}, needs={A: 60, B: 60})
    await fixture.load(A)
    fixture.free["ram"] = 40
    request = asyncio.create_task(take(fixture.pool, B))
    await turns()
    assert fixture.states() == {}
    (waiter,) = fixture.pool.queue()
    assert "memory" == waiter.why

    fixture.free["ram"] = 100
    fixture.clock.advance(0.1)
    await fixture.become_ready(B)

    await request
    await fixture.pool.close(0)


async def test_a_model_whose_need_cannot_be_found_out_is_not_loaded() -> None:
    """Everybody who waits for it is told why."""
    fixture = Fixture()

    async def estimate(_: Key) -> MemoryNeed:
        raise UnsupportedModel("no header")

    fixture.pool._needs.estimate = estimate
    with pytest.raises(UnsupportedModel, match="no header"):
        await take(fixture.pool, A)
    assert 0 == fixture.pool.waiting
    await fixture.pool.close(0)


async def test_the_line_shows_who_waits_and_why() -> None:
    """In turn, by the name of the request, and for whom."""
    fixture = Fixture()
    await fixture.load(A)
    lease = fixture.pool.try_lease(A)
    request = asyncio.create_task(fixture.pool.acquire(B, Terms(name="r-1")))
    await turns()
    fixture.clock.advance(3)
    (waiter,) = fixture.pool.queue()

    assert ("r-1", B, 1, 3.0, "busy", (A,)) == (
        waiter.name,
        waiter.key,
        waiter.position,
        waiter.waited,
        waiter.why,
        waiter.others,
    )
    assert lease is not None
    lease.release()
    await fixture.become_ready(B)
    (await request).release()
    await fixture.pool.close(0)


async def test_a_lease_tells_how_long_it_took_to_get() -> None:
    """In line, and of that while the model was being loaded."""
    fixture = Fixture()
    old = await fixture.load(A)
    old.may_stop.clear()
    request = asyncio.create_task(fixture.pool.acquire(B))
    await turns()
    fixture.clock.advance(2)
    old.may_stop.set()
    await turns()
    fixture.clock.advance(3)
    await fixture.become_ready(B)
    lease = await request

    assert (2.0, 3.0) == (lease.queued, lease.loading)
    lease.release()
    await fixture.pool.close(0)


async def test_the_outlook_says_what_would_happen() -> None:
    """Nothing does."""
    fixture = Fixture(places=4, memory={"ram": 100}, needs={A: 60, B: 50, C: 200})
    _, alone = await fixture.pool.outlook(A)
    await fixture.load(A)
    _, beside = await fixture.pool.outlook(B)
    _, never = await fixture.pool.outlook(C)

    assert alone.starts
    assert (A,) == beside.stops
    assert never.refusal is not None
    assert Why.TOO_LARGE is never.refusal.why
    assert {A: State.READY} == fixture.states()
    await fixture.pool.close(0)


async def test_a_line_that_does_not_move_without_reason_is_noticed() -> None:
    """What is in use explains itself."""
    fixture = Fixture(keep_alive=None)
    fixture.wishes.pins.clear()
    assert 0.0 == fixture.pool.stalled()
    request = asyncio.create_task(take(fixture.pool, A))
    await turns()
    fixture.clock.advance(90)

    assert 90.0 == fixture.pool.stalled()
    await fixture.become_ready(A)
    await request
    assert 0.0 == fixture.pool.stalled()
    await fixture.pool.close(0)


async def test_the_line_can_be_seen_while_a_model_is_loaded() -> None:
    """Whoever waits has a reason at any moment, also right after the decision that starts its model."""
    fixture = Fixture()
    request = asyncio.create_task(take(fixture.pool, A))
    await turns(1)
    assert ["estimating"] == [waiter.why for waiter in fixture.pool.queue()]
    await turns()

    assert ["loading"] == [waiter.why for waiter in fixture.pool.queue()]
    await fixture.become_ready(A)
    await request
    await fixture.pool.close(0)


async def test_unload_breaks_off_a_load_that_nobody_waits_for() -> None:
    """It may be one that hangs; a load that somebody waits for goes on."""
    fixture = Fixture(places=2)
    left, waiting = (asyncio.create_task(take(fixture.pool, key)) for key in (A, B))
    await turns()
    left.cancel()
    await turns()

    assert 1 == await fixture.pool.unload(lambda _: True)
    assert [A] == fixture.cancelled
    assert {B: State.STARTING} == fixture.states()
    assert (Kind.GONE, Reason.UNLOADED) == fixture.history()[-1]
    await fixture.become_ready(B)
    await waiting
    await fixture.pool.close(0)
