from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.oci.retry import RetryPolicy, parse_retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(("failures", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (5000, 30.0)])
def test_delays_double_up_to_the_longest(failures: int, delay: float) -> None:
    """Without chance the delays are 0.5, 1, 2, ... seconds."""
    assert RetryPolicy().delay(failures, draw=0.0) == delay


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_chance_shortens_a_delay_by_half_at_most(failures: int, draw: float) -> None:
    """Jitter takes from a delay, and leaves something of it."""
    policy = RetryPolicy()
    full = policy.delay(failures, draw=0.0)

    assert full / 2 <= policy.delay(failures, draw) <= full


@pytest.mark.parametrize(
    ("status", "failures", "delay"),
    [
        (503, 1, 0.5),
        (429, 2, 1.0),
        (500, 4, 4.0),
        (503, 5, None),
        (200, 1, None),
        (401, 1, None),
        (404, 1, None),
        (501, 1, None),
    ],
)
def test_only_passing_troubles_are_worth_another_try(status: int, failures: int, delay: float | None) -> None:
    """The table of statuses, up to five tries."""
    assert RetryPolicy().after_status(status, failures, 0.0) == delay


@pytest.mark.parametrize(("wish", "delay"), [(0.0, 0.0), (7.0, 7.0), (120.0, 120.0), (3600.0, None)])
def test_the_wish_of_a_registry_counts_unless_it_is_too_long(wish: float, delay: float | None) -> None:
    """`Retry-After` replaces our own delay; nobody waits for an hour."""
    assert RetryPolicy().after_status(429, 1, 0.0, wish) == delay


def test_nobody_comes_back_before_the_wished_moment() -> None:
    """Chance only adds to what the registry asked for."""
    delay = RetryPolicy().after_status(429, 1, 0.9, 7.0)

    assert delay is not None
    assert delay > 7.0


def test_a_refused_connection_is_tried_less_often_than_a_broken_body() -> None:
    """A wrong host stays wrong; a body that moved will move again."""
    policy = RetryPolicy()

    assert [policy.after_refusal(failures, 0.0) is None for failures in (2, 3)] == [False, True]
    assert [policy.after_cut(failures, 0.0) is None for failures in (4, 5)] == [False, True]
    assert [policy.after_break(failures, 0.0) is None for failures in (8, 9)] == [False, True]


def test_a_transfer_outlives_a_router_that_starts_again() -> None:
    """Its tries take a minute and more, unless chance is against it, and then three quarters of one."""
    policy = RetryPolicy()
    waits = [[policy.after_break(failures, draw) or 0.0 for failures in range(1, 9)] for draw in (0.0, 1.0)]

    assert [sum(each) for each in waits] == [91.5, 45.75]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("-3", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """What makes no sense is as if it were absent."""
    assert parse_retry_after(value, NOW) == seconds
