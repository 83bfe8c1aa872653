"""Leases: the right to use a running instance, and the one record of each loaded model that they keep."""

import asyncio
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from modelrunner.runtime.scheduling.ledger import Amounts
from modelrunner.runtime.scheduling.plan import Key, Reason, State


class Served(Protocol):
    """What the scheduler needs of something that runs."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    @property
    def obituary(self) -> str:
        """Why its process ended, in a first line, and the last lines that it wrote."""
        ...

    @property
    def slots(self) -> int | None:
        """How many requests it serves at a time; None when that is its own affair."""
        ...


class Running(Served, Protocol):
    """What the pool needs of an instance."""

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done, with the exit status, as soon as the process is gone. Not to be cancelled."""
        ...

    async def sleep(self) -> None:
        """Return when it sleeps. Raises RunnerError when it does not."""
        ...

    async def wake(self) -> None:
        """Return when it is awake again. Raises RunnerError when it is not."""
        ...

    async def stop(self) -> None:
        """Return when the process is gone and what it left behind is cleared away."""
        ...


S = TypeVar("S", bound=Served)
R = TypeVar("R", bound=Running)


class Stay(NamedTuple):
    """How long an idle model stays: `seconds`, None for ever."""

    seconds: float | None


class Loaded(Generic[S]):
    """The only record of a model in memory, or on its way in or out. The scheduler alone changes it."""

    __slots__ = (
        "asleep",
        "awake",
        "cause",
        "detail",
        "draining",
        "idle_since",
        "key",
        "leases",
        "need",
        "ready_since",
        "reason",
        "running",
        "served",
        "since",
        "state",
        "stay",
        "stays_until",
    )

    def __init__(
        self, key: Key, since: float, need: Amounts, reason: Reason, asleep: Amounts | None = None
    ) -> None:
        self.key = key
        self.state = State.STARTING
        self.need = need  # what is set aside for it now
        self.awake = need  # what it needs to work
        self.asleep = asleep  # what it holds when it sleeps; None when it cannot
        self.leases = 0
        self.served = 0  # leases since that was last looked at
        self.since = since
        self.ready_since = 0.0
        self.idle_since = 0.0
        self.stays_until = 0.0
        self.stay: Stay | None = None  # what the last request wanted, if it wanted something
        self.draining = False
        self.reason = reason  # why it was started; then, why it is stopped or gone
        self.cause: Key | None = None  # for whom it makes room
        self.detail = ""
        self.running: S | None = None


class Lease(Generic[S]):
    """The right to use one instance until it is given back.

    It keeps its resident: a key that has been loaded anew in the meantime is another resident. `queued` and
    `loading` are for how long (in seconds) its request waited, and for how long of that the model was loaded.
    """

    __slots__ = ("_give_back", "_resident", "loading", "queued", "running")

    def __init__(
        self,
        resident: Loaded[S],
        running: S,
        give_back: Callable[[Loaded[S]], None],
        queued: float = 0.0,
        loading: float = 0.0,
    ) -> None:
        self._resident: Loaded[S] | None = resident
        self._give_back = give_back
        self.running = running
        self.queued = queued
        self.loading = loading

    def release(self) -> None:
        """Give it back; once is enough, and twice is harmless."""
        resident, self._resident = self._resident, None
        if resident is not None:
            self._give_back(resident)
