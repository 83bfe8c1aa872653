"""The pool, with instances that are ready and gone when a test says so, and a clock that is moved by hand."""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Coroutine

import pytest

from modelrunner.errors import Busy, EngineFailed, RunnerError, ShuttingDown
from modelrunner.models.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.events import Kind
from modelrunner.runtime.policy import Key, Reason, State
from modelrunner.runtime.pool import Pool

A, B, C = (Key("llama.cpp", Digest.of(name), Mode.COMPLETION) for name in (b"a", b"b", b"c"))


class FakeInstance:
    """An instance whose process ends when told to, or when `may_stop` is set after a stop."""

    def __init__(self) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.tail = "last line"
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.stops = 0

    @property
    def alive(self) -> bool:
        return not self.exited.done()

    def crash(self) -> None:
        self.exited.set_result(1)

    async def stop(self) -> None:
        self.stops += 1
        await self.may_stop.wait()
        if self.alive:
            self.exited.set_result(0)


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

    def __init__(self, *, places: int = 1, queue: int = 8, keep_alive: float | None = 300.0) -> None:
        self.clock = Clock()
        self.keep_alive: dict[Key, float | None] = {}
        self.starts: list[tuple[Key, asyncio.Future[FakeInstance]]] = []
        self.cancelled: list[Key] = []
        self.pool: Pool[FakeInstance] = Pool(
            self._start,
            places=places,
            queue=queue,
            patience=30.0,
            keep_alive=lambda key: self.keep_alive.get(key, keep_alive),
            clock=self.clock,
            wall=lambda: 1_000_000 + self.clock(),
            later=self.clock.later,
        )

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

    def history(self) -> list[tuple[Kind, Reason]]:
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
    async with pool.lease(key) as instance:
        await until.wait()
    return instance


async def take(pool: Pool[FakeInstance], key: Key) -> FakeInstance:
    async with pool.lease(key) as instance:
        return instance


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
    fixture.keep_alive[A] = 5.0
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
            self.start, places=self.places, keep_alive=lambda key: None if key is A else 0.001, patience=0.001
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
            async with self.pool.lease(self.random.choice((A, B, C))) as instance:
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
