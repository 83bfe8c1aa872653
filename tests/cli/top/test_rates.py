"""Rates from counters."""

import pytest

from modelrunner.cli.top.meters import Meters
from modelrunner.cli.top.rates import Rates, sparkline


def _meters(requests: float, **tokens: float) -> Meters:
    return Meters({"all": requests}, tokens)


def test_what_was_counted_before_the_first_look_is_no_rate() -> None:
    """A daemon may have run for days."""
    rates = Rates()
    rates.take(0, _meters(1000, a=50_000))

    assert (rates.requests(1), rates.tokens(1)) == (0, 0)


def test_rates_are_of_the_last_seconds() -> None:
    """Of all models together."""
    rates = Rates()
    for second in range(11):
        rates.take(second, _meters(second * 2, a=second * 30, b=second * 10))

    assert rates.requests(10) == pytest.approx(2)
    assert rates.tokens(10) == pytest.approx(40)
    assert rates.tokens(20) == 0


def test_a_counter_that_begins_anew_is_counted_from_nothing() -> None:
    """A model was loaded again, or another one appears, or the daemon is another."""
    rates = Rates()
    rates.take(0, _meters(0, a=100))
    rates.take(1, _meters(0, a=10))
    rates.take(2, _meters(0, a=10, b=5))
    rates.take(3, _meters(0, b=5))

    assert rates.tokens(3) == pytest.approx(15 / 5)


def test_a_time_without_answers_is_no_rate() -> None:
    """Counters are read anew when the daemon is there again."""
    rates = Rates()
    rates.take(0, _meters(0, a=0))
    rates.pause()
    rates.take(1, _meters(0, a=9000))

    assert rates.tokens(1) == 0


def test_tokens_are_told_over_time() -> None:
    """A look that came late is spread over the time since the one before."""
    rates = Rates()
    rates.take(0, _meters(0, a=0))
    rates.take(4, _meters(0, a=40))
    rates.take(6, _meters(0, a=40))

    assert rates.tokens_over_time(6, 4, 2) == pytest.approx([0, 10, 10, 0])


@pytest.mark.parametrize(
    ("values", "expected"), [([], ""), ([0, 0], "▁▁"), ([0, 5, 10], "▁▅█"), ([1e9], "█")]
)
def test_bars_are_as_high_as_the_highest(values: list[float], expected: str) -> None:
    """Which fills the line."""
    assert expected == sparkline(values)
