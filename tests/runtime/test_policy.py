"""The pool's decisions: tables of cases, and a machine that tries sequences nobody thought of."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelrunner.models.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.policy import Key, Limits, Plan, Reason, Resident, State, Step, Waiting, plan

A, B, C, D = (Key("llama.cpp", Digest.of(name), Mode.COMPLETION) for name in (b"a", b"b", b"c", b"d"))
NOW = 1000.0
PATIENCE = 30.0


def ready(key: Key, **changes: float | None) -> Resident:
    """A resident that became ready long ago and has been idle for ten seconds, with five minutes to stay."""
    resident = Resident(key, State.READY, idle_since=NOW - 10, ready_since=NOW - 500, keep_alive=300.0)
    return replace(resident, **changes)  # type: ignore[arg-type]  # names and types are the callers' affair


def decide(residents: list[Resident], waiting: list[Key], places: int = 1, waited: float = 0.0) -> Plan:
    entries = [Waiting(key, NOW - waited) for key in waiting]
    return plan(residents, entries, Limits(places, PATIENCE), NOW)


STARTED = Reason.REQUESTED
EVICTED = Reason.PLACE_NEEDED
STARTING = Resident(B, State.STARTING)
STOPPING = Resident(B, State.STOPPING)

CASES: dict[str, tuple[Plan, Plan]] = {
    "nothing is asked for and nothing is here": (Plan(), decide([], [])),
    "a free place is used": (Plan(start=(Step(A, STARTED),)), decide([], [A])),
    "several free places are used at once": (
        Plan(start=(Step(A, STARTED), Step(B, STARTED))),
        decide([], [A, B], places=2),
    ),
    "the first in line gets the only place": (Plan(start=(Step(B, STARTED),)), decide([], [B, A])),
    "a model that is starting is not started again": (Plan(), decide([STARTING], [B], places=2)),
    "a model that is starting is not evicted": (Plan(), decide([STARTING], [A])),
    "a place is free only when the process is gone": (Plan(), decide([STOPPING], [A])),
    "a stopping model is started again when it is gone": (Plan(), decide([STOPPING], [B], places=2)),
    "a stopping model does not keep the next from a free place": (
        Plan(start=(Step(A, STARTED),)),
        decide([STOPPING], [B, A], places=2),
    ),
    "a place that is about to be free spares an eviction": (
        Plan(wake_at=NOW + 290),
        decide([STOPPING, ready(A)], [C], places=2),
    ),
    "a place that is about to be free is one place": (
        Plan(stop=(Step(A, EVICTED),)),
        decide([STOPPING, ready(A)], [C, D], places=2),
    ),
    "a leased model is not evicted": (
        Plan(wake_at=NOW + PATIENCE),
        decide([ready(A, leases=1)], [B]),
    ),
    "an idle model is evicted for another": (Plan(stop=(Step(A, EVICTED),)), decide([ready(A)], [B])),
    "the least recently used is evicted, and no more than needed": (
        Plan(stop=(Step(B, EVICTED),), wake_at=NOW + 290),
        decide([ready(A), ready(B, idle_since=NOW - 20)], [C], places=2),
    ),
    "one is evicted for each that waits": (
        Plan(stop=(Step(B, EVICTED), Step(A, EVICTED))),
        decide([ready(A), ready(B, idle_since=NOW - 20)], [C, D], places=2),
    ),
    "a model that stays for ever is evicted last": (
        Plan(stop=(Step(A, EVICTED),)),
        decide([ready(A), ready(B, idle_since=0.0, keep_alive=None)], [C], places=2),
    ),
    "a model that stays for ever is evicted when nothing else is left": (
        Plan(stop=(Step(A, EVICTED),)),
        decide([ready(A, keep_alive=None)], [C]),
    ),
    "a model that has just become ready is kept for those who wait for it": (
        Plan(),
        decide([ready(A, ready_since=NOW, idle_since=NOW)], [A, B], waited=5),
    ),
    "an idle model stays until its time is up": (Plan(wake_at=NOW + 290), decide([ready(A)], [])),
    "the earliest expiry is the time to wake": (
        Plan(wake_at=NOW + 40),
        decide([ready(A), ready(B, keep_alive=50.0)], [], places=2),
    ),
    "an expired model is stopped": (
        Plan(stop=(Step(A, Reason.IDLE),)),
        decide([ready(A, keep_alive=10.0)], []),
    ),
    "a model that is to stay for no time is stopped at once": (
        Plan(stop=(Step(A, Reason.IDLE),)),
        decide([ready(A, idle_since=NOW, keep_alive=0.0)], []),
    ),
    "a leased model does not expire": (Plan(), decide([ready(A, leases=1, keep_alive=0.0)], [])),
    "a model that stays for ever does not expire": (Plan(), decide([ready(A, keep_alive=None)], [])),
    "the place of an expired model is used for the one who waits": (
        Plan(stop=(Step(A, Reason.IDLE),), wake_at=NOW + 290),
        decide([ready(A, keep_alive=1.0), ready(B)], [C], places=2),
    ),
    "a crashed model is gone at once and its place is free": (
        Plan(gone=(A,), start=(Step(B, STARTED),)),
        decide([ready(A, alive=False, leases=3)], [B]),
    ),
    "a crashed model is started again when it is asked for": (
        Plan(gone=(A,), start=(Step(A, STARTED),)),
        decide([ready(A, alive=False)], [A]),
    ),
    "a model that is never idle takes no new leases when another has waited for long": (
        Plan(drain=frozenset({A})),
        decide([ready(A, leases=2)], [B], waited=PATIENCE),
    ),
    "the one that has been here longest makes room": (
        Plan(drain=frozenset({B})),
        decide([ready(A, leases=2), ready(B, leases=9, ready_since=1.0)], [C], places=2, waited=PATIENCE),
    ),
    "a model that has made room is stopped although it is asked for again": (
        Plan(stop=(Step(A, EVICTED),)),
        decide([ready(A)], [B, A], waited=PATIENCE),
    ),
    "a model has its time before it makes room": (
        Plan(wake_at=NOW - 5 + PATIENCE),
        decide([ready(A, leases=1, ready_since=NOW - 5)], [B], waited=100),
    ),
    "nobody is drained while one is idle": (
        Plan(stop=(Step(B, EVICTED),)),
        decide([ready(A, leases=2), ready(B)], [C], places=2, waited=PATIENCE),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_plan(name: str) -> None:
    """Each case says in its name what is decided."""
    expected, actual = CASES[name]

    assert expected == actual


KEYS = st.sampled_from([A, B, C, D])
KEEP_ALIVE = {A: 0.0, B: 5.0, C: 60.0, D: None}


class World(RuleBasedStateMachine):
    """A pool without a shell: what it is told to do is done, and everything else happens in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(places=2, patience=PATIENCE)
        self.now = 0.0
        self.residents: dict[Key, Resident] = {}
        self.line: list[tuple[Key, float]] = []
        self.draining: frozenset[Key] = frozenset()
        self.wake_at: float | None = None

    def waiting(self) -> list[Waiting]:
        firsts: dict[Key, float] = {}
        for key, since in self.line:
            firsts.setdefault(key, since)
        return [Waiting(key, since) for key, since in firsts.items()]

    def plan(self) -> Plan:
        return plan(self.residents.values(), self.waiting(), self.limits, self.now)

    def change(self, key: Key, **changes: object) -> None:
        self.residents[key] = replace(self.residents[key], **changes)  # type: ignore[arg-type]  # a test's own words

    def settle(self) -> None:
        """Do what a shell would do, checking that it may be done."""
        decided = self.plan()
        for key in decided.gone:
            assert not self.residents.pop(key).alive
        for step in decided.stop:
            victim = self.residents[step.key]
            assert (victim.state, victim.leases) == (State.READY, 0)
            self.change(step.key, state=State.STOPPING)
        for step in decided.start:
            assert step.key not in self.residents
            assert step.key in [key for key, _ in self.line]
            self.residents[step.key] = Resident(step.key, State.STARTING, keep_alive=KEEP_ALIVE[step.key])
        self.draining, self.wake_at = decided.drain, decided.wake_at
        for key, resident in self.residents.items():
            if resident.state is State.READY and key not in self.draining:
                served = sum(waiter == key for waiter, _ in self.line)
                self.line = [entry for entry in self.line if entry[0] != key]
                self.change(key, leases=resident.leases + served)
        assert len(self.residents) <= self.limits.places

    def some(self, state: State) -> list[Key]:
        return [key for key, resident in self.residents.items() if resident.state is state]

    def leased(self) -> list[Key]:
        return [key for key, resident in self.residents.items() if resident.leases]

    @rule(key=KEYS)
    def request(self, key: Key) -> None:
        self.line.append((key, self.now))
        self.settle()

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.line.remove(data.draw(st.sampled_from(self.line)))
        self.settle()

    @precondition(lambda self: self.leased())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.leased()))
        self.change(key, leases=self.residents[key].leases - 1, idle_since=self.now)
        self.settle()

    @precondition(lambda self: self.some(State.STARTING))
    @rule(data=st.data(), succeeds=st.booleans())
    def start_ends(self, data: st.DataObject, *, succeeds: bool) -> None:
        key = data.draw(st.sampled_from(self.some(State.STARTING)))
        if succeeds:
            self.change(key, state=State.READY, ready_since=self.now, idle_since=self.now)
        else:
            del self.residents[key]
            self.line = [entry for entry in self.line if entry[0] != key]
        self.settle()

    @precondition(lambda self: self.some(State.STOPPING))
    @rule(data=st.data())
    def process_is_gone(self, data: st.DataObject) -> None:
        del self.residents[data.draw(st.sampled_from(self.some(State.STOPPING)))]
        self.settle()

    @precondition(lambda self: self.some(State.READY))
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.change(data.draw(st.sampled_from(self.some(State.READY))), alive=False)
        self.settle()

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        """Nothing is due before `wake_at`, and something is then."""
        until = self.now + seconds
        while self.wake_at is not None and self.wake_at <= until:
            before, wake_at = self.now, self.wake_at
            assert wake_at > before
            self.now = (before + wake_at) / 2
            early = self.plan()
            assert ((), (), ()) == (early.gone, early.stop, early.start)
            assert early.drain == self.draining
            self.now = wake_at
            due = self.plan()
            assert due.stop or due.drain != self.draining
            self.settle()
        self.now = until

    @invariant()
    def is_settled(self) -> None:
        """Planning again changes nothing."""
        decided = self.plan()

        assert ((), (), ()) == (decided.gone, decided.stop, decided.start)

    @invariant()
    def everyone_who_waits_has_a_reason(self) -> None:
        """Whoever waits, waits for a start, an exit or a lease; never while a place is free."""
        free = self.limits.places - len(self.residents)
        for key in {key for key, _ in self.line}:
            resident = self.residents.get(key)
            assert resident is not None or free == 0
            if resident is not None and resident.state is State.READY:
                assert key in self.draining

    @invariant()
    def nobody_is_idle_while_others_wait_in_vain(self) -> None:
        """Each that waits for a place has one coming, or everything that is ready is leased."""
        homeless = [entry.key for entry in self.waiting() if entry.key not in self.residents]
        coming = len(self.some(State.STOPPING))
        idle = [key for key in self.some(State.READY) if not self.residents[key].leases]
        if len(homeless) > coming:
            assert idle == []

    def teardown(self) -> None:
        """From any state, everybody is served in the end if everything goes well."""
        for _ in range(40 * (len(self.line) + 1)):
            if not self.line:
                break
            for key in self.leased():
                self.change(key, leases=0, idle_since=self.now)
            for key in self.some(State.STARTING):
                self.change(key, state=State.READY, ready_since=self.now, idle_since=self.now)
            for key in self.some(State.STOPPING):
                del self.residents[key]
            self.settle()
            self.now += 1

        assert self.line == []


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
