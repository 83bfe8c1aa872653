"""Who may be in memory: the decisions of the pool as a pure function, without a clock and without effects.

A place is held from the start of a process until the process is gone, so STARTING and STOPPING count. A key
has one resident at a time. Waiting keys are served in the order in which their oldest waiter came; who came
later never takes what an earlier one is waiting for.

The rules were written against the ways in which schedulers of this kind have failed in the field: an eviction
that races a request, a victim that is generating or still loading, everything evicted for one place, and a
queue whose head never moves because the loaded model is never idle.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from modelrunner.models.kinds import Mode
from modelrunner.oci.digest import Digest

DEFAULT_PATIENCE = 30.0  # seconds; longer than most loads, so that two busy models do not swap all the time


@dataclass(frozen=True, slots=True)
class Key:
    """What is loaded: a model, by its id, in an engine, for a mode."""

    engine: str
    model: Digest
    mode: Mode

    def __str__(self) -> str:
        return f"{self.engine}/{self.model.short}/{self.mode}"


class State(StrEnum):
    """Where a resident is in its life. Gone is no state: what is gone is no resident."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Reason(StrEnum):
    """Why a resident was started, stopped, or is gone; the values are read by people."""

    REQUESTED = "a request asked for it"
    PLACE_NEEDED = "another model needs its place"
    IDLE = "idle for longer than its keep-alive"
    UNLOADED = "unloaded on command"
    RECONFIGURED = "its configuration changed"
    SHUTDOWN = "the daemon is shutting down"
    CRASHED = "its process ended by itself"
    FAILED = "it could not be started"


@dataclass(frozen=True, slots=True)
class Resident:
    """What the policy knows of a loaded model. Times are seconds of one clock, the one `now` comes from.

    `idle_since` counts when there are no leases, `ready_since` once it is READY; `keep_alive` is in seconds,
    None for ever, 0 at once. `alive` is whether its process still runs.
    """

    key: Key
    state: State
    leases: int = 0
    idle_since: float = 0.0
    ready_since: float = 0.0
    keep_alive: float | None = None
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """A key that somebody waits for, and since when the first of them does."""

    key: Key
    since: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How many may be here, and how long (in seconds) a waiting key bears models that are never idle."""

    places: int
    patience: float = DEFAULT_PATIENCE


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and why."""

    key: Key
    reason: Reason


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in this order: drop `gone`, `stop`, `start`.

    `drain` are the residents that take no new leases, because somebody has waited for a place for too long;
    those not in it take leases (again). `wake_at` is when to plan again although nothing has happened.
    """

    gone: tuple[Key, ...] = ()
    stop: tuple[Step, ...] = ()
    start: tuple[Step, ...] = ()
    drain: frozenset[Key] = frozenset()
    wake_at: float | None = None


def plan(residents: Iterable[Resident], waiting: Sequence[Waiting], limits: Limits, now: float) -> Plan:
    """Decide what to start and what to stop.

    `waiting` has each key once, the longest waiting first, and includes keys whose resident is still STARTING
    or has just become READY: it is about to serve them, and is not stopped for one who came later.
    """
    decision = _Decision(residents, waiting, now)
    decision.expire()
    decision.seat(waiting, limits)
    return decision.plan()


def _expiry(resident: Resident) -> float | None:
    return None if resident.keep_alive is None else resident.idle_since + resident.keep_alive


class _Decision:
    """The working state of one call of `plan`."""

    def __init__(self, residents: Iterable[Resident], waiting: Sequence[Waiting], now: float) -> None:
        everyone = tuple(residents)
        self._now = now
        self._gone = tuple(r.key for r in everyone if r.state is State.READY and not r.alive)
        self._here = {r.key: r for r in everyone if r.key not in self._gone}
        asked = {entry.key for entry in waiting}
        idle = (
            r for r in self._here.values() if r.state is State.READY and not r.leases and r.key not in asked
        )
        self._idle = sorted(idle, key=lambda r: (r.keep_alive is None, r.idle_since))
        self._stop: list[Step] = []
        self._start: list[Step] = []
        self._drain: set[Key] = set()
        self._wakes: list[float] = []

    def expire(self) -> None:
        """Stop those whose time is up."""
        for resident in tuple(self._idle):
            expiry = _expiry(resident)
            if expiry is not None and expiry <= self._now:
                self._idle.remove(resident)
                self._stop.append(Step(resident.key, Reason.IDLE))

    def seat(self, waiting: Sequence[Waiting], limits: Limits) -> None:
        """Find a place for each waiting key in turn: one that is free, or will be, or is made free."""
        free = limits.places - len(self._here)
        coming = len(self._stop) + sum(r.state is State.STOPPING for r in self._here.values())
        earlier: set[Key] = set()
        for entry in waiting:
            resident = self._here.get(entry.key)
            if resident is not None and resident.state is not State.STOPPING:
                earlier.add(entry.key)  # it has its place already
            elif resident is None and free > 0:
                free -= 1
                self._start.append(Step(entry.key, Reason.REQUESTED))
            elif coming > 0:
                coming -= 1
            elif self._idle:
                self._stop.append(Step(self._idle.pop(0).key, Reason.PLACE_NEEDED))
            else:
                self._call_in(entry, earlier, limits.patience)

    def _call_in(self, entry: Waiting, earlier: set[Key], patience: float) -> None:
        """Take the place of a model that is never idle, once both have had their time.

        Never for the sake of one who came later than those waiting for the victim itself.
        """
        candidates = [
            r
            for r in self._here.values()
            if r.state is State.READY and r.key not in earlier and not self._is_taken(r)
        ]
        if not candidates:
            return
        victim = min(candidates, key=lambda r: (r.leases > 0, r.ready_since))
        due = max(entry.since, victim.ready_since) + patience
        if due > self._now:
            self._wakes.append(due)
        elif victim.leases:
            self._drain.add(victim.key)
        else:
            self._stop.append(Step(victim.key, Reason.PLACE_NEEDED))

    def _is_taken(self, resident: Resident) -> bool:
        return resident.key in self._drain or any(step.key == resident.key for step in self._stop)

    def plan(self) -> Plan:
        """Put the result together; what stays idle expires by itself later."""
        expiries = (_expiry(resident) for resident in self._idle)
        self._wakes.extend(expiry for expiry in expiries if expiry is not None)
        return Plan(
            gone=self._gone,
            stop=tuple(self._stop),
            start=tuple(self._start),
            drain=frozenset(self._drain),
            wake_at=min(self._wakes, default=None),
        )
