"""How a benchmark says what it found: a figure with its spread, beside the target that it has to reach."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity over several rounds of one run, and the bound that its median has to keep."""

    name: str
    values: tuple[float, ...]
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """The middle of all rounds."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool:
        """Whether the median keeps the bound."""
        low = self.at_least is None or self.median >= self.at_least
        return low and (self.at_most is None or self.median <= self.at_most)

    def line(self) -> str:
        """The figure as one line of a table."""
        bound = ""
        if self.at_most is not None:
            bound = f"<= {self.at_most:g}"
        if self.at_least is not None:
            bound = f">= {self.at_least:g}"
        mark = "" if not bound else "reached" if self.reached else "MISSED"
        spread = f"{min(self.values):.2f} .. {max(self.values):.2f}"
        return f"  {self.name:<56} {self.median:>10.2f} {self.unit:<6} {spread:<22} {bound:<10} {mark}"


def show(title: str, figures: Sequence[Figure]) -> bool:
    """Print a table of figures; tell whether each bound was kept."""
    print(f"\n{title}")
    print(f"  {'':<56} {'median':>10} {'':<6} {'min .. max':<22} {'target':<10}")
    for figure in figures:
        print(figure.line(), flush=True)
    return all(figure.reached for figure in figures)
