"""What answers took."""

import pytest

from modelrunner.cli.chat.statistics import Measured, Statistics, Watch, seconds
from modelrunner.client import Piece, Usage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_timed() -> None:
    """From the request to the first token, and on; without the engine's word the pace is ours."""
    clock = Clock()
    watch = Watch(clock)
    for step, piece in ((2.0, Piece("a")), (0.5, Piece("b")), (0.5, Piece(reasoning="c"))):
        clock.now += step
        watch.see(piece)
    watch.see(Piece(usage=Usage(10, 3, 13)))

    assert watch.result() == Measured(Usage(10, 3, 13), 2.0, 3.0, 2.0)


def test_the_engine_s_speed_counts_more() -> None:
    """It knows better than what arrives."""
    watch = Watch(Clock())
    watch.see(Piece("a"))
    watch.see(Piece(speed=42.0))

    assert watch.result().speed == 42.0


def test_an_answer_of_nothing_has_no_speed() -> None:
    """Nor does it divide by nothing."""
    assert Watch(Clock()).result() == Measured(None, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, "smollm2 · 1,024 of 4,096 tokens, 25 % · 48 tokens/s · web search on"),
        (60, "smollm2 · 1,024 of 4,096 tokens, 25 % · 48 tokens/s"),
        (40, "smollm2 · 1,024 of 4,096 tokens, 25 %"),
        (20, "smollm2"),
        (5, "smol…"),
    ],
)
def test_the_status_says_what_fits(width: int, expected: str) -> None:
    """The most important first."""
    statistics = Statistics()
    statistics.context = 4096
    statistics.add(Measured(Usage(1000, 24, 1024), 0.1, 1.0, 48.2))

    assert expected == statistics.status("smollm2", width, "web search on")


def test_the_report_sums_up() -> None:
    """The last answer, and all of them."""
    statistics = Statistics()
    statistics.context = 4096
    statistics.add(Measured(Usage(10, 20, 30), 0.1, 1.0, 0.0))
    statistics.add(Measured(Usage(40, 1000, 1040), 0.25, 75.0, 48.25))

    assert statistics.report().splitlines() == [
        "  answers            2",
        "  last answer        40 + 1,000 tokens",
        "  first token after  0.2 s",
        "  whole answer       1 min 15 s",
        "  speed              48.2 tokens/s",
        "  all answers        50 + 1,020 tokens",
        "  context            1,040 of 4,096 tokens (25 %)",
    ]


@pytest.mark.parametrize(
    ("number", "expected"), [(0.44, "0.4 s"), (9.94, "9.9 s"), (12.4, "12 s"), (125, "2 min 5 s")]
)
def test_times_are_rounded(number: float, expected: str) -> None:
    """As people read them."""
    assert expected == seconds(number)
