"""What models that somebody waits for need of memory: found out once for each, by a task of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from modelrunner.runtime.scheduling.ledger import ONE_PLACE, Amounts
from modelrunner.runtime.scheduling.plan import Key


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What loading a model takes, in bytes by device, and what to tell somebody if there is not enough.

    `parts` says, for people, what that consists of, in bytes by the name of the part. `asleep` is what it
    holds while it sleeps; None when it cannot.
    """

    amounts: Amounts
    advice: str | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    asleep: Amounts | None = None

    @property
    def with_place(self) -> Amounts:
        """The same with the place that every model takes."""
        return {**self.amounts, **ONE_PLACE}


NOTHING = MemoryNeed({})


async def nothing_needed(_key: Key) -> MemoryNeed:
    """Say of every model that it needs no memory."""
    return NOTHING


class MemoryNeeds:
    """Finds out what models need. `told` hears the outcome, unless it was forgotten meanwhile."""

    def __init__(
        self,
        estimate: Callable[[Key], Awaitable[MemoryNeed]],
        told: Callable[[Key, MemoryNeed | Exception], None],
    ) -> None:
        self.estimate = estimate
        self._told = told
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._advice: dict[Key, str | None] = {}

    def find(self, key: Key) -> None:
        """Find out what a model needs, in a task."""
        self._tasks[key] = asyncio.create_task(self._find(key), name=f"estimate {key}")

    def forget(self, key: Key) -> None:
        """Want to know no more: what is found out would be of another configuration."""
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    def advice(self, key: Key) -> str | None:
        """What to do if there is too little memory for a model that was estimated."""
        return self._advice.get(key)

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """What is being found out."""
        return tuple(self._tasks.values())

    async def _find(self, key: Key) -> None:
        outcome: MemoryNeed | Exception
        try:
            outcome = need = await self.estimate(key)
            self._advice[key] = need.advice
        except Exception as exc:  # noqa: BLE001 - the top of a task; everyone who waits is told
            outcome = exc
        if self._tasks.get(key) is asyncio.current_task():
            del self._tasks[key]
            self._told(key, outcome)
