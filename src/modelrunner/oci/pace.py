"""A limit on how fast bytes come in, shared by all who are given the same one."""

import asyncio
import time
from collections.abc import Awaitable, Callable

_BURST = 0.25  # seconds of the limit that may come at once


class Pace:
    """Lets so many bytes through per second; None for as many as there are."""

    def __init__(
        self,
        limit: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()  # when everything that was let through will have been paid for

    async def spend(self, count: int) -> None:
        """Wait until `count` more bytes fit into the limit; those who wait are served in turn."""
        if self._limit is None:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now - _BURST) + count / self._limit
        if self._free_at > now:
            await self._sleep(self._free_at - now)


UNLIMITED = Pace()
