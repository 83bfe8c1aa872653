"""The line of requests that wait for a model: who waits for what, since when, and who came first."""

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Generic

from modelrunner.runtime.lease import Lease, R
from modelrunner.runtime.policy import Key, Waiting


class Waiter(Generic[R]):
    """One request in line. Its future gets a lease, or the error that there will be none."""

    __slots__ = ("future", "key", "number", "since")

    def __init__(self, key: Key, since: float, number: int) -> None:
        self.key = key
        self.since = since
        self.number = number
        self.future: asyncio.Future[Lease[R]] = asyncio.get_running_loop().create_future()


class Line(Generic[R]):
    """All waiters, by key, in the order in which they came."""

    def __init__(self) -> None:
        self._waiters: dict[Key, deque[Waiter[R]]] = {}  # never an empty one
        self._length = 0
        self._numbers = count()

    def __len__(self) -> int:
        return self._length

    def __contains__(self, key: Key) -> bool:
        return key in self._waiters

    def join(self, key: Key, now: float) -> Waiter[R]:
        """Go to the end of the line."""
        waiter: Waiter[R] = Waiter(key, now, next(self._numbers))
        self._waiters.setdefault(key, deque()).append(waiter)
        self._length += 1
        return waiter

    def leave(self, waiter: Waiter[R]) -> None:
        """Leave the line, and give back a lease that came too late."""
        future = waiter.future
        # Asking for the exception also tells the loop that somebody has seen it.
        if future.done() and not future.cancelled() and future.exception() is None:
            future.result().release()
        same = self._waiters.get(waiter.key)
        if same is None or waiter not in same:
            return
        same.remove(waiter)
        self._length -= 1
        if not same:
            del self._waiters[waiter.key]

    def take(self, key: Key) -> Iterator[Waiter[R]]:
        """Empty the line of a key, skipping those who are just leaving."""
        same = self._waiters.pop(key, deque())
        self._length -= len(same)
        return (waiter for waiter in same if not waiter.future.done())

    def take_all(self) -> list[Waiter[R]]:
        """Empty the whole line."""
        return [waiter for key in tuple(self._waiters) for waiter in self.take(key)]

    def order(self) -> list[Waiting]:
        """The line as the policy wants it: each key once, the longest waiting first."""
        heads = sorted((same[0] for same in self._waiters.values()), key=lambda waiter: waiter.number)
        return [Waiting(waiter.key, waiter.since) for waiter in heads]
