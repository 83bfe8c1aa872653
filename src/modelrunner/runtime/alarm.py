"""A call at a moment that moves: armed anew, it forgets the moment before."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is to come and can be taken back."""

    def cancel(self) -> None:
        """Take it back."""
        ...


Later = Callable[[float, Callable[[], None]], Timer]  # seconds from now, and what to call then


def later(delay: float, call: Callable[[], None]) -> Timer:
    """Call something on the running loop."""
    return asyncio.get_running_loop().call_later(delay, call)


class Alarm:
    """Rings at a moment of a clock; `at` is which, None for never."""

    def __init__(self, ring: Callable[[], None], *, clock: Callable[[], float], later: Later) -> None:
        self.at: float | None = None
        self._ring = ring
        self._clock = clock
        self._later = later
        self._timer: Timer | None = None

    def arm(self, at: float | None) -> None:
        """Ring then, and not when it was to ring before."""
        if at == self.at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.at = at
        if at is not None:
            self._timer = self._later(max(0.0, at - self._clock()), self._due)

    def _due(self) -> None:
        self._timer = self.at = None
        self._ring()
