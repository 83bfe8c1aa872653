"""What a model's failures mean for the next try: a pause that grows, then a time in which nobody tries. Pure.

One failure means nothing: the next request tries at once. After several in a row requests are answered with
the engine's own words instead of waiting for the same end again. Times are in seconds.
"""

from dataclasses import dataclass

TRIPS_AT = 3  # failures in a row after which requests are refused for a while
STEADY = 30.0  # a process that ran for so long had not failed to start; what comes then counts anew
_FORGOTTEN = 600.0
_FIRST_PAUSE = 0.5  # before the third try
_FIRST_BREAK = 10.0
_LONGEST_BREAK = 300.0


@dataclass(frozen=True, slots=True)
class Failures:
    """How often in a row, when last, and what the engine said then."""

    count: int
    last: float
    words: str

    @property
    def next_try(self) -> float:
        """When it may be started again."""
        if self.count < 2:
            return self.last
        if self.count < TRIPS_AT:
            return self.last + _FIRST_PAUSE
        return self.last + min(_LONGEST_BREAK, _FIRST_BREAK * 2.0 ** min(self.count - TRIPS_AT, 16))

    def refused_until(self, now: float) -> float | None:
        """Until when requests are refused, if they are."""
        until = self.next_try
        return until if self.count >= TRIPS_AT and now < until else None


def after(before: Failures | None, now: float, words: str, *, ran: float = 0.0) -> Failures:
    """Count one more failure, of a process that had been ready for `ran` seconds."""
    counts_anew = before is None or ran >= STEADY or now - before.last > _FORGOTTEN
    return Failures(1 if before is None or counts_anew else before.count + 1, now, words)
