"""What a translator asks for the time, so that a test can say what time it is."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """`wall` is in seconds since the epoch; of `steady`, in seconds, only differences count."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic

    def timestamp(self) -> str:
        """The date and time, as RFC 3339 has it."""
        return f"{datetime.fromtimestamp(self.wall(), UTC).replace(tzinfo=None).isoformat()}Z"


CLOCK = Clock()
