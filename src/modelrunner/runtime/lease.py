"""Leases: the right to use a running instance, and the one record of each loaded model that they keep."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from modelrunner.runtime.policy import Key, Reason, State


class Running(Protocol):
    """What the pool needs of an instance."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done, with the exit status, as soon as the process is gone. Not to be cancelled."""
        ...

    @property
    def tail(self) -> str:
        """The last lines that the process wrote."""
        ...

    async def stop(self) -> None:
        """Return when the process is gone and what it left behind is cleared away."""
        ...


R = TypeVar("R", bound=Running)


class Loaded(Generic[R]):
    """The only record of a model that is in memory, or on its way in or out. Changed by the pool alone."""

    __slots__ = (
        "detail",
        "dismissed",
        "draining",
        "idle_since",
        "key",
        "leases",
        "ready_since",
        "reason",
        "running",
        "since",
        "state",
        "task",
    )

    def __init__(self, key: Key, since: float) -> None:
        self.key = key
        self.state = State.STARTING
        self.leases = 0
        self.since = since
        self.ready_since = 0.0
        self.idle_since = 0.0
        self.draining = False
        self.reason = Reason.SHUTDOWN  # why it is gone; nothing but shutdown ends a start
        self.detail = ""
        self.running: R | None = None
        self.dismissed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None


class Lease(Generic[R]):
    """The right to use one instance until it is given back.

    It keeps its resident: a key that has been loaded anew in the meantime is another resident.
    """

    __slots__ = ("_give_back", "_resident", "running")

    def __init__(self, resident: Loaded[R], running: R, give_back: Callable[[Loaded[R]], None]) -> None:
        self._resident: Loaded[R] | None = resident
        self._give_back = give_back
        self.running = running

    def release(self) -> None:
        """Give it back; once is enough, and twice is harmless."""
        resident, self._resident = self._resident, None
        if resident is not None:
            self._give_back(resident)
