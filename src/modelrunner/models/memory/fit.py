"""Whether a model fits into memory, and with how much context if not with all that was asked for. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

DEFAULT_CONTEXT = 8192  # tokens, of a model that was trained for more
SMALLEST_CONTEXT = 512  # tokens; with less there is no conversation
_STEP = 256  # tokens; engines round a context to it


@dataclass(frozen=True, slots=True)
class Fit:
    """Sizes are in bytes; `context` is in tokens, the largest up to the usual one that fits, if any does."""

    needed: int
    available: int
    context: int | None

    @property
    def fits(self) -> bool:
        """Whether it can be run at all."""
        return self.context is not None


def usual_context(trained: int | None) -> int:
    """The context that a model gets when nobody chose one, in tokens."""
    return min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def fit(needed_at: Callable[[int], int], *, trained: int | None, available: int) -> Fit:
    """Say whether a model fits into `available` bytes; `needed_at` gives what a context needs."""
    usual = usual_context(trained)
    needed = needed_at(usual)
    if needed <= available:
        return Fit(needed, available, usual)
    return Fit(needed, available, largest_context(needed_at, usual, available))


def largest_context(needed_at: Callable[[int], int], most: int, available: int) -> int | None:
    """The largest context below `most` tokens that fits; None when not even the smallest does.

    `needed_at` does not fall as the context grows.
    """
    low, high = SMALLEST_CONTEXT // _STEP, -(-most // _STEP)
    if low >= high or needed_at(low * _STEP) > available:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if needed_at(middle * _STEP) <= available:
            low = middle
        else:
            high = middle
    return low * _STEP
