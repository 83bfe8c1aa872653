"""The pool with real processes: the scripted engine in every way in which an engine can fail, in any order.

The rules are I1 to I7 of `modelrunner.testing.world`, which holds the scheduler alone to them. Here they are
seen from outside: by processes that live, by requests that end, and by events.
"""

import asyncio
import json
import os
import random
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from modelrunner.engines.ask import Ask
from modelrunner.engines.base import Address, Launch, Sleep
from modelrunner.errors import EngineFailed, EngineFailing, NotReadyInTime, RunnerError, ShuttingDown
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.events import Event, Kind
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.memory_needs import MemoryNeed
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.scheduling.ledger import Amounts
from modelrunner.runtime.scheduling.plan import Key, Reason, State, Why
from modelrunner.runtime.scheduling.request_queue import Caller, Terms

A, B, C, D = (Key("fake", Digest.of(name), Mode.COMPLETION) for name in (b"a", b"b", b"c", b"d"))
NEEDS = {A: 60, B: 50, C: 40, D: 30}
MEMORY = 100
GRACE = 0.2  # seconds that an engine gets to end; users give it more
BODY = json.dumps({"messages": [{"role": "user", "content": "one two three"}]}).encode()


class Running:
    """An instance with less grace than a user's, that notes when it is stopped while somebody uses it."""

    def __init__(self, floor: "Floor", key: Key, instance: Instance) -> None:
        self._floor = floor
        self._key = key
        self.instance = instance
        self.asleep = False
        self.slots: int | None = None
        self.users = 0

    @property
    def alive(self) -> bool:
        return self.instance.alive

    @property
    def obituary(self) -> str:
        return self.instance.obituary

    @property
    def exited(self) -> asyncio.Future[int]:
        return self.instance.exited

    async def sleep(self) -> None:
        if self.users:
            self._floor.broken.append(f"I3: {self._key} was put to sleep while in use")
        await self.instance.sleep()
        self.asleep = True

    async def wake(self) -> None:
        await self.instance.wake()
        self.asleep = False

    async def stop(self) -> None:
        if self.alive and self.users and not self._floor.closing:
            self._floor.broken.append(f"I3: {self._key} was stopped while in use")
        await self.instance.stop(GRACE)
        self._floor.living.discard(self._key)


class Wishes:
    """What users want: short stays, so that much happens."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.pins: set[Key] = set()

    def keep_alive(self, key: Key) -> float | None:
        return self.seconds

    def pinned(self, key: Key) -> bool:
        return key in self.pins

    def memory_check(self, key: Key) -> bool:
        return True


class Floor:
    """A pool whose engines are processes that behave as `behaviours` says when they start."""

    def __init__(self, folder: Path, *, keep_alive: float | None = 300.0) -> None:
        self.folder = folder
        self.behaviours: dict[Key, dict[str, object]] = {}
        self.within = 10.0
        self.asleep: dict[Key, int] = {}  # what those hold that can sleep
        self.address: Address | None = None
        self.number = 0
        self.living: set[Key] = set()  # whose process may be there
        self.broken: list[str] = []
        self.closing = False
        self.wishes = Wishes(keep_alive)
        self.pool: Pool[Running] = Pool(
            self._start,
            places=3,
            wishes=self.wishes,
            estimate=self._estimate,
            memory={"ram": MEMORY},
            look=self._free,
            patience=0.5,
        )
        self.heard = asyncio.Event()  # a word of some engine

    async def _estimate(self, key: Key) -> MemoryNeed:
        asleep = self.asleep.get(key)
        return MemoryNeed({"ram": NEEDS[key]}, asleep=None if asleep is None else {"ram": asleep})

    def _free(self) -> Amounts:
        """What processes leave; one that starts has not taken anything yet, as in real life."""
        starting = {each.key for each in self.pool.residents() if each.state is State.STARTING}
        return {"ram": MEMORY - sum(self._held(key) for key in self.living - starting)}

    def _held(self, key: Key) -> int:
        asleep = any(each == key and running.asleep for each, running in self.pool.running())
        return self.asleep[key] if asleep else NEEDS[key]

    async def _start(self, key: Key) -> Running:
        if key in self.living:
            self.broken.append(f"{key} was started while its last process was there")
        self.living.add(key)
        if sum(map(self._held, self.living)) > MEMORY:
            self.broken.append(f"I4: {key} was loaded into memory that is not free")
        self.number += 1
        address = self.address or Address(self.folder / f"{self.number}.sock")
        launch = fake(address, within=self.within, **self.behaviours.get(key, {}))
        try:
            instance = await Instance.start(
                launch, address, "fake", self._hear, lambda _: None, environ=os.environ
            )
        except BaseException:
            self.living.discard(key)
            raise
        running = Running(self, key, instance)
        instance.exited.add_done_callback(lambda _: self.living.discard(key))
        return running

    def _hear(self, _line: str) -> None:
        self.heard.set()

    async def ask(self, key: Key, body: bytes = BODY, terms: Terms | None = None) -> int:
        """Ask a model and read the whole answer; its status."""
        async with self.pool.lease(key, terms or Terms()) as lease:
            running = lease.running
            running.users += 1
            try:
                target = "/v1/chat/completions"
                async with running.instance.request("POST", target, [], body) as upstream:
                    async for _ in upstream.chunks():
                        pass
                    return upstream.status
            finally:
                running.users -= 1

    def look(self) -> None:
        """Check that everybody who waits has a place and a reason (I1)."""
        line = self.pool.queue()
        if [each.position for each in line] != list(range(1, len(line) + 1)) or not all(e.why for e in line):
            self.broken.append(f"I1: somebody waits without a place or a reason: {line}")

    async def close(self) -> None:
        """Close the pool when all requests have ended, and check that nothing is left."""
        assert not any(each.leases for each in self.pool.residents()), "a lease is left over"
        await self.end()

    async def end(self) -> None:
        """Close the pool whatever goes on, and check that nothing is left."""
        self.closing = True
        await self.pool.close(0)

        assert [] == self.broken
        assert 0 == self.pool.waiting
        assert () == self.pool.residents()
        assert set() == self.living
        assert [] == processes(self.folder)
        assert [] == list(self.folder.glob("*.sock"))
        check_story(self.pool.events.recent())


def fake(address: Address, *, within: float, **behaviour: object) -> Launch:
    where = [str(address.socket)] if address.socket else [address.host, "--port", str(address.port)]
    argv = (sys.executable, "-m", "modelrunner.testing.engine", "--model", "m", "--host", *where)
    sleep = Sleep(Ask("POST", "/sleep"), Ask("POST", "/wake_up"), within=1.0)
    return Launch(argv, env={"FAKE_ENGINE": json.dumps(behaviour)}, ready_within=within, sleep=sleep)


def processes(folder: Path) -> list[int]:
    """The engines of a floor that are still there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(folder) in argument for argument in process.cmdline()):
                found.append(process.pid)
    return found


def check_story(events: tuple[Event, ...]) -> None:
    """Each load has an end, and each end a reason that fits."""
    last: dict[Key, Kind] = {}
    follows: dict[Kind, set[Kind | None]] = {
        Kind.STARTING: {None, Kind.GONE},
        Kind.READY: {Kind.STARTING, Kind.WAKING},
        Kind.DOZING: {Kind.READY},
        Kind.ASLEEP: {Kind.DOZING},
        Kind.WAKING: {Kind.ASLEEP},
        Kind.STOPPING: {Kind.STARTING, Kind.READY, Kind.DOZING, Kind.ASLEEP, Kind.WAKING},
        Kind.GONE: {*Kind} - {Kind.GONE},
    }
    for event in events:
        assert event.reason.text
        assert isinstance(event.reason, Why) is (event.kind in {Kind.WAITING, Kind.REFUSED})
        if isinstance(event.reason, Why):
            continue
        before = last.get(event.key)
        assert before in follows[event.kind], f"{event.kind} after {before}: {event}"
        if event.kind is Kind.GONE and before is Kind.READY:
            assert event.reason is Reason.CRASHED
        if event.kind is Kind.GONE and event.reason in {Reason.CRASHED, Reason.FAILED}:
            assert event.detail
        if event.kind in {Kind.STOPPING, Kind.DOZING} and event.reason in (
            Reason.PLACE_NEEDED,
            Reason.MEMORY_NEEDED,
        ):
            assert event.others, "nobody is named for whom it makes room"
        last[event.key] = event.kind
    assert {Kind.GONE} >= set(last.values())


@pytest.fixture
def floor(short_path: Path) -> Floor:
    return Floor(short_path)


def told(floor: Floor, key: Key) -> list[tuple[Kind, str]]:
    return [(e.kind, str(e.reason)) for e in floor.pool.events.recent() if e.key == key]


# One thing at a time


async def test_a_crash_at_a_request_fails_that_request_only(floor: Floor) -> None:
    """The next one has the model loaded anew."""
    with pytest.raises(EngineFailed, match="crashed on purpose"):
        await floor.ask(A, json.dumps({"fake": {"crash_on_request": True}}).encode())

    assert 200 == await floor.ask(A)
    assert (Kind.GONE, "crashed") in told(floor, A)
    await floor.close()


async def test_an_engine_that_hangs_at_its_start_is_ended(floor: Floor) -> None:
    """Everybody who waits is told at the deadline, and somebody else is served meanwhile (I2)."""
    floor.behaviours[B], floor.within = {"hang_at_load": True}, 1.0
    waiting = [asyncio.create_task(floor.ask(B)) for _ in range(3)]

    assert 200 == await floor.ask(C)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [NotReadyInTime] * 3 == [type(outcome) for outcome in outcomes]
    await floor.close()


@pytest.mark.parametrize("stopped", [False, True])
async def test_an_engine_that_does_not_stop_is_killed(floor: Floor, *, stopped: bool) -> None:
    """It ignores the signal, or does not even hear it; who waits for its room gets it after the grace."""
    floor.behaviours[A] = {"ignore_sigterm": not stopped}
    await floor.ask(A)
    if stopped:
        ((_, running),) = floor.pool.running()
        os.kill(running.instance.pid, signal.SIGSTOP)

    assert 200 == await floor.ask(B)
    assert (Kind.STOPPING, "memory_needed") in told(floor, A)
    await floor.close()


async def test_a_slow_start_is_one_start(floor: Floor) -> None:
    """Everybody waits for it, and the client that caused it may leave (I6)."""
    floor.behaviours[A] = {"load_seconds": 0.5}
    first, *others = [asyncio.create_task(floor.ask(A)) for _ in range(5)]
    with floor.pool.events.subscribe() as events:
        while (await events.next()).kind is not Kind.STARTING:
            pass
    first.cancel()

    assert [200] * 4 == await asyncio.gather(*others)
    assert 1 == floor.number
    await floor.close()


async def test_an_engine_that_ends_while_it_loads_is_told_with_its_last_words(floor: Floor) -> None:
    """Three times in a row, and then nobody waits for the same end again."""
    floor.behaviours[A] = {"crash_at_load": "no luck today", "load_seconds": 0.05}
    for _ in range(3):
        with pytest.raises(EngineFailed, match="no luck today"):
            await floor.ask(A)

    with pytest.raises(EngineFailing, match="no luck today"):
        await floor.ask(A)
    assert 3 == floor.number
    assert (Kind.REFUSED, "failing") == told(floor, A)[-1]
    await floor.close()


async def test_an_engine_whose_port_was_stolen_is_not_waited_for(floor: Floor) -> None:
    """It ends when it cannot listen, and that is told at once."""
    with socket.create_server(("127.0.0.1", 0)) as thief:
        floor.address = Address(port=thief.getsockname()[1])
        with pytest.raises(EngineFailed, match="another program took the port"):
            await floor.ask(A)
    await floor.close()


async def test_an_engine_whose_socket_was_taken_is_not_waited_for(floor: Floor) -> None:
    """Something else has its name."""
    (floor.folder / "1.sock").mkdir()
    with pytest.raises(EngineFailed):
        await floor.ask(A)
    (floor.folder / "1.sock").rmdir()

    assert 200 == await floor.ask(B)
    await floor.close()


async def test_an_engine_that_can_sleep_does_so_instead_of_ending(floor: Floor) -> None:
    """The same process serves again when it is woken; the one that it made room for is there meanwhile."""
    floor.asleep = {A: 10}
    await floor.ask(A)
    ((_, first),) = floor.pool.running()

    assert 200 == await floor.ask(B)
    assert {A: State.ASLEEP, B: State.READY} == {each.key: each.state for each in floor.pool.residents()}
    assert 10 == floor.pool.residents()[0].memory["ram"]
    assert 200 == await floor.ask(A)

    assert (first, 2) == (dict(floor.pool.running())[A], floor.number)
    assert [
        (Kind.STARTING, "requested"),
        (Kind.READY, "requested"),
        (Kind.DOZING, "memory_needed"),
        (Kind.ASLEEP, "memory_needed"),
        (Kind.WAKING, "requested"),
        (Kind.READY, "requested"),
    ] == [event for event in told(floor, A) if event[0] is not Kind.WAITING]
    await floor.close()


@pytest.mark.parametrize("behaviour", ["restless", "hang_at"])
async def test_an_engine_that_does_not_fall_asleep_is_stopped(floor: Floor, behaviour: str) -> None:
    """And the next time it is not tried."""
    floor.asleep, floor.behaviours[A] = {A: 10}, {behaviour: "/sleep"}
    for _ in range(2):
        assert 200 == await floor.ask(A)
        assert 200 == await floor.ask(B)

    assert 1 == [kind for kind, _ in told(floor, A)].count(Kind.DOZING)
    assert 2 == told(floor, A).count((Kind.GONE, "memory_needed"))
    await floor.close()


@pytest.mark.parametrize("behaviour", ["restless", "hang_at"])
async def test_an_engine_that_does_not_wake_is_loaded_anew(floor: Floor, behaviour: str) -> None:
    """Who waits for it waits a little longer."""
    floor.asleep, floor.behaviours[A] = {A: 10}, {behaviour: "/wake_up"}
    await floor.ask(A)
    await floor.ask(B)

    assert 200 == await floor.ask(A)
    assert (Kind.GONE, "restless") in told(floor, A)
    assert 3 == floor.number
    await floor.close()


async def test_an_engine_that_dies_as_it_wakes_is_loaded_anew(floor: Floor) -> None:
    """And then not put to sleep again."""
    floor.asleep, floor.behaviours[A] = {A: 10}, {"hang_at": "/wake_up"}
    await floor.ask(A)
    await floor.ask(B)
    running = dict(floor.pool.running())[A]
    with floor.pool.events.subscribe() as events:
        request = asyncio.create_task(floor.ask(A))
        while (await events.next()).kind is not Kind.WAKING:
            pass
    os.kill(running.instance.pid, signal.SIGKILL)

    assert 200 == await request
    assert (Kind.GONE, "restless") in told(floor, A)
    await floor.ask(B)
    assert [B] == [each.key for each in floor.pool.residents()]
    await floor.close()


async def test_an_engine_that_dies_in_its_sleep_is_noticed(floor: Floor) -> None:
    """What it held is free, and the next request has it loaded anew."""
    floor.asleep = {A: 10}
    await floor.ask(A)
    await floor.ask(B)
    running = dict(floor.pool.running())[A]
    os.kill(running.instance.pid, signal.SIGKILL)
    await running.exited

    assert 200 == await floor.ask(A)
    assert (Kind.GONE, "crashed") in told(floor, A)
    await floor.close()


async def test_memory_is_taken_from_what_sleeps_before_what_is_awake(floor: Floor) -> None:
    """What sleeps serves nobody."""
    floor.asleep = {A: 45}
    await floor.ask(A)
    await floor.ask(B)
    assert {A: State.ASLEEP, B: State.READY} == {each.key: each.state for each in floor.pool.residents()}
    await floor.ask(D)

    assert {B: State.READY, D: State.READY} == {each.key: each.state for each in floor.pool.residents()}
    assert (Kind.GONE, "memory_needed") in told(floor, A)
    await floor.close()


async def test_what_sleeps_is_unloaded_on_command(floor: Floor) -> None:
    """It is as idle as can be."""
    floor.asleep = {A: 10}
    await floor.ask(A)
    await floor.ask(B)

    assert 1 == await floor.pool.unload(lambda key: key == A)
    assert [B] == [each.key for each in floor.pool.residents()]
    await floor.close()


async def test_closing_ends_what_hangs(floor: Floor) -> None:
    """A load, an answer and those who wait are ended, each with an error."""
    floor.behaviours[B] = {"hang_at_load": True, "ignore_sigterm": True}
    hanging = json.dumps({"fake": {"hang_on_request": True}}).encode()
    requests = [asyncio.create_task(floor.ask(key, hanging)) for key in (C, B, A)]
    with floor.pool.events.subscribe() as events:
        while not any(each.leases for each in floor.pool.residents()):
            await events.next()
    await floor.end()

    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert [ShuttingDown] * 3 == [type(outcome) for outcome in outcomes]


async def test_a_load_that_hangs_is_broken_off_once(floor: Floor) -> None:
    """Whoever asks a second time waits, too, until its process is gone."""
    floor.behaviours[A] = {"hang_at_load": True, "ignore_sigterm": True}
    request = asyncio.create_task(floor.ask(A))
    await floor.heard.wait()  # and so it ignores the signal already
    request.cancel()
    await asyncio.wait((request,))
    first = asyncio.create_task(floor.pool.unload(lambda _: True))
    await asyncio.sleep(0)
    second = await floor.pool.unload(lambda _: True)

    assert [] == processes(floor.folder)
    assert (1, 0) == (await first, second)
    await floor.close()


# Everything at once

WHIMS: tuple[dict[str, object], ...] = (
    {},
    {},
    {"load_seconds": 0.1},
    {"ignore_sigterm": True},
    {"exit_after_seconds": 0.4},
    {"crash_at_load": "no luck", "load_seconds": 0.05},
    {"hang_at_load": True},
)
ASKS: tuple[dict[str, object], ...] = (
    {},
    {"tokens": 20, "tokens_per_second": 100},
    {"crash_on_request": True},
    {"tokens": 50, "tokens_per_second": 50, "crash_after_tokens": 5},
    {"hang_on_request": True},
)


class Chaos:
    """Requests, clients that leave, engines that fail, users who meddle; the same for the same seed."""

    def __init__(self, floor: Floor, seed: int) -> None:
        self.floor = floor
        self.random = random.Random(seed)
        floor.within = 1.5

    async def request(self) -> None:
        """Ask, and get an answer, an error in a sentence, or leave."""
        chance = self.random
        await asyncio.sleep(chance.uniform(0, 1.5))
        key = chance.choice((A, B, C, D))
        self.floor.behaviours[key] = chance.choice(WHIMS)
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": chance.random() < 0.5}
        terms = Terms(Caller(chance.choice("xyz"), chance.choice((0.125, 1.0, 8.0))))
        ask = self.floor.ask(key, json.dumps(body | {"fake": chance.choice(ASKS)}).encode(), terms)
        with suppress(RunnerError, TimeoutError):
            async with asyncio.timeout(chance.choice((0.05, 0.5, 1.0, 4.0))):
                await ask

    async def meddle(self) -> None:
        """Unload, reload, pin, stop a process, kill one, look."""
        chance, floor = self.random, self.floor
        await asyncio.sleep(chance.uniform(0, 1.5))
        key = chance.choice((A, B, C, D))
        running = dict(floor.pool.running())
        match chance.randrange(5):
            case 0:
                await floor.pool.unload(lambda other: other == key)
            case 1:
                await floor.pool.reload(key)
            case 2:
                floor.wishes.pins ^= {key}
                floor.pool.settle()
            case 3 if key in running and running[key].alive:
                os.kill(running[key].instance.pid, chance.choice((signal.SIGKILL, signal.SIGSTOP)))
            case _:
                floor.look()


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_is_lost_in_chaos(short_path: Path, seed: int) -> None:
    """Every request ends, nothing is stopped in use or loaded where there is no room, nothing is left."""
    floor = Floor(short_path, keep_alive=0.3)
    chaos = Chaos(floor, seed)
    tasks = [asyncio.create_task(chaos.request()) for _ in range(40)]
    tasks += [asyncio.create_task(chaos.meddle()) for _ in range(12)]
    async with asyncio.timeout(40):
        await asyncio.gather(*tasks)
    await floor.close()

    assert floor.number > 1
