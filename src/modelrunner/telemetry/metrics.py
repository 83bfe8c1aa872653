"""Counters, gauges and histograms, and how they are written for Prometheus. Used by one thread.

Source: Prometheus documentation, "Exposition formats", text format 0.0.4, and "Metric and label naming".
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MOST_SERIES = 2000  # of a family; who asks for models that are not there makes no more than that
_OTHER = "other"

Labels = tuple[str, ...]


@dataclass(slots=True)
class Family:
    """Numbers of one kind, told apart by the values of their labels."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, amount: float, *labels: str) -> None:
        """Count up."""
        values = self.values
        if labels not in values and len(values) >= _MOST_SERIES:
            labels = (_OTHER,) * len(self.labels)
        values[labels] = values.get(labels, 0.0) + amount

    def set(self, values: Mapping[Labels, float]) -> None:
        """Replace all, as they are now."""
        self.values = dict(values)

    def lines(self) -> Iterable[str]:
        """Write them."""
        if self.values or not self.labels:
            yield from _head(self.name, self.kind, self.help)
        if not self.labels:
            yield f"{self.name} {_number(self.values.get((), 0.0))}\n"
            return
        for labels, value in self.values.items():
            yield f"{self.name}{_labelled(self.labels, labels)} {_number(value)}\n"


@dataclass(slots=True)
class Histogram:
    """How often a quantity was at most each of some bounds, told apart by the values of labels."""

    name: str
    help: str
    bounds: Sequence[float]
    labels: tuple[str, ...] = ()
    series: dict[Labels, tuple[list[int], list[float]]] = field(default_factory=dict)

    def observe(self, value: float, *labels: str) -> None:
        """Count a value."""
        found = self.series.get(labels)
        if found is None:
            if len(self.series) >= _MOST_SERIES:
                labels = (_OTHER,) * len(self.labels)
            found = self.series.setdefault(labels, ([0] * (len(self.bounds) + 1), [0.0]))
        counts, total = found
        counts[bisect_left(self.bounds, value)] += 1
        total[0] += value

    def lines(self) -> Iterable[str]:
        """Write them."""
        if self.series:
            yield from _head(self.name, "histogram", self.help)
        for labels, (counts, total) in self.series.items():
            running = 0
            for bound, number in zip((*map(_number, self.bounds), "+Inf"), counts, strict=True):
                running += number
                where = _labelled((*self.labels, "le"), (*labels, bound))
                yield f"{self.name}_bucket{where} {running}\n"
            where = _labelled(self.labels, labels)
            yield f"{self.name}_sum{where} {_number(total[0])}\n{self.name}_count{where} {running}\n"


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n"


def _labelled(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{','.join(pairs)}}}"


def escaped(value: str) -> str:
    """Write a value so that it may stand between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
