"""How a benchmark says what it found: a figure with its spread, beside the target that it has to reach."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def lower_quartile(values: Sequence[float]) -> float:
    """What a quarter of the rounds kept: for delays, which other programs on the machine only make longer."""
    return statistics.quantiles(values, n=4, method="inclusive")[0]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity over several rounds of one run, and the bound that it has to keep.

    What counts of the rounds is their median, unless the figure's name says otherwise.
    """

    name: str
    values: tuple[float, ...]
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    of_rounds: Callable[[Sequence[float]], float] = statistics.median

    @property
    def value(self) -> float:
        """What counts of all rounds."""
        return self.of_rounds(self.values)

    @property
    def reached(self) -> bool:
        """Whether the value keeps the bound."""
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def line(self) -> str:
        """The figure as one line of a table."""
        bound = ""
        if self.at_most is not None:
            bound = f"<= {self.at_most:g}"
        if self.at_least is not None:
            bound = f">= {self.at_least:g}"
        mark = "" if not bound else "reached" if self.reached else "MISSED"
        spread = f"{min(self.values):.2f} .. {max(self.values):.2f}"
        return f"  {self.name:<56} {self.value:>10.2f} {self.unit:<6} {spread:<22} {bound:<10} {mark}"


def show(title: str, figures: Sequence[Figure]) -> bool:
    """Print a table of figures; tell whether each bound was kept."""
    print(f"\n{title}")
    print(f"  {'':<56} {'median':>10} {'':<6} {'min .. max':<22} {'target':<10}")
    for figure in figures:
        print(figure.line(), flush=True)
    return all(figure.reached for figure in figures)
