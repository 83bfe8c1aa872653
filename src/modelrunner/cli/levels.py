"""What a benchmark of a model found: one level of concurrency each, and how that is told. Pure values."""

from collections.abc import Sequence
from typing import NamedTuple

from modelrunner.cli.output import table
from modelrunner.units import format_duration

_TITLES = ("Concurrency", "Tokens/sec", "Rel. Speed", "Requests/sec", "Total Tokens", "Latency p50", "p95")
_NANO = 1_000_000_000


class Request(NamedTuple):
    """One request that was answered: how many tokens came, within how many seconds."""

    tokens: int
    seconds: float


class Level(NamedTuple):
    """All requests at one level of concurrency; `seconds` is from the first to the last moment."""

    concurrency: int
    seconds: float
    requests: Sequence[Request]
    failed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of all answers."""
        return sum(request.tokens for request in self.requests)

    @property
    def speed(self) -> float:
        """Tokens per second, of all answers together."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.requests) / self.seconds if self.seconds else 0.0

    def latency(self, share: float) -> float:
        """The seconds within which that share of the requests was answered."""
        ordered = sorted(request.seconds for request in self.requests)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def describe(level: Level) -> str:
    """Tell one level, once it is over."""
    return (
        f"  Tokens per second: {level.speed:.2f} TPS\n"
        f"  Requests per second: {level.rate:.2f}\n"
        f"  Total tokens: {level.tokens}\n"
        f"  Total requests: {len(level.requests)}\n"
        + (f"  Failed requests: {level.failed}\n" if level.failed else "")
        + f"  Total time: {format_duration(round(level.seconds, 2))}\n"
    )


def compare(levels: Sequence[Level]) -> str:
    """Tell all levels, beside the first of them."""
    best = max(levels, key=lambda level: level.speed)
    lines = "".join(
        f"  Concurrency {level.concurrency}: {level.speed:.2f} tokens/sec "
        f"(rel. speed: {_relative(level, levels):.2f}x){' fastest' if level is best else ''}\n"
        for level in levels
    )
    return (
        f"Benchmark #1: Tokens per Second at Different Concurrency Levels\n{lines}\n"
        "Summary:\n"
        f"  Max Tokens/sec: {best.speed:.2f}\n"
        f"  Best concurrency: {best.concurrency}\n"
        f"  Improvement from {levels[0].concurrency}: {_relative(best, levels):.2f}x\n\n"
        f"Detailed Results:\n{table(_TITLES, (_row(level, levels) for level in levels))}"
    )


def document(model: str, prompt: str, levels: Sequence[Level]) -> dict[str, object]:
    """All levels as JSON has them; times are in nanoseconds."""
    results = [
        {
            "Concurrency": level.concurrency,
            "MeanRPS": level.rate,
            "TotalTokens": level.tokens,
            "TPS": level.speed,
            "TotalTime": round(level.seconds * _NANO),
            "Requests": len(level.requests),
            "TokenCounts": [request.tokens for request in level.requests],
            "Failed": level.failed,
            "LatencyP50": round(level.latency(0.5) * _NANO),
            "LatencyP95": round(level.latency(0.95) * _NANO),
        }
        for level in levels
    ]
    return {"model": model, "prompt": prompt, "results": results}


def _relative(level: Level, levels: Sequence[Level]) -> float:
    return level.speed / levels[0].speed if levels[0].speed else 0.0


def _row(level: Level, levels: Sequence[Level]) -> Sequence[str]:
    return (
        str(level.concurrency),
        f"{level.speed:.2f}",
        f"{_relative(level, levels):.2f}x",
        f"{level.rate:.2f}",
        str(level.tokens),
        f"{level.latency(0.5):.2f}s",
        f"{level.latency(0.95):.2f}s",
    )
