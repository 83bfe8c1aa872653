"""Who may be in memory: the decisions of the scheduler as a pure function, without clock or effects.

What a model needs is held from the start of its process until the process is gone, so STARTING and STOPPING
count. A key has one resident at a time. Waiting keys are served in the order of the line; who stands behind
never takes what one in front is waiting for.

The rules were written against the ways in which schedulers of this kind have failed in the field: an eviction
that races a request, a victim that is generating or still loading for somebody, everything evicted for one
place, a load into memory that the last process has not given back yet, two models that swap for ever, and a
queue whose head never moves because the loaded model is never idle, or hangs at a start that all have left.
"""

from collections.abc import Callable, Iterable, Sequence

from modelrunner.runtime.ledger import PLACE, Amounts, Room, cover, total
from modelrunner.runtime.plan import (
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

MEMORY_PATIENCE = 20.0  # seconds for memory to become free that other programs hold
MEMORY_SETTLES = 1.0  # seconds in which a process that is gone may still give memory back
_POLL = 0.05  # seconds between two looks at the memory, while somebody waits for it
_SLOW_POLL = 0.5  # the same, when nothing of ours is about to be freed
_NOTHING_SEEN = Seen({})


def plan(
    residents: Iterable[Resident],
    waiting: Sequence[Waiting],
    limits: Limits,
    now: float,
    look: Callable[[], Seen] = lambda: _NOTHING_SEEN,
) -> Plan:
    """Decide what to start and what to stop.

    `waiting` has each key once, in the order of the line, and includes keys whose resident is still STARTING
    or has just become READY: it is about to serve them, and is not stopped for one who came later. `look` is
    asked only when somebody needs memory, for looking costs something.
    """
    decision = _Decision(residents, waiting, limits, now, look)
    decision.expire()
    for entry in waiting:
        decision.seat(entry)
    return decision.plan()


def expiry(resident: Resident) -> float | None:
    """When an idle resident's time is up; None for never."""
    if resident.pinned or resident.keep_alive is None:
        return None
    return resident.idle_since + resident.keep_alive


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
        self._gone = tuple(r.key for r in everyone if r.state is State.READY and not r.alive)
        self._here = {r.key: r for r in everyone if r.key not in self._gone}
        here = self._here.values()
        asked = {entry.key for entry in waiting}
        self._idle = sorted(
            (r for r in here if _is_free(r) and r.key not in asked),
            key=lambda r: (r.stays_until > now, r.keep_alive is None, r.worth, r.idle_since),
        )
        # They go on loading, until somebody has waited for long for their room: they may as well hang.
        self._abandoned = [
            r for r in here if r.state is State.STARTING and not r.pinned and r.key not in asked
        ]
        stopping = [r for r in here if r.state is State.STOPPING]
        self._leaving = len(stopping)  # how many more of those that stop somebody may wait for
        self._most = Room(limits.capacity)
        self._beside_pinned = Room(limits.capacity)
        self._beside_pinned.take(total(r.need for r in here if r.pinned and r.state is not State.STOPPING))
        # Free now, and free once what makes room is gone; as promised, and as seen once somebody asks.
        self._free = Room(limits.capacity)
        self._free.take(total(r.need for r in here))
        self._room = Room(self._free.left)
        self._room.give(total(r.need for r in stopping))
        self._seen: Room | None = None
        self._seen_room: Room = Room({})
        self._freed_at = float("-inf")
        self._claims: list[Amounts] = []
        self._earlier: set[Key] = set()  # residents that those in front wait for
        self._taken: set[Key] = set()  # residents that make room already
        self._askable: list[Resident] | None = None  # who could be asked to give way, once somebody asks
        self._askable_in_all = Room({})
        self._stop: list[Step] = []
        self._start: list[Step] = []
        self._refuse: list[Refusal] = []
        self._drain: set[Key] = set()
        self._waits: dict[Key, Wait] = {}
        self._wakes: list[float] = []

    def expire(self) -> None:
        """Stop those whose time is up."""
        for resident in tuple(self._idle):
            due = expiry(resident)
            if due is not None and due <= self._now:
                self._idle.remove(resident)
                self._dismiss(resident, Reason.IDLE)
                self._room.give(resident.need)
                self._leaving += 1

    def seat(self, entry: Waiting) -> None:
        """Find room for one waiting key: what is free, or will be, or is made free."""
        resident = self._here.get(entry.key)
        if resident is not None and resident.state is not State.STOPPING:
            self._earlier.add(entry.key)  # it has its place already
            self._wait(entry, Why.LOADING if resident.state is State.STARTING else Why.SLOTS)
        elif entry.need is None:
            self._wait(entry, Why.ESTIMATING)
        elif entry.not_before > self._now:
            self._wait(entry, Why.BACKOFF, until=entry.not_before)
        elif resident is not None:
            self._come_back(entry, entry.need, resident)
        else:
            self._seat(entry, entry.need)

    def _come_back(self, entry: Waiting, need: Amounts, stopping: Resident) -> None:
        """Let a key whose last instance is being stopped have what that one leaves behind."""
        self._leaving -= 1
        self._free.give(stopping.need)
        self._wait(entry, Why.STOPPING, (entry.key,))
        self._claim(need)

    def _seat(self, entry: Waiting, need: Amounts) -> None:
        wanted = need if entry.checked else {PLACE: need.get(PLACE, 0)}
        for most, why in ((self._most, Why.TOO_LARGE), (self._beside_pinned, Why.PINNED)):
            if not most.has(wanted):
                self._refuse.append(Refusal(entry.key, why, need, most.left))
                return
        lack, unseen = self._room.lack(wanted), self._unseen(wanted)
        if not lack and not unseen:
            if self._free.has(wanted) and (self._seen is None or self._seen.has(wanted)):
                self._start.append(Step(entry.key, entry.reason))
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
            assert self._seen is not None
            self._refuse.append(Refusal(entry.key, Why.MEMORY_TAKEN, need, self._seen.left))
            return
        else:
            self._find_memory(entry, unseen)
        self._claim(need)

    def _claim(self, need: Amounts) -> None:
        """Keep what somebody has, or waits for, from those behind."""
        self._claims.append(need)
        self._free.take(need)
        self._room.take(need)
        if self._seen is not None:
            self._seen.take(need)
            self._seen_room.take(need)

    def _unseen(self, wanted: Amounts) -> Amounts:
        """What of it is not seen to be free, or about to be, although it may have been promised."""
        if all(name == PLACE for name in wanted):
            return {}
        if self._seen is None:
            seen = self._look()
            self._freed_at = self._now if self._gone else seen.freed_at
            self._seen = Room(seen.free)
            # What is loading has not taken yet all that it will take.
            self._seen.take(total(r.need for r in self._here.values() if r.state is State.STARTING))
            self._seen.take(total(self._claims))
            self._seen_room = Room(self._seen.left)
            self._seen_room.give(total(self._here[key].need for key in {*self._ending(), *self._taken}))
        return self._seen_room.lack(wanted)

    def _is_hopeless(self, entry: Waiting, unseen: Amounts) -> bool:
        """Whether the memory that is promised, but not seen to be free, is not ours to free."""
        if self._now < max(entry.since + MEMORY_PATIENCE, self._freed_at + MEMORY_SETTLES):
            return False
        ours = (r for r in self._here.values() if r.leases or r.state is not State.READY)
        if self._start or self._stop or any(r not in self._abandoned for r in ours):
            return False
        return cover([r.need for r in (*self._idle, *self._abandoned)], unseen) is None

    def _find_memory(self, entry: Waiting, unseen: Amounts) -> None:
        """Wait for memory that should be free; when it does not come, have idle models make room."""
        starting = (r for r in self._here.values() if r.state is State.STARTING and r not in self._abandoned)
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
        self._dismiss(first, _reason(lack), entry.key)
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
            abandoned = all(victim.state is State.STARTING for victim in victims)
            self._wait(entry, Why.ABANDONED if abandoned else Why.BUSY, names, until=due)
            return True
        self._give_up(victims)
        busy = [victim for victim in victims if victim.leases]
        if busy:
            self._drain.update(victim.key for victim in busy)
            self._wait(entry, Why.BUSY, names)
            return True
        self._dismiss(victims[0], _reason(lack), entry.key)
        self._wait(entry, Why.STOPPING, names)
        return True

    def _candidates(self, lack: Amounts) -> list[Resident]:
        """Who could give way: who loads for nobody, the idle, the longest here; nobody if all are too few."""
        if self._askable is None:
            ready = [r for r in self._here.values() if r.state is State.READY and not r.pinned]
            ready.sort(key=lambda r: (r.leases > 0, r.ready_since))
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
        freed = total(victim.need for victim in victims)
        self._room.give(freed)
        if self._seen is not None:
            self._seen_room.give(freed)

    def _dismiss(self, resident: Resident, reason: Reason, cause: Key | None = None) -> None:
        self._taken.add(resident.key)
        self._stop.append(Step(resident.key, reason, cause))

    def _wait(
        self, entry: Waiting, why: Why, others: tuple[Key, ...] = (), *, until: float | None = None
    ) -> None:
        self._waits[entry.key] = Wait(why, others, until)
        if until is not None:
            self._wakes.append(until)

    def _starting(self) -> tuple[Key, ...]:
        return tuple(step.key for step in self._start)

    def _ending(self) -> tuple[Key, ...]:
        """Who is about to be gone."""
        stopping = (r.key for r in self._here.values() if r.state is State.STOPPING)
        return (*stopping, *(step.key for step in self._stop))

    def plan(self) -> Plan:
        """Put the result together; what stays idle expires by itself later."""
        self._wakes.extend(due for due in map(expiry, self._idle) if due is not None)
        for key in self._drain & self._waits.keys():
            self._waits[key] = Wait(Why.DRAINING)
        for key in {step.key for step in self._stop} & self._waits.keys():
            self._waits[key] = Wait(Why.STOPPING, (key,))
        return Plan(
            gone=self._gone,
            stop=tuple(self._stop),
            start=tuple(self._start),
            refuse=tuple(self._refuse),
            drain=frozenset(self._drain),
            wake_at=min(self._wakes, default=None),
            waits=self._waits,
        )


def _is_free(resident: Resident) -> bool:
    return resident.state is State.READY and not resident.leases and not resident.pinned


def _unasked_since(resident: Resident) -> float:
    """Since when one could be asked to give way, if somebody wanted its room."""
    return resident.idle_since if resident.state is State.STARTING else resident.ready_since


def _reason(lack: Amounts) -> Reason:
    return Reason.PLACE_NEEDED if lack.get(PLACE, 0) > 0 else Reason.MEMORY_NEEDED
