"""Who may be in memory: the decisions of the scheduler as a pure function, without clock or effects.

What a model needs is held from the start of its process until the process is gone, so STARTING and STOPPING
count. A model that can sleep does so instead of ending, if that makes as much room (`sleeping.py`). A key has
one resident at a time. Waiting keys are served in the order of the queue; who stands behind never takes what
one in front is waiting for.

The rules were written against the ways in which schedulers of this kind have failed in the field: an eviction
that races a request, a victim that is generating or still loading for somebody, everything evicted for one
place, a load into memory that the last process has not given back yet, two models that swap for ever, and a
queue whose head never moves because the loaded model is never idle, or hangs at a start that all have left.
"""

from collections.abc import Callable, Iterable, Sequence

from modelrunner.runtime.scheduling.accounts import Accounts
from modelrunner.runtime.scheduling.ledger import PLACE, Amounts, Room, beyond, cover, larger, less, total
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
from modelrunner.runtime.scheduling.sleeping import expiry, frees, helps, is_coming, still_takes

MEMORY_PATIENCE = 20.0  # seconds for memory to become free that other programs hold
MEMORY_SETTLES = 1.0  # seconds in which a process that is gone may still give memory back
_POLL = 0.05  # seconds between two looks at the memory, while somebody waits for it
_SLOW_POLL = 0.5  # the same, when nothing of ours is about to be freed
_NOTHING_SEEN = Seen({})
# Tuples, because a member of an enumeration takes long to hash.
_LEAVING = (State.STOPPING, State.DOZING)
_HERE = (State.READY, State.ASLEEP)
_NOTHING: Amounts = {}


def plan(
    residents: Iterable[Resident],
    waiting: Sequence[Waiting],
    limits: Limits,
    now: float,
    look: Callable[[], Seen] = lambda: _NOTHING_SEEN,
) -> Plan:
    """Decide what to start and what to stop.

    `waiting` has each key once, in the order of the queue, and includes keys whose resident is still STARTING
    or has just become READY: it is about to serve them, and is not stopped for one who came later. `look` is
    asked only when somebody needs memory, for looking costs something.
    """
    decision = _Decision(residents, waiting, limits, now, look)
    decision.expire()
    for entry in waiting:
        decision.seat(entry)
    return decision.plan()


class _Decision:
    """The working state of one call of `plan`."""

    def __init__(
        self,
        residents: Iterable[Resident],
        waiting: Sequence[Waiting],
        limits: Limits,
        now: float,
        look: Callable[[], Seen],
    ) -> None:
        everyone = tuple(residents)
        self._now = now
        self._patience = limits.patience
        self._look = look
        self._gone = tuple(r.key for r in everyone if r.state in _HERE and not r.alive)
        self._here = {r.key: r for r in everyone if r.key not in self._gone}
        here = self._here.values()
        asked = {entry.key for entry in waiting}
        # One that sleeps is not kept for those who wait for it but stand behind: it cannot serve them yet.
        self._idle = sorted(
            (r for r in here if _is_free(r) and (r.state is State.ASLEEP or r.key not in asked)),
            key=lambda r: (
                r.state is State.READY,
                r.key in asked,
                r.stays_until > now,
                r.keep_alive is None,
                r.worth,
                r.idle_since,
            ),
        )
        # They go on loading, until somebody has waited for long for their room: they may as well hang.
        self._abandoned = [
            r for r in here if r.state is State.STARTING and not r.pinned and r.key not in asked
        ]
        leaving = [r for r in here if r.state in _LEAVING]
        self._leaving = len(leaving)  # how many more of those that make room somebody may wait for
        self._most = Room(limits.capacity)
        self._beside_pinned = Room(limits.capacity)
        self._beside_pinned.take(total(r.need for r in here if r.pinned and r.state is not State.STOPPING))
        self._accounts = Accounts(
            limits.capacity, held=total(r.need for r in here), freed=total(map(frees, leaving))
        )
        self._freed_at = float("-inf")
        self._earlier: set[Key] = set()  # residents that those in front wait for
        self._taken: set[Key] = set()  # residents that make room already
        self._askable: list[Resident] | None = None  # who could be asked to give way, once somebody asks
        self._askable_in_all = Room({})
        self._asked = asked
        self._stop: list[Step] = []
        self._sleep: list[Step] = []
        self._start: list[Step] = []
        self._wake: list[Step] = []
        self._refuse: list[Refusal] = []
        self._drain: set[Key] = set()
        self._waits: dict[Key, Wait] = {}
        self._wakes: list[float] = []

    def expire(self) -> None:
        """Have those rest whose time is up."""
        for resident in tuple(self._idle):
            due = expiry(resident)
            if due is not None and due <= self._now and resident.key not in self._asked:
                self._give_up((resident,))
                self._dismiss(resident, Reason.IDLE)
                self._leaving += 1

    def seat(self, entry: Waiting) -> None:
        """Find room for one waiting key: what is free, or will be, or is made free."""
        resident = self._here.get(entry.key)
        if resident is not None and (resident.state is State.READY or is_coming(resident.state)):
            self._earlier.add(entry.key)  # it has its place already
            self._wait(entry, _COMING.get(resident.state, Why.SLOTS))
        elif entry.need is None:
            self._wait(entry, Why.ESTIMATING)
        elif resident is not None and resident.state is State.ASLEEP:
            self._have_woken(entry, entry.need, resident)
        elif resident is not None and resident.state is State.DOZING:
            self._come_back(entry, beyond(entry.need, resident.asleep or _NOTHING), resident)
        elif entry.not_before > self._now:
            self._wait(entry, Why.BACKOFF, until=entry.not_before)
        elif resident is not None:
            self._come_back(entry, entry.need, resident)
        else:
            self._seat(entry, entry.need)

    def _have_woken(self, entry: Waiting, need: Amounts, sleeping: Resident) -> None:
        """Find room for one that sleeps, unless it has made room for somebody in front."""
        if entry.key in self._taken:
            self._wait(entry, Why.STOPPING, (entry.key,))
            self._accounts.claim(need)
        else:
            self._earlier.add(entry.key)
            self._idle = [r for r in self._idle if r is not sleeping]
            asleep = sleeping.asleep or _NOTHING
            self._seat(entry, larger(need, asleep), asleep)

    def _come_back(self, entry: Waiting, need: Amounts, leaving: Resident) -> None:
        """Let a key whose instance is being stopped, or falls asleep, have what that one leaves behind."""
        self._leaving -= 1
        self._accounts.pass_on(frees(leaving))
        self._wait(entry, Why.DOZING if leaving.state is State.DOZING else Why.STOPPING, (entry.key,))
        self._accounts.claim(need)

    def _seat(self, entry: Waiting, need: Amounts, held: Amounts = _NOTHING) -> None:
        """Find room for what it needs besides what it holds already, asleep."""
        wanted = _wanted(entry, need)
        for most, why in ((self._most, Why.TOO_LARGE), (self._beside_pinned, Why.PINNED)):
            if not most.has(wanted):
                self._refuse.append(Refusal(entry.key, why, need, most.left))
                return
        if held:
            need = beyond(need, held)
            wanted = _wanted(entry, need)
        lack, unseen = self._accounts.lack(wanted), self._unseen(wanted)
        if not lack and not unseen:
            if self._accounts.has_now(wanted):
                begin = self._wake if entry.key in self._here else self._start
                begin.append(Step(entry.key, entry.reason))
                if entry.pinned:
                    self._beside_pinned.take(need)
            else:
                self._leaving -= 1
                self._wait(entry, Why.STOPPING, self._ending())
        elif self._leaving > 0:
            self._leaving -= 1  # one at a time: perhaps that one is enough
            self._wait(entry, Why.STOPPING, self._ending())
        elif lack:
            self._make_room(entry, lack)
        elif self._is_hopeless(entry, unseen):
            self._refuse.append(Refusal(entry.key, Why.MEMORY_TAKEN, need, self._accounts.seen))
            return
        else:
            self._find_memory(entry, unseen)
        self._accounts.claim(need)

    def _unseen(self, wanted: Amounts) -> Amounts:
        """What of it is not seen to be free, or about to be, although it may have been promised."""
        if all(name == PLACE for name in wanted):
            return {}
        if not self._accounts.has_looked:
            seen = self._look()
            self._freed_at = self._now if self._gone else seen.freed_at
            self._accounts.look(
                seen.free,
                # What is loading has not taken yet all that it will take.
                taken=total(map(still_takes, self._here.values())),
                freed=total(map(self._frees, {*self._ending(), *self._taken})),
            )
        return self._accounts.unseen(wanted)

    def _is_hopeless(self, entry: Waiting, unseen: Amounts) -> bool:
        """Whether the memory that is promised, but not seen to be free, is not ours to free."""
        if self._now < max(entry.since + MEMORY_PATIENCE, self._freed_at + MEMORY_SETTLES):
            return False
        ours = (r for r in self._here.values() if r.leases or r.state not in _HERE)
        if (
            self._start
            or self._wake
            or self._stop
            or self._sleep
            or any(r not in self._abandoned for r in ours)
        ):
            return False
        return cover([r.need for r in (*self._idle, *self._abandoned)], unseen) is None

    def _find_memory(self, entry: Waiting, unseen: Amounts) -> None:
        """Wait for memory that should be free; when it does not come, have idle models make room."""
        starting = (r for r in self._here.values() if is_coming(r.state) and r not in self._abandoned)
        loading = (*(r.key for r in starting), *self._starting())
        if ending := self._ending():
            self._wait(entry, Why.STOPPING, ending)
        elif loading:
            self._wait(entry, Why.MEMORY, loading)
        elif self._now < self._freed_at + MEMORY_SETTLES:
            self._wait(entry, Why.MEMORY, until=self._now + _POLL)
        elif cover([r.need for r in self._idle], unseen) is not None:
            self._make_room(entry, unseen)
        elif not self._call_in(entry, unseen):
            self._wait(entry, Why.MEMORY, until=self._now + _SLOW_POLL)

    def _make_room(self, entry: Waiting, lack: Amounts) -> None:
        """Have idle models make room: what is worth least, one at a time, no more than needed."""
        chosen = cover([r.need for r in self._idle], lack)
        if chosen is None:
            if not self._call_in(entry, lack):
                self._wait(entry, Why.BUSY)
            return
        victims = tuple(self._idle[index] for index in chosen)
        self._give_up(victims)
        names = tuple(victim.key for victim in victims)
        first = victims[0]
        if first.stays_until > self._now:
            self._wait(entry, Why.RESIDENCY, names, until=first.stays_until)
            return
        self._dismiss(first, _reason(lack), entry.key, lack)
        self._wait(entry, Why.STOPPING, names)

    def _call_in(self, entry: Waiting, lack: Amounts) -> bool:
        """Take the room of models that are never idle, or load for nobody, once all have had their time.

        Never for the sake of one who came later than those waiting for the victim itself. False when all
        together have too little.
        """
        candidates = self._candidates(lack)
        chosen = cover([r.need for r in candidates], lack)
        if chosen is None:
            return False
        victims = tuple(candidates[index] for index in chosen)
        names = tuple(victim.key for victim in victims)
        due = max(entry.since, *map(_unasked_since, victims)) + self._patience
        if due > self._now:
            abandoned = all(victim.state is not State.READY for victim in victims)
            self._wait(entry, Why.ABANDONED if abandoned else Why.BUSY, names, until=due)
            return True
        self._give_up(victims)
        busy = [victim for victim in victims if victim.leases]
        if busy:
            self._drain.update(victim.key for victim in busy)
            self._wait(entry, Why.BUSY, names)
            return True
        self._dismiss(victims[0], _reason(lack), entry.key, lack)
        self._wait(entry, Why.STOPPING, names)
        return True

    def _candidates(self, lack: Amounts) -> list[Resident]:
        """Who could give way: who loads for nobody, the idle, the longest here; nobody if all are too few."""
        if self._askable is None:
            ready = [r for r in self._here.values() if r.state in _HERE and not r.pinned]
            ready.sort(key=lambda r: (r.state is State.READY, r.leases > 0, r.ready_since))
            self._askable = [*self._abandoned, *ready]
            self._askable_in_all = Room(total(r.need for r in self._askable))
        if self._askable_in_all.lack(lack):
            return []
        earlier, taken = self._earlier, self._taken  # which only grow
        self._askable = [r for r in self._askable if r.key not in earlier and r.key not in taken]
        return self._askable

    def _give_up(self, victims: Sequence[Resident]) -> None:
        """Count on the room of some residents, so that nobody else does."""
        self._taken.update(victim.key for victim in victims)
        self._idle = [r for r in self._idle if r.key not in self._taken]
        self._accounts.expect(total(victim.need for victim in victims))

    def _dismiss(
        self, resident: Resident, reason: Reason, cause: Key | None = None, lack: Amounts = _NOTHING
    ) -> None:
        """Have one make room whose room is already counted on; asleep it keeps some of it."""
        self._taken.add(resident.key)
        step = Step(resident.key, reason, cause)
        kept = resident.asleep or _NOTHING
        more = beyond(kept, resident.need)
        if not helps(resident, lack) or not self._has_now(more):
            self._stop.append(step)
            return
        self._sleep.append(step)
        self._accounts.keep(kept, more)

    def _has_now(self, amounts: Amounts) -> bool:
        """Whether so much is free: promised to nobody, and seen."""
        if not amounts:
            return True
        self._unseen(amounts)
        return self._accounts.has_now(amounts)

    def _frees(self, key: Key) -> Amounts:
        """What one gives back that is counted on."""
        resident = self._here[key]
        if resident.state in _LEAVING:
            return frees(resident)
        asleep = resident.asleep if any(step.key == key for step in self._sleep) else None
        return resident.need if asleep is None else less(resident.need, asleep)

    def _wait(
        self, entry: Waiting, why: Why, others: tuple[Key, ...] = (), *, until: float | None = None
    ) -> None:
        self._waits[entry.key] = Wait(why, others, until)
        if until is not None:
            self._wakes.append(until)

    def _starting(self) -> tuple[Key, ...]:
        return tuple(step.key for step in (*self._start, *self._wake))

    def _ending(self) -> tuple[Key, ...]:
        """Who is about to be gone."""
        leaving = (r.key for r in self._here.values() if r.state in _LEAVING)
        return (*leaving, *(step.key for step in (*self._stop, *self._sleep)))

    def plan(self) -> Plan:
        """Put the result together; what stays idle expires by itself later."""
        here = (r for r in self._idle if r.key not in self._asked)
        self._wakes.extend(due for due in map(expiry, here) if due is not None)
        for key in self._drain & self._waits.keys():
            self._waits[key] = Wait(Why.DRAINING)
        for key in {step.key for step in self._sleep} & self._waits.keys():
            self._waits[key] = Wait(Why.DOZING, (key,))
        for key in {step.key for step in self._stop} & self._waits.keys():
            self._waits[key] = Wait(Why.STOPPING, (key,))
        return Plan(
            gone=self._gone,
            stop=tuple(self._stop),
            sleep=tuple(self._sleep),
            wake=tuple(self._wake),
            start=tuple(self._start),
            refuse=tuple(self._refuse),
            drain=frozenset(self._drain),
            wake_at=min(self._wakes, default=None),
            waits=self._waits,
        )


_COMING = {State.STARTING: Why.LOADING, State.WAKING: Why.WAKING}


def _wanted(entry: Waiting, need: Amounts) -> Amounts:
    """What has to be free of what one needs."""
    return need if entry.checked else {PLACE: need.get(PLACE, 0)}


def _is_free(resident: Resident) -> bool:
    return resident.state in _HERE and not resident.leases and not resident.pinned


def _unasked_since(resident: Resident) -> float:
    """Since when one could be asked to give way, if somebody wanted its room."""
    return resident.idle_since if resident.state is State.STARTING else resident.ready_since


def _reason(lack: Amounts) -> Reason:
    return Reason.PLACE_NEEDED if lack.get(PLACE, 0) > 0 else Reason.MEMORY_NEEDED
