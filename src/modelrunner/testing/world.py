"""A world for the scheduler without processes: whatever can happen to models and requests, in any order.

After each thing that happens the world does what the scheduler says and checks that it may be done. The rules
are those that schedulers of this kind have broken in the field, I1 to I7:

1. A request is running, waiting with a reason and a place, or finished with an answer.
2. Nothing is held while a process starts or ends: the scheduler is never asked to wait.
3. What is in use is never stopped, nor put to sleep, and what is loading only when nobody waits for it and
   somebody has waited for its room for longer than is bearable.
4. A load waits until memory is seen to be free; the end of a process alone does not count.
5. What swaps stays for a while, unless somebody has waited for longer than is bearable.
6. A load goes on when the client that caused it leaves.
7. Whoever waits, waits for something that is going to happen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelrunner.runtime.scheduling.effects import Effects
from modelrunner.runtime.scheduling.lease import Loaded, Stay
from modelrunner.runtime.scheduling.ledger import ONE_PLACE, PLACE, Amounts, total
from modelrunner.runtime.scheduling.plan import Key, Limits, Reason, State
from modelrunner.runtime.scheduling.request_queue import Caller, Terms, Ticket
from modelrunner.runtime.scheduling.scheduler import Scheduler

RAM = "ram"
LAG = 0.3  # seconds for which a process that is gone still holds its memory
_EVICTIONS = frozenset({Reason.PLACE_NEEDED, Reason.MEMORY_NEEDED})


@dataclass(slots=True)
class Process:
    """Something that runs."""

    slots: int | None = None
    alive: bool = True
    obituary: str = "last words"


@dataclass(slots=True)
class Habits:
    """What users want of models."""

    kept: Mapping[Key, float | None]
    pins: set[Key] = field(default_factory=set)

    def keep_alive(self, key: Key) -> float | None:
        """See `scheduler.Wishes`."""
        return self.kept[key]

    def pinned(self, key: Key) -> bool:
        """See `scheduler.Wishes`."""
        return key in self.pins

    def memory_check(self, key: Key) -> bool:  # noqa: ARG002 - nobody minds here
        """See `scheduler.Wishes`."""
        return True


class World:
    """All that a scheduler deals with; `needs` are in bytes of `ram`, of which there are `memory`.

    `asleep` is what those hold that can sleep.
    """

    def __init__(
        self,
        *,
        places: int,
        memory: int,
        needs: Mapping[Key, int],
        slots: Mapping[Key, int | None],
        kept: Mapping[Key, float | None],
        asleep: Mapping[Key, int] | None = None,
    ) -> None:
        self.now = 0.0
        self.memory = memory
        self.foreign = 0  # held by other programs
        self.needs = needs
        self.sleepers = asleep or {}
        self.slots = slots
        self.habits = Habits(kept)
        self.scheduler: Scheduler[Process] = Scheduler(Limits({PLACE: places, RAM: memory}), self.habits)
        self.waiting: list[Ticket] = []
        self.leases: list[Loaded[Process]] = []
        self.estimating: list[Key] = []
        self.lagging: list[tuple[float, int]] = []  # when memory comes back, and how much
        self.wake_at: float | None = None
        self.left_at: dict[Key, float] = {}  # when the last one went who waited for it

    # What happens

    def ask(self, key: Key, *, caller: str = "", weight: float = 1.0, stay: Stay | None = None) -> None:
        """Have a request come."""
        terms = Terms(Caller(caller, weight), stay=stay)
        loaded = self.scheduler.take(key, terms)
        if loaded is not None:
            self.leases.append(loaded)
            return
        self.waiting.append(self.scheduler.join(key, self.now, terms))
        self.settle()

    def leave(self, ticket: Ticket) -> None:
        """Have a client go that waits."""
        self.waiting.remove(ticket)
        load = self.scheduler.residents.get(ticket.key)
        goes_on = load is not None and load.state is State.STARTING
        self.scheduler.leave(ticket, self.now)
        if ticket.key not in self.scheduler.queue:
            self.left_at[ticket.key] = self.now
        self.settle()
        assert load is None or goes_on is (load.state is State.STARTING), "I6: a load was broken off"

    def release(self, loaded: Loaded[Process]) -> None:
        """Have an answer end."""
        self.leases.remove(loaded)
        self.scheduler.release(loaded, self.now)
        self.settle()

    def estimate(self, key: Key, *, fails: bool = False) -> None:
        """Know what a model needs, or that this cannot be known."""
        self.estimating.remove(key)
        if fails:
            self._finish(self.scheduler.not_estimated(key))
        else:
            asleep = self.sleepers.get(key)
            kept = None if asleep is None else {RAM: asleep}
            self.scheduler.estimated(key, {**ONE_PLACE, RAM: self.needs[key]}, kept)
        self.settle()

    def become_ready(self, loaded: Loaded[Process]) -> None:
        """Have a start succeed."""
        self.scheduler.ready(loaded, Process(self.slots[loaded.key]), self.now)
        self.settle()

    def fail(self, loaded: Loaded[Process]) -> None:
        """Have a start fail."""
        self._finish(self.scheduler.failed(loaded, "no luck", self.now, counts=True))
        self._exit(loaded)

    def turn(self, loaded: Loaded[Process], *, fails: bool = False) -> None:
        """Have one that falls asleep, or wakes, have done so, or not do so."""
        if fails:
            self.scheduler.restless(loaded, "no luck", self.now)
        elif loaded.state is State.DOZING:
            self.lagging.append((self.now + LAG, max(0, loaded.need[RAM] - self.sleepers[loaded.key])))
            self.scheduler.asleep(loaded, self.now)
        else:
            self.scheduler.awake(loaded, self.now)
        self.settle()

    def exit(self, loaded: Loaded[Process]) -> None:
        """Have a process that was stopped be gone."""
        assert loaded.state is State.STOPPING
        self._exit(loaded)

    def crash(self, loaded: Loaded[Process]) -> None:
        """Have a process end by itself."""
        assert loaded.running is not None
        loaded.running.alive = False
        self.lagging.append((self.now + LAG, loaded.need[RAM]))
        self.settle()

    def pin(self, key: Key) -> None:
        """Have a user change his mind about a model."""
        self.habits.pins ^= {key}
        self.settle()

    def forgive(self, key: Key) -> None:
        """Have a user ask for another try."""
        self.scheduler.forgive(key)
        self.estimating = [each for each in self.estimating if each != key]
        self.settle()

    def take_memory(self, amount: int) -> None:
        """Have other programs hold so much memory."""
        self.foreign = amount
        self.settle()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, waking when that was asked for."""
        until = self.now + seconds
        for _ in range(10_000):
            if self.wake_at is None or self.wake_at > until:
                break
            self.now = max(self.now, self.wake_at)
            self.settle()
        else:
            raise AssertionError("I7: wakes without end")
        self.now = until

    def _holds(self, loaded: Loaded[Process]) -> int:
        return self.sleepers[loaded.key] if loaded.state is State.WAKING else loaded.need[RAM]

    # What must be true

    def free(self) -> Amounts:
        """What is really free: a process takes its memory while it starts, and holds it for a while after."""
        self.lagging = [entry for entry in self.lagging if entry[0] > self.now]
        used = sum(
            self._holds(each)
            for each in self.scheduler.residents.values()
            if each.state is State.STOPPING or (each.running is not None and each.running.alive)
        )
        return {RAM: max(0, self.memory - self.foreign - used - sum(amount for _, amount in self.lagging))}

    def settle(self) -> None:
        """Do what the scheduler says until there is nothing left to do, checking that it may be done."""
        for _ in range(10):
            effects = self._do()
            if not (
                effects.gone
                or effects.stop
                or effects.sleep
                or effects.start
                or effects.wake
                or effects.refuse
                or effects.grant
                or effects.estimate
            ):
                break
        else:
            raise AssertionError("never settled")
        self.check()

    def _do(self) -> Effects[Process]:
        busy = {loaded for loaded in self.leases if loaded.running is not None and loaded.running.alive}
        loading = set(self.some(State.STARTING))
        effects = self.scheduler.settle(self.now, self.free)
        self.wake_at = effects.wake_at
        for loaded in effects.gone:
            assert loaded.running is not None
            assert not loaded.running.alive
            assert loaded not in effects.sleep
        for loaded in effects.stop:
            assert loaded not in busy, "I3: stopped while in use"
            if loaded in loading:
                self._check_abandoned(loaded)
            assert loaded.key not in self.habits.pins, "a pinned model was stopped"
            self._check_residency(loaded)
        for loaded in effects.sleep:
            assert loaded not in busy, "I3: put to sleep while in use"
            assert loaded not in loading, "I3: put to sleep while loading"
            assert loaded.key not in self.habits.pins, "a pinned model was put to sleep"
            self._check_residency(loaded)
        if effects.start or effects.wake or effects.sleep:
            self._check_promises()
        if effects.start or effects.wake:
            self._check_memory()
        for ticket, _ in effects.refuse:
            self.waiting.remove(ticket)
        for ticket, loaded in effects.grant:
            assert loaded.state is State.READY
            self.waiting.remove(ticket)
            self.leases.append(loaded)
        self.estimating += effects.estimate
        for ticket in self.waiting:
            assert ticket.key in self.scheduler.waits, "I1: somebody waits without a reason"
        return effects

    def _check_abandoned(self, loaded: Loaded[Process]) -> None:
        assert loaded.key not in self.scheduler.queue, "I3: stopped while loading for somebody"
        assert loaded.reason in _EVICTIONS
        patience = self.scheduler.limits.patience
        assert self.now >= self.left_at[loaded.key] + patience, "I6: a load was broken off"
        assert loaded.cause is not None
        since = min(ticket.since for ticket in self.waiting if ticket.key == loaded.cause)
        assert self.now >= since + patience, "I3: stopped while loading, before its time"

    def _check_residency(self, loaded: Loaded[Process]) -> None:
        if loaded.reason not in _EVICTIONS or self.now >= loaded.stays_until:
            return
        assert loaded.cause is not None
        patience = self.scheduler.limits.patience
        since = min(ticket.since for ticket in self.waiting if ticket.key == loaded.cause)
        assert self.now >= since + patience, "I5: swapped before its time"

    def _check_promises(self) -> None:
        promised = total(each.need for each in self.scheduler.residents.values())
        for name, most in self.scheduler.limits.capacity.items():
            assert promised.get(name, 0) <= most, f"I4: more {name} promised than there is"

    def _check_memory(self) -> None:
        coming = sum(each.need[RAM] for each in self.some(State.STARTING))
        coming += sum(each.need[RAM] - self._holds(each) for each in self.some(State.WAKING))
        assert coming <= self.free()[RAM], "I4: loaded into memory that is not free"

    def check(self) -> None:
        """Check what must be true between any two things that happen."""
        scheduler = self.scheduler
        assert sorted(self.waiting) == list(scheduler.queue), "I1: a request is lost"
        for loaded in self.leases:
            assert loaded.leases == self.leases.count(loaded), "a lease is lost"
        for loaded in scheduler.residents.values():
            slots = self.slots[loaded.key]
            assert slots is None or loaded.leases <= slots, "more requests than slots"
            assert loaded.leases == self.leases.count(loaded), "a lease is left over"
        if self.waiting:
            going_on = (
                [each for each in self.some(State.STARTING) if self.is_wanted(each)]
                or self.some(State.STOPPING)
                or self.some(State.DOZING)
                or self.some(State.WAKING)
                or self.estimating
                or self.leases
            )
            assert going_on or self.wake_at is not None, "I7: everybody waits for nothing"

    def is_wanted(self, loaded: Loaded[Process]) -> bool:
        """Whether somebody waits for it; what is pinned, the user does."""
        return loaded.key in self.scheduler.queue or loaded.key in self.habits.pins

    def some(self, state: State) -> list[Loaded[Process]]:
        """Who is in a state."""
        return [loaded for loaded in self.scheduler.residents.values() if loaded.state is state]

    def come_to_rest(self) -> None:
        """From anywhere, everybody is answered in the end, although what loads for nobody hangs for ever."""
        for _ in range(50 * (len(self.waiting) + 10)):
            if not self.waiting:
                break
            for key in list(self.estimating):
                self.estimate(key)
            for loaded in filter(self.is_wanted, self.some(State.STARTING)):
                self.become_ready(loaded)
            for loaded in (*self.some(State.DOZING), *self.some(State.WAKING)):
                self.turn(loaded)
            for loaded in list(self.leases):
                self.release(loaded)
            for loaded in self.some(State.STOPPING):
                self.exit(loaded)
            self.pass_time(5.0)
        assert not self.waiting, "I7: somebody waits for ever"

    def _exit(self, loaded: Loaded[Process]) -> None:
        self.lagging.append((self.now + LAG, loaded.need[RAM]))
        self.scheduler.gone(loaded, self.now)
        self.settle()

    def _finish(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self.waiting.remove(ticket)
