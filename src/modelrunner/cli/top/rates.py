"""How many requests and tokens there are in a second, from counters that are read now and then. Pure."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from modelrunner.cli.top.meters import Meters

_KEPT = 300.0  # seconds
_WINDOW = 5.0  # seconds over which "now" is
_BARS = "▁▂▃▄▅▆▇█"


class _Step(NamedTuple):
    """What was counted between two moments."""

    since: float
    until: float
    requests: float
    tokens: float


class Rates:
    """Remembers the last minutes."""

    def __init__(self) -> None:
        self._before: Meters | None = None
        self._at = 0.0
        self._steps: deque[_Step] = deque()

    def take(self, now: float, meters: Meters) -> None:
        """Take the counters as they are now, in seconds of any clock that only goes forward."""
        if self._before is not None and now > self._at:
            requests = _grown(self._before.requests, meters.requests)
            self._steps.append(_Step(self._at, now, requests, _grown(self._before.tokens, meters.tokens)))
        while self._steps and self._steps[0].until < now - _KEPT:
            self._steps.popleft()
        self._before, self._at = meters, now

    def pause(self) -> None:
        """Forget the counters: nobody knows what happened until they are read again."""
        self._before = None

    def requests(self, now: float) -> float:
        """Requests per second, lately."""
        return sum(_share(step, now - _WINDOW, now) * step.requests for step in self._steps) / _WINDOW

    def tokens(self, now: float) -> float:
        """Tokens per second, lately."""
        return self._tokens(now - _WINDOW, now)

    def tokens_over_time(self, now: float, count: int, span: float) -> list[float]:
        """Tokens per second in each of the last `count` spans of `span` seconds, oldest first."""
        first = now - count * span
        return [self._tokens(first + place * span, first + (place + 1) * span) for place in range(count)]

    def _tokens(self, since: float, until: float) -> float:
        return sum(_share(step, since, until) * step.tokens for step in self._steps) / (until - since)


def sparkline(values: Sequence[float]) -> str:
    """Draw values as bars of text; the highest is as high as a line."""
    most = max(values, default=0.0)
    if most <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, round(value / most * (len(_BARS) - 1)))] for value in values)


def _grown(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """By how much counters went up; one that is lower than before began anew."""
    grown = 0.0
    for name, value in after.items():
        earlier = before.get(name, 0.0)
        grown += value - earlier if value >= earlier else value
    return grown


def _share(step: _Step, since: float, until: float) -> float:
    """Which part of a step lies between two moments."""
    return max(0.0, min(step.until, until) - max(step.since, since)) / (step.until - step.since)
