"""The events of one response in order, for readers that come at any time and may begin in the middle."""

import asyncio
from collections.abc import AsyncGenerator

_END = b"\n\n"  # of an event


class EventLog:
    """Written by one, read by any number; event number `i` has the sequence number `i`."""

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self._is_over = False
        self._news = asyncio.Event()

    @property
    def data(self) -> bytes:
        """All that was written."""
        return b"".join(self._events)

    def write(self, piece: bytes) -> None:
        """Add whole events."""
        self._events += split(piece)
        self._tell()

    def close(self) -> None:
        """Note that no more will come."""
        self._is_over = True
        self._tell()

    async def read(self, after: int) -> AsyncGenerator[bytes, None]:
        """Give the events behind number `after`, those that are there together, then each as it comes."""
        place = after + 1
        while True:
            news = self._news
            found = self._events[place:]
            if found:
                place += len(found)
                yield b"".join(found)
            elif self._is_over:
                return
            else:
                await news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def split(data: bytes) -> list[bytes]:
    """Take events apart that were joined; their data is JSON, which has no line ends."""
    return [event + _END for event in data.split(_END)[:-1]]
