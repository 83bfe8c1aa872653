"""What the policy is told, and what it answers: keys, residents, who waits, and the plan with its reasons.

Values only. Whom to load and whom to stop is decided in `policy.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.ledger import ONE_PLACE, Amounts

DEFAULT_PATIENCE = 30.0  # seconds; longer than most loads, so that two busy models do not swap all the time


@dataclass(frozen=True, slots=True)
class Key:
    """What is loaded: a model, by its id, in an engine, for a mode."""

    engine: str
    model: Digest
    mode: Mode

    def __hash__(self) -> int:
        return hash(self.model.hex)  # of a text, which remembers it: a decision looks up many keys

    def __str__(self) -> str:
        return f"{self.engine}/{self.model.short}/{self.mode}"


class State(StrEnum):
    """Where a resident is in its life. Gone is no state: what is gone is no resident.

    One that is ASLEEP has its process, but no place and little of the memory that it needs to work. DOZING it
    falls asleep, WAKING it gets its memory back.
    """

    STARTING = "starting"
    READY = "ready"
    DOZING = "dozing"
    ASLEEP = "asleep"
    WAKING = "waking"
    STOPPING = "stopping"


class Reason(StrEnum):
    """Why a resident was started, stopped, or is gone; the values are for programs, `text` is for people."""

    REQUESTED = "requested"
    CONFIGURED = "configured"
    PINNED = "pinned"
    PRELOADED = "preloaded"
    PLACE_NEEDED = "place_needed"
    MEMORY_NEEDED = "memory_needed"
    IDLE = "idle"
    UNLOADED = "unloaded"
    RECONFIGURED = "reconfigured"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    FAILED = "failed"
    RESTLESS = "restless"

    @property
    def text(self) -> str:
        """Say it in words."""
        return _REASONS[self]


class Why(StrEnum):
    """Why somebody waits or is refused; the values are for programs, `text` is for people."""

    ESTIMATING = "estimating"
    LOADING = "loading"
    WAKING = "waking"
    DOZING = "dozing"
    SLOTS = "slots"
    DRAINING = "draining"
    STOPPING = "stopping"
    ABANDONED = "abandoned"
    BUSY = "busy"
    RESIDENCY = "residency"
    MEMORY = "memory"
    BACKOFF = "backoff"
    TOO_LARGE = "too_large"
    PINNED = "pinned"
    MEMORY_TAKEN = "memory_taken"
    FAILING = "failing"

    @property
    def text(self) -> str:
        """Say it in words."""
        return _WHYS[self]


_REASONS = {
    Reason.REQUESTED: "a request asked for it",
    Reason.CONFIGURED: "it was configured",
    Reason.PINNED: "it is pinned",
    Reason.PRELOADED: "it was to be there before requests come",
    Reason.PLACE_NEEDED: "another model needs its place",
    Reason.MEMORY_NEEDED: "another model needs its memory",
    Reason.IDLE: "idle for longer than its keep-alive",
    Reason.UNLOADED: "on command",
    Reason.RECONFIGURED: "its configuration changed",
    Reason.SHUTDOWN: "the daemon is shutting down",
    Reason.CRASHED: "its process ended by itself",
    Reason.FAILED: "it could not be started",
    Reason.RESTLESS: "it could not be woken",
}
_WHYS = {
    Why.ESTIMATING: "its memory is being estimated",
    Why.LOADING: "it is being loaded",
    Why.WAKING: "it is being woken",
    Why.DOZING: "it is falling asleep, and is woken then",
    Why.SLOTS: "all its slots are in use",
    Why.DRAINING: "it makes room for a model that has waited for long",
    Why.STOPPING: "a process that makes room has not ended yet",
    Why.ABANDONED: "a model that nobody waits for any more is still being loaded",
    Why.BUSY: "the models that could make room are in use",
    Why.RESIDENCY: "the model that could make room has only just been loaded again",
    Why.MEMORY: "memory that should be free is not free yet",
    Why.BACKOFF: "it failed lately and is tried again after a pause",
    Why.TOO_LARGE: "it needs more than there is",
    Why.PINNED: "pinned models leave too little room",
    Why.MEMORY_TAKEN: "other programs hold the memory",
    Why.FAILING: "it has failed several times in a row",
}


class Resident(NamedTuple):
    """What the policy knows of a loaded model. Times are seconds of one clock, the one `now` comes from.

    `idle_since` counts when there are no leases, and while it is STARTING, when nobody waits for it any more;
    `ready_since` counts once it is READY. `keep_alive` is in seconds, None for ever, 0 at once.
    `worth` is what losing it would cost, in no unit but that of the others; before `stays_until` it is not
    asked to make room. `alive` is whether its process still runs. `need` is what is set aside for it now;
    `asleep` is what would be if it slept, None when it cannot.
    """

    key: Key
    state: State
    need: Amounts = ONE_PLACE
    leases: int = 0
    idle_since: float = 0.0
    ready_since: float = 0.0
    keep_alive: float | None = None
    pinned: bool = False
    worth: float = 0.0
    stays_until: float = 0.0
    alive: bool = True
    asleep: Amounts | None = None


class Waiting(NamedTuple):
    """A key that somebody waits for, and since when the longest waiting of them does.

    `need` is None until it is known. Without `checked` only a place has to be free, whatever the memory.
    `reason` is what it would be loaded for.
    """

    key: Key
    since: float
    need: Amounts | None = ONE_PLACE
    checked: bool = True
    not_before: float = 0.0  # when it may be started
    pinned: bool = False
    reason: Reason = Reason.REQUESTED


@dataclass(frozen=True, slots=True)
class Limits:
    """What there is in all, and how long (in seconds) a waiting key bears models that are never idle."""

    capacity: Amounts
    patience: float = DEFAULT_PATIENCE


class Seen(NamedTuple):
    """What is really free now, by device, and when something of ours was freed last."""

    free: Amounts
    freed_at: float = float("-inf")


class Step(NamedTuple):
    """One thing to do, why, and for whom."""

    key: Key
    reason: Reason
    cause: Key | None = None


class Wait(NamedTuple):
    """Why a key waits, and for which others; `until` is when that is looked at again, if it is known."""

    why: Why
    others: tuple[Key, ...] = ()
    until: float | None = None


class Refusal(NamedTuple):
    """A key that cannot be served: what it needs, and what it could have at most."""

    key: Key
    why: Why
    need: Amounts
    room: Amounts


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in this order: drop `gone`, `stop`, `sleep` (put to sleep), `start`, `wake`, `refuse`.

    `drain` are the residents that take no new leases, because somebody has waited for a place for too long;
    those not in it take leases (again). `waits` says of each waiting key that is not started why it waits.
    `wake_at` is when to plan again although nothing has happened.
    """

    gone: tuple[Key, ...] = ()
    stop: tuple[Step, ...] = ()
    sleep: tuple[Step, ...] = ()
    wake: tuple[Step, ...] = ()
    start: tuple[Step, ...] = ()
    refuse: tuple[Refusal, ...] = ()
    drain: frozenset[Key] = frozenset()
    wake_at: float | None = None
    waits: Mapping[Key, Wait] = field(default_factory=dict, compare=False)
