"""What happened to the models in memory and why: the last few events, and whoever listens for the next ones.

Nothing here waits and nothing here decides. A listener that is too slow loses events and can see how many.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import count
from typing import Protocol

from modelrunner.runtime.scheduling.plan import Key, Reason, Why


class Kind(StrEnum):
    """What happened to a model, or to those who wait for it."""

    WAITING = "waiting"
    REFUSED = "refused"
    STARTING = "starting"
    READY = "ready"
    DOZING = "dozing"
    ASLEEP = "asleep"
    WAKING = "waking"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, and why.

    `at` is in seconds since the epoch. `detail` is for people: an error, say. `others` are the models that it
    has to do with: for whom one makes room, or for which somebody waits. `number` counts all events from 1.
    """

    kind: Kind
    key: Key
    reason: Reason | Why
    at: float
    detail: str = ""
    others: tuple[Key, ...] = ()
    number: int = field(default=0, compare=False)


class Subscription:
    """The events since the subscription began, for one listener. `lost` counts those it was too slow for."""

    def __init__(self, size: int) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(size)
        self.lost = 0

    def offer(self, event: Event) -> None:
        """Take an event, or count it as lost."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.lost += 1

    async def next(self) -> Event:
        """Wait for the next event."""
        return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            yield await self._queue.get()


class Attendant(Protocol):
    """Somebody who is told of each event at once, and is quick about it."""

    def offer(self, event: Event) -> None:
        """Take an event."""
        ...


class Events:
    """The ring of the last `capacity` events, oldest first, and its listeners."""

    def __init__(self, capacity: int = 1000) -> None:
        self._ring: deque[Event] = deque(maxlen=capacity)
        self._listeners: set[Attendant] = set()
        self._numbers = count(1)

    def emit(self, event: Event) -> None:
        """Number an event, keep it and pass it on."""
        event = replace(event, number=next(self._numbers))
        self._ring.append(event)
        for listener in self._listeners:
            listener.offer(event)

    def recent(self) -> tuple[Event, ...]:
        """Give what is remembered, oldest first."""
        return tuple(self._ring)

    def attend(self, attendant: Attendant) -> None:
        """Tell somebody of every event from now on."""
        self._listeners.add(attendant)

    @contextmanager
    def subscribe(self, size: int = 100) -> Iterator[Subscription]:
        """Listen for as long as the block lasts, with room for `size` events not yet read."""
        subscription = Subscription(size)
        self._listeners.add(subscription)
        try:
            yield subscription
        finally:
            self._listeners.discard(subscription)
