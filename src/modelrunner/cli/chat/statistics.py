"""What answers took: tokens, speed, and how much of the context is used. Pure."""

from collections.abc import Callable
from typing import NamedTuple

from modelrunner.cli.cells import fitting
from modelrunner.client import Piece, Usage


class Measured(NamedTuple):
    """One answer. Times are in seconds; `speed` is in tokens per second, 0 when it cannot be told."""

    usage: Usage | None
    first: float
    total: float
    speed: float


class Watch:
    """Looks at the pieces of one answer as they pass."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells seconds; the request is sent now."""
        self._clock = clock
        self._started = clock()
        self._first: float | None = None
        self._usage: Usage | None = None
        self._speed = 0.0
        self.pieces = 0

    def see(self, piece: Piece) -> None:
        """Take one piece into account."""
        if piece.content or piece.reasoning:
            self.pieces += 1
            if self._first is None:
                self._first = self._clock()
        self._usage = piece.usage or self._usage
        self._speed = piece.speed or self._speed

    @property
    def elapsed(self) -> float:
        """Seconds since the request was sent."""
        return self._clock() - self._started

    @property
    def rate(self) -> float:
        """Pieces per second so far, which are tokens, or nearly; 0 before the second one."""
        if self._first is None or self.pieces < 2:
            return 0.0
        return (self.pieces - 1) / max(self._clock() - self._first, 1e-6)

    def result(self) -> Measured:
        """Sum up; the engine's own speed counts more than ours, which has the way here in it."""
        first = self._first if self._first is not None else self._clock()
        return Measured(self._usage, first - self._started, self.elapsed, self._speed or self.rate)


class Statistics:
    """A chat's answers together."""

    def __init__(self) -> None:
        self.last: Measured | None = None
        self.context: int | None = None
        self.answers = self.prompt = self.completion = 0

    def add(self, measured: Measured) -> None:
        """Count an answer."""
        self.last = measured
        self.answers += 1
        if measured.usage:
            self.prompt += measured.usage.prompt
            self.completion += measured.usage.completion

    def forget(self) -> None:
        """The conversation begins anew, so nothing of the context is used."""
        self.last = None

    @property
    def used(self) -> int:
        """Tokens of the context that the conversation takes, as far as its last answer told."""
        return self.last.usage.total if self.last and self.last.usage else 0

    def status(self, model: str, width: int, notes: str = "") -> str:
        """One line about the chat: the longest form that fits into so many columns."""
        return fitting([model, *self._facts(), *([notes] if notes else [])], width)

    def report(self) -> str:
        """Everything, a line for each."""
        last = self.last
        rows = [("answers", f"{self.answers}")]
        if last and last.usage:
            rows.append(("last answer", f"{last.usage.prompt:,} + {last.usage.completion:,} tokens"))
        if last:
            rows.append(("first token after", seconds(last.first)))
            rows.append(("whole answer", seconds(last.total)))
        if last and last.speed:
            rows.append(("speed", f"{last.speed:.1f} tokens/s"))
        rows.append(("all answers", f"{self.prompt:,} + {self.completion:,} tokens"))
        if self.context:
            part = 100 * self.used / self.context
            rows.append(("context", f"{self.used:,} of {self.context:,} tokens ({part:.0f} %)"))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)

    def _facts(self) -> list[str]:
        facts = []
        if self.context and self.used:
            part = 100 * self.used / self.context
            facts.append(f"{self.used:,} of {self.context:,} tokens, {part:.0f} %")
        elif self.used:
            facts.append(f"{self.used:,} tokens")
        if self.last and self.last.speed:
            facts.append(f"{self.last.speed:.0f} tokens/s")
        return facts


def seconds(number: float) -> str:
    """Print a short time as people read it: `0.4 s`, `12 s`, `2 min 5 s`."""
    if number < 10:
        return f"{number:.1f} s"
    if number < 60:
        return f"{number:.0f} s"
    return f"{int(number) // 60} min {int(number) % 60} s"
