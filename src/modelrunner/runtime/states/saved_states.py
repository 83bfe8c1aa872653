"""Which saved state of a prompt is worth restoring, which to save, and which to give up. Pure.

Counts are tokens unless they are said to be bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from modelrunner.engines.states import Slot, Tokens

WORTHWHILE = 128
"""Fewer tokens than these are computed again about as quickly as a file is found and read."""
_SHARE = 0.1  # of a state that a prompt has to use: reading is that much cheaper than computing, or more
_HELD = 0.5  # of the tokens expected to be cached, from which on a restored state was of use
_MOST_MISSES = 2  # in a row, after which an engine's states are believed to be of no use


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved state: the name of its file, and the tokens that it is of."""

    file: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Kept:
    """A file among all that are kept: `size` in bytes, `used` in seconds since the epoch."""

    path: str
    size: int
    used: float


def best(saved: Iterable[Saved], prompt: Tokens) -> tuple[Saved, int] | None:
    """Choose the state that spares the most, and say how many tokens; None when none spares enough."""
    found = ((state, common(state.tokens, prompt)) for state in saved)
    worth = [
        (state, count)
        for state, count in found
        if count >= WORTHWHILE and count >= _SHARE * len(state.tokens)
    ]
    return max(worth, key=lambda pair: (pair[1], -len(pair[0].tokens)), default=None)


def common(left: Tokens, right: Tokens) -> int:
    """Count the tokens with which both begin."""
    low, high = 0, min(len(left), len(right))
    while low < high:  # whole slices are compared in C
        middle = (low + high + 1) // 2
        if list(left[low:middle]) == list(right[low:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def worth_saving(slots: Iterable[Slot]) -> Iterator[Slot]:
    """Name the slots to save, those with the most tokens first; a busy one is still changing."""
    idle = (slot for slot in slots if not slot.busy and slot.tokens >= WORTHWHILE)
    return iter(sorted(idle, key=attrgetter("tokens"), reverse=True))


def free(slots: Iterable[Slot]) -> Slot | None:
    """Choose the slot to restore into: idle, and with the least that would be lost."""
    return min((slot for slot in slots if not slot.busy), key=attrgetter("tokens"), default=None)


def covered(saved: Iterable[Saved], new: Saved) -> list[Saved]:
    """Name the states that a new one makes needless: it begins with all of theirs."""
    return [
        old for old in saved if old.file != new.file and common(old.tokens, new.tokens) == len(old.tokens)
    ]


def surplus(kept: Sequence[Kept], limit: int) -> list[Kept]:
    """Name what has to go for the rest to take at most `limit` bytes: what was used longest ago."""
    total = sum(entry.size for entry in kept)
    gone: list[Kept] = []
    for entry in sorted(kept, key=attrgetter("used", "path")):
        if total <= limit:
            break
        gone.append(entry)
        total -= entry.size
    return gone


def held(cached: int, expected: int) -> bool:
    """Whether the engine's own count says that a restored state was used."""
    return cached >= _HELD * expected


def hopeless(misses: int) -> bool:
    """Whether to stop: so many restored states in a row were of no use."""
    return misses >= _MOST_MISSES
