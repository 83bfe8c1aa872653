"""The decisions as tables of cases; `test_scheduler.py` tries what nobody thought of."""

from typing import Any

import pytest

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.ledger import PLACE, Amounts
from modelrunner.runtime.scheduling.plan import (
    Key,
    Limits,
    Plan,
    Reason,
    Refusal,
    Resident,
    Seen,
    State,
    Step,
    Wait,
    Waiting,
    Why,
)
from modelrunner.runtime.scheduling.policy import plan

A, B, C, D = (Key("llama.cpp", Digest.of(name), Mode.COMPLETION) for name in (b"a", b"b", b"c", b"d"))
NOW = 1000.0
PATIENCE = 30.0


def ready(key: Key, **changes: Any) -> Resident:
    """A resident that became ready long ago and has been idle for ten seconds, with five minutes to stay."""
    resident = Resident(key, State.READY, idle_since=NOW - 10, ready_since=NOW - 500, keep_alive=300.0)
    return resident._replace(**changes)


def decide(residents: list[Resident], waiting: list[Key], places: int = 1, waited: float = 0.0) -> Plan:
    entries = [Waiting(key, NOW - waited) for key in waiting]
    return plan(residents, entries, Limits({PLACE: places}, PATIENCE), NOW)


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
    "a model that is starting for somebody is not evicted": (Plan(), decide([STARTING], [A, B], waited=900)),
    "a model that is starting for nobody has its time": (
        Plan(wake_at=NOW + PATIENCE),
        decide([STARTING], [A]),
    ),
    "a client that left just now may come back": (
        Plan(wake_at=NOW - 5 + PATIENCE),
        decide([STARTING._replace(idle_since=NOW - 5)], [A], waited=100),
    ),
    "a start that everybody has left gives way in the end": (
        Plan(stop=(Step(B, EVICTED, A),)),
        decide([STARTING], [A], waited=PATIENCE),
    ),
    "a start that everybody has left goes on when nobody needs its place": (
        Plan(start=(Step(A, STARTED),)),
        decide([STARTING], [A], places=2, waited=100),
    ),
    "the start of a pinned model does not give way": (
        Plan(refuse=(Refusal(A, Why.PINNED, {PLACE: 1}, {PLACE: 0}),)),
        decide([STARTING._replace(pinned=True)], [A], waited=100),
    ),
    "an idle model makes room before a start is broken off": (
        Plan(stop=(Step(C, EVICTED, A),)),
        decide([STARTING, ready(C)], [A], places=2, waited=100),
    ),
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
        Plan(stop=(Step(A, EVICTED, D),)),
        decide([STOPPING, ready(A)], [C, D], places=2),
    ),
    "a leased model is not evicted": (
        Plan(wake_at=NOW + PATIENCE),
        decide([ready(A, leases=1)], [B]),
    ),
    "an idle model is evicted for another": (Plan(stop=(Step(A, EVICTED, B),)), decide([ready(A)], [B])),
    "the least recently used is evicted, and no more than needed": (
        Plan(stop=(Step(B, EVICTED, C),), wake_at=NOW + 290),
        decide([ready(A), ready(B, idle_since=NOW - 20)], [C], places=2),
    ),
    "one is evicted for each that waits": (
        Plan(stop=(Step(B, EVICTED, C), Step(A, EVICTED, D))),
        decide([ready(A), ready(B, idle_since=NOW - 20)], [C, D], places=2),
    ),
    "a model that stays for ever is evicted last": (
        Plan(stop=(Step(A, EVICTED, C),)),
        decide([ready(A), ready(B, idle_since=0.0, keep_alive=None)], [C], places=2),
    ),
    "a model that stays for ever is evicted when nothing else is left": (
        Plan(stop=(Step(A, EVICTED, C),)),
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
        Plan(stop=(Step(A, EVICTED, B),)),
        decide([ready(A)], [B, A], waited=PATIENCE),
    ),
    "a model has its time before it makes room": (
        Plan(wake_at=NOW - 5 + PATIENCE),
        decide([ready(A, leases=1, ready_since=NOW - 5)], [B], waited=100),
    ),
    "nobody is drained while one is idle": (
        Plan(stop=(Step(B, EVICTED, C),)),
        decide([ready(A, leases=2), ready(B)], [C], places=2, waited=PATIENCE),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_plan(name: str) -> None:
    """Each case says in its name what is decided."""
    expected, actual = CASES[name]

    assert expected == actual


RAM = "ram"


def needing(amount: int) -> Amounts:
    return {PLACE: 1, RAM: amount}


def loaded(key: Key, amount: int, **changes: Any) -> Resident:
    return ready(key, need=needing(amount), **changes)


def weigh(
    residents: list[Resident],
    waiting: list[Waiting],
    *,
    free: int = 100,
    freed_at: float = 0.0,
) -> Plan:
    """Decide on a machine with ten places and a hundred bytes."""
    limits = Limits({PLACE: 10, RAM: 100}, PATIENCE)
    return plan(residents, waiting, limits, NOW, lambda: Seen({RAM: free}, freed_at))


def wants(
    key: Key, amount: int | None, *, waited: float = 0.0, checked: bool = True, not_before: float = 0.0
) -> Waiting:
    return Waiting(key, NOW - waited, None if amount is None else needing(amount), checked, not_before)


MEMORY = Reason.MEMORY_NEEDED
IN_USE = {"leases": 1}

MEMORY_CASES: dict[str, tuple[Plan, Plan]] = {
    "what fits is started": (Plan(start=(Step(A, STARTED),)), weigh([], [wants(A, 100)])),
    "two that fit are started together": (
        Plan(start=(Step(A, STARTED), Step(B, STARTED))),
        weigh([], [wants(A, 50), wants(B, 50)]),
    ),
    "nothing is started before it is known what it needs": (Plan(), weigh([], [wants(A, None)])),
    "one whose need is not known keeps nobody waiting": (
        Plan(start=(Step(B, STARTED),)),
        weigh([], [wants(A, None), wants(B, 50)]),
    ),
    "what needs more than there is, is refused": (
        Plan(refuse=(Refusal(A, Why.TOO_LARGE, needing(101), {PLACE: 10, RAM: 100}),)),
        weigh([], [wants(A, 101)]),
    ),
    "a check that is not wanted is not made": (
        Plan(start=(Step(A, STARTED),)),
        weigh([], [wants(A, 101, checked=False)], free=0),
    ),
    "what does not fit beside a pinned model is refused": (
        Plan(refuse=(Refusal(A, Why.PINNED, needing(50), {PLACE: 9, RAM: 40}),)),
        weigh([loaded(B, 60, pinned=True)], [wants(A, 50)]),
    ),
    "a pinned model neither makes room nor expires": (
        Plan(stop=(Step(C, MEMORY, A),)),
        weigh(
            [loaded(B, 40, pinned=True, keep_alive=0.0, worth=0.0), loaded(C, 40, worth=9.0)], [wants(A, 50)]
        ),
    ),
    "what is worth least makes room": (
        Plan(stop=(Step(C, MEMORY, A),), wake_at=NOW + 290),
        weigh([loaded(B, 40, worth=2.0), loaded(C, 40, worth=1.0)], [wants(A, 50)]),
    ),
    "nobody makes room in vain": (
        Plan(stop=(Step(B, MEMORY, A),), wake_at=NOW + 290),
        weigh([loaded(C, 10, worth=1.0), loaded(B, 80, worth=2.0)], [wants(A, 80)]),
    ),
    "nobody makes room while that would not be enough": (
        Plan(wake_at=NOW + PATIENCE),
        weigh([loaded(B, 30), loaded(C, 60, **IN_USE)], [wants(A, 80)]),
    ),
    "several make room one after another": (
        Plan(stop=(Step(B, MEMORY, A),)),
        weigh([loaded(B, 40, worth=1.0), loaded(C, 40, worth=2.0)], [wants(A, 90)]),
    ),
    "the second is not stopped before the first is gone": (
        Plan(wake_at=NOW + 290),
        weigh([loaded(B, 40, worth=1.0)._replace(state=State.STOPPING), loaded(C, 40)], [wants(A, 90)]),
    ),
    "what has come back lately makes room last": (
        Plan(stop=(Step(C, MEMORY, A),), wake_at=NOW + 290),
        weigh([loaded(B, 40, stays_until=NOW + 1), loaded(C, 40, worth=9.0)], [wants(A, 50)]),
    ),
    "what has come back lately stays for a while": (
        Plan(wake_at=NOW + 1),
        weigh([loaded(B, 80, stays_until=NOW + 1)], [wants(A, 50)]),
    ),
    "memory is free only when it is seen to be": (
        Plan(wake_at=NOW + 0.05),
        weigh([], [wants(A, 50)], free=40, freed_at=NOW - 0.5),
    ),
    "what is being loaded has not taken its memory yet": (
        Plan(),
        weigh([Resident(B, State.STARTING, needing(40))], [wants(A, 50), wants(B, 40)], free=80),
    ),
    "what loads for nobody keeps its memory for a while": (
        Plan(wake_at=NOW + PATIENCE),
        weigh([Resident(B, State.STARTING, needing(40))], [wants(A, 50)], free=80),
    ),
    "what loads for nobody gives its memory back to one who waits": (
        Plan(stop=(Step(B, MEMORY, A),)),
        weigh([Resident(B, State.STARTING, needing(40))], [wants(A, 50, waited=PATIENCE)], free=80),
    ),
    "nobody waits for a load that would not make room enough": (
        Plan(refuse=(Refusal(A, Why.MEMORY_TAKEN, needing(50), {RAM: -10}),)),
        weigh([Resident(B, State.STARTING, needing(20))], [wants(A, 50, waited=25)], free=10),
    ),
    "when others hold the memory, idle models make room for it": (
        Plan(stop=(Step(B, MEMORY, A),)),
        weigh([loaded(B, 30)], [wants(A, 50)], free=40),
    ),
    "memory that is about to be free is not free": (
        Plan(stop=(Step(B, MEMORY, A),)),
        weigh([loaded(B, 54), loaded(D, 36, **IN_USE)], [wants(A, 1), wants(C, 8)], free=0),
    ),
    "nobody waits for ever for memory that others hold": (
        Plan(refuse=(Refusal(A, Why.MEMORY_TAKEN, needing(50), {RAM: 40}),)),
        weigh([], [wants(A, 50, waited=25)], free=40),
    ),
    "somebody waits for a while for memory that others hold": (
        Plan(wake_at=NOW + 0.5),
        weigh([], [wants(A, 50, waited=15)], free=40),
    ),
    "who stands behind does not take what one in front waits for": (
        Plan(wake_at=NOW + PATIENCE),
        weigh([loaded(C, 60, **IN_USE)], [wants(A, 50), wants(B, 10)]),
    ),
    "who failed lately is not started yet, and holds up nobody": (
        Plan(start=(Step(B, STARTED),), wake_at=NOW + 5),
        weigh([], [wants(A, 90, not_before=NOW + 5), wants(B, 90)]),
    ),
    "what is never idle makes room in the end, together with what is idle": (
        Plan(drain=frozenset({B})),
        weigh([loaded(B, 50, **IN_USE), loaded(C, 30)], [wants(A, 100, waited=PATIENCE)]),
    ),
}


@pytest.mark.parametrize("name", MEMORY_CASES)
def test_memory(name: str) -> None:
    """Each case says in its name what is decided."""
    expected, actual = MEMORY_CASES[name]

    assert expected == actual


GPU = "cuda:0"
AWAKE, ASLEEP = {GPU: 90, RAM: 5, PLACE: 1}, {GPU: 5, RAM: 30}


def sleeper(key: Key, state: State = State.READY, **changes: Any) -> Resident:
    """One that fills a GPU, and can sleep in the RAM."""
    resident = ready(key, state=state, need=AWAKE if state is State.READY else ASLEEP, asleep=ASLEEP)
    return resident._replace(**changes)


def on_gpu(residents: list[Resident], waiting: list[Waiting], *, ram: int = 100, free: int = 100) -> Plan:
    """Decide with a GPU of 100 and some RAM."""
    limits = Limits({PLACE: 9, RAM: ram, GPU: 100}, PATIENCE)
    return plan(residents, waiting, limits, NOW, lambda: Seen({RAM: free, GPU: 100}))


SECOND = Waiting(A, NOW, {GPU: 90, RAM: 5, PLACE: 1})
SLEEP_CASES: dict[str, tuple[Plan, Plan]] = {
    "what can sleep does so to make room": (
        Plan(sleep=(Step(B, MEMORY, A),)),
        on_gpu([sleeper(B)], [SECOND]),
    ),
    "there has to be memory to sleep in": (
        Plan(stop=(Step(B, MEMORY, A),)),
        on_gpu([sleeper(B)], [SECOND], ram=20),
    ),
    "memory to sleep in has to be seen": (
        Plan(stop=(Step(B, MEMORY, A),)),
        on_gpu([sleeper(B)], [SECOND], free=20),
    ),
    "sleep that would not make room enough is none": (
        Plan(stop=(Step(B, MEMORY, A),)),
        on_gpu([sleeper(B)], [SECOND._replace(need={GPU: 99, PLACE: 1})]),
    ),
    "sleep that would take more of what is lacking is none": (
        Plan(stop=(Step(B, MEMORY, A),)),
        on_gpu([sleeper(B)], [SECOND._replace(need={RAM: 99, PLACE: 1})]),
    ),
    "what sleeps is woken for a request": (
        Plan(wake=(Step(B, STARTED),)),
        on_gpu([sleeper(B, State.ASLEEP)], [SECOND._replace(key=B)]),
    ),
    "what sleeps is woken when its room is free": (
        Plan(sleep=(Step(A, MEMORY, B),)),
        on_gpu([sleeper(B, State.ASLEEP), sleeper(A)], [SECOND._replace(key=B)]),
    ),
    "what falls asleep is waited for": (
        Plan(),
        on_gpu([sleeper(B, State.DOZING, need={GPU: 90, RAM: 30, PLACE: 1})], [SECOND]),
    ),
    "what wakes has its place": (
        Plan(),
        on_gpu([sleeper(B, State.WAKING, need={GPU: 90, RAM: 30, PLACE: 1})], [SECOND._replace(key=B)]),
    ),
    "what sleeps gives its memory to one that needs it": (
        Plan(stop=(Step(B, MEMORY, A),)),
        on_gpu([sleeper(B, State.ASLEEP), loaded(C, 60, keep_alive=None)], [SECOND._replace(need={RAM: 30})]),
    ),
    "what sleeps makes room for one in front although it is asked for": (
        Plan(stop=(Step(B, MEMORY, A),)),
        on_gpu([sleeper(B, State.ASLEEP)], [SECOND._replace(need={RAM: 90}), SECOND._replace(key=B)]),
    ),
    "what sleeps makes room together with a load that everybody has left": (
        Plan(stop=(Step(C, EVICTED, A),)),
        plan(
            [Resident(C, State.STARTING, {RAM: 7, PLACE: 1}), sleeper(B, State.ASLEEP, need={RAM: 33})],
            [Waiting(A, NOW - PATIENCE, {RAM: 71, PLACE: 1})],
            Limits({PLACE: 1, RAM: 100}, PATIENCE),
            NOW,
            lambda: Seen({RAM: 67}),
        ),
    ),
    "what is idle for long falls asleep": (
        Plan(sleep=(Step(B, Reason.IDLE),)),
        on_gpu([sleeper(B, keep_alive=10.0)], []),
    ),
    "what is to stay for no time does not sleep": (
        Plan(stop=(Step(B, Reason.IDLE),)),
        on_gpu([sleeper(B, idle_since=NOW, keep_alive=0.0)], []),
    ),
    "what sleeps ends after a while": (
        Plan(stop=(Step(B, Reason.IDLE),)),
        on_gpu([sleeper(B, State.ASLEEP, idle_since=NOW - 120, keep_alive=10.0)], []),
    ),
    "what sleeps is woken also when its time is up": (
        Plan(wake=(Step(B, STARTED),)),
        on_gpu([sleeper(B, State.ASLEEP, idle_since=NOW - 120, keep_alive=10.0)], [SECOND._replace(key=B)]),
    ),
    "until then it sleeps": (
        Plan(wake_at=NOW + 10),
        on_gpu([sleeper(B, State.ASLEEP, idle_since=NOW - 110, keep_alive=10.0)], []),
    ),
    "what died in its sleep is gone": (
        Plan(gone=(B,), start=(Step(A, STARTED),)),
        on_gpu([sleeper(B, State.ASLEEP, alive=False)], [SECOND]),
    ),
    "a pinned model does not sleep": (
        Plan(refuse=(Refusal(A, Why.PINNED, SECOND.need or {}, {PLACE: 8, RAM: 95, GPU: 10}),)),
        on_gpu([sleeper(B, pinned=True)], [SECOND]),
    ),
}


@pytest.mark.parametrize("name", SLEEP_CASES)
def test_sleep(name: str) -> None:
    """Each case says in its name what is decided."""
    expected, actual = SLEEP_CASES[name]

    assert expected == actual


WAITS: dict[str, tuple[Wait, Plan]] = {
    "its need is being found out": (Wait(Why.ESTIMATING), weigh([], [wants(A, None)])),
    "it is loading": (
        Wait(Why.LOADING),
        weigh([Resident(A, State.STARTING, needing(1))], [wants(A, 1)]),
    ),
    "its slots are in use": (Wait(Why.SLOTS), weigh([loaded(A, 1, **IN_USE)], [wants(A, 1)])),
    "another one makes room": (Wait(Why.STOPPING, (B,)), weigh([loaded(B, 60)], [wants(A, 50)])),
    "others are in use": (
        Wait(Why.BUSY, (B,), NOW + PATIENCE),
        weigh([loaded(B, 60, **IN_USE)], [wants(A, 50)]),
    ),
    "another one is being loaded for nobody": (
        Wait(Why.ABANDONED, (B,), NOW + PATIENCE),
        weigh([Resident(B, State.STARTING, needing(60))], [wants(A, 50)]),
    ),
    "another one has only just come back": (
        Wait(Why.RESIDENCY, (B,), NOW + 1),
        weigh([loaded(B, 60, stays_until=NOW + 1)], [wants(A, 50)]),
    ),
    "the memory is not free yet": (
        Wait(Why.MEMORY, (), NOW + 0.05),
        weigh([], [wants(A, 50)], free=0, freed_at=NOW),
    ),
    "it failed lately": (Wait(Why.BACKOFF, (), NOW + 5), weigh([], [wants(A, 1, not_before=NOW + 5)])),
    "it makes room for another": (
        Wait(Why.DRAINING),
        weigh([loaded(A, 60, **IN_USE)], [wants(B, 50, waited=PATIENCE), wants(A, 60)]),
    ),
}


@pytest.mark.parametrize("name", WAITS)
def test_everybody_who_waits_is_told_why(name: str) -> None:
    """And for whom, and until when, as far as that is known."""
    expected, actual = WAITS[name]

    assert expected == actual.waits[A]


def test_memory_is_looked_at_only_when_somebody_needs_some() -> None:
    """Looking costs something, and most decisions are about models that are there."""

    def look() -> Seen:
        raise AssertionError

    limits = Limits({PLACE: 1, RAM: 100}, PATIENCE)

    assert Plan(wake_at=NOW + 290) == plan([loaded(A, 50)], [], limits, NOW, look)


def test_two_pinned_models_that_do_not_fit_side_by_side_are_not_both_started() -> None:
    """The second is told so at once, instead of waiting for the first one's end."""
    need: Amounts = {RAM: 60, PLACE: 1}
    waiting = [Waiting(key, NOW, need, pinned=True) for key in (A, B)]

    decided = plan([], waiting, Limits({RAM: 100, PLACE: 9}, PATIENCE), NOW, lambda: Seen({RAM: 100}))

    refused = Refusal(B, Why.PINNED, need, {RAM: 40, PLACE: 8})
    assert Plan(start=(Step(A, STARTED),), refuse=(refused,)) == decided


def test_the_memory_of_one_that_has_just_died_is_given_time_to_come_back() -> None:
    """However long somebody has waited for it."""
    died = ready(B, need={RAM: 60, PLACE: 1}, alive=False)
    waiting = [Waiting(A, NOW - 900, {RAM: 60, PLACE: 1})]

    decided = plan([died], waiting, Limits({RAM: 100, PLACE: 9}, PATIENCE), NOW, lambda: Seen({RAM: 30}))

    assert Plan(gone=(B,), wake_at=NOW + 0.05) == decided
