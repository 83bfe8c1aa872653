"""What is remembered of a model that comes and goes: its uses, what loading it costs, how it failed.

From that follows what losing it would cost, and for how long it stays at least. Pure; times in seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from modelrunner.runtime.scheduling.failures import Failures
from modelrunner.runtime.scheduling.plan import Key

HALF_LIFE = 300.0  # after which a use counts half: what is used now matters, more than what ever was
LONGEST_STAY = 10.0
_STAYS_FOR = 0.25  # of the time that loading took
_RETURNS_WITHIN = 60.0  # an eviction that is undone so soon is a swap
_MOST = 1024


@dataclass(slots=True)
class History:
    """Of one key. `uses` decays from `as_of` on; `load_time` is of the last load that succeeded."""

    uses: float = 0.0
    as_of: float = 0.0
    load_time: float = 1.0
    evicted_at: float = float("-inf")
    returned: bool = False  # it came back soon after it had to make room
    failures: Failures | None = None
    sleepless: bool = False  # it could not be put to sleep, or not be woken

    def use(self, count: int, now: float) -> None:
        """Count some uses."""
        self.uses = self.uses_at(now) + count
        self.as_of = now

    def uses_at(self, now: float) -> float:
        """How many uses, of which the older count less."""
        return float(self.uses * 0.5 ** ((now - self.as_of) / HALF_LIFE)) if self.uses else 0.0

    def loads(self, now: float) -> None:
        """Note that it is being loaded."""
        self.returned = now - self.evicted_at < _RETURNS_WITHIN

    def stay(self) -> float:
        """How long it stays at least once it is ready: a part of what loading took, if it is one that swaps.

        So that of two models that are asked for in turn each serves for a while. Longer would hurt more than
        it helps: in simulated traces a whole load time made the longest waits a tenth longer.
        """
        return min(self.load_time * _STAYS_FOR, LONGEST_STAY) if self.returned else 0.0

    def worth(self, now: float) -> float:
        """What losing it is likely to cost: the seconds to load it again, by how much it is used.

        Its size does not matter here: whether it makes enough room is another question.
        """
        return self.uses_at(now) * self.load_time


class Judge(NamedTuple):
    """How the worth of models is judged, and how long what swaps stays at least."""

    worth: Callable[[History, float], float]
    stay: Callable[[History], float]


BY_VALUE = Judge(History.worth, History.stay)
# To compare with: all are worth the same, so that who was used last is the last to go.
LEAST_RECENTLY_USED = Judge(lambda _history, _now: 0.0, lambda _history: 0.0)


class Histories:
    """Of all keys that were asked for lately."""

    def __init__(self) -> None:
        self._all: dict[Key, History] = {}

    def of(self, key: Key) -> History:
        """What is remembered of a key."""
        history = self._all.get(key)
        if history is None:
            if len(self._all) >= _MOST:
                del self._all[min(self._all, key=lambda each: self._all[each].as_of)]
            history = self._all[key] = History()
        return history

    def keys(self) -> tuple[Key, ...]:
        """Who is remembered."""
        return tuple(self._all)
