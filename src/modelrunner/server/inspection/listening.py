"""Whoever hears of requests as they are stored, at a pace of their own."""

import asyncio

_MOST_UNREAD = 4000  # requests that a listener has not taken yet; so many may be stored together


class Listener:
    """The numbers of requests stored since it began to listen; `lost` counts those it was too slow for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[int] = asyncio.Queue(_MOST_UNREAD)
        self.lost = 0

    def offer(self, number: int) -> None:
        """Take one, or count it as lost."""
        try:
            self._queue.put_nowait(number)
        except asyncio.QueueFull:
            self.lost += 1

    async def next(self) -> int:
        """Wait for the next one."""
        return await self._queue.get()
