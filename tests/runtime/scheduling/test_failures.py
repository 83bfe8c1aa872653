"""What failures mean for the next try."""

from modelrunner.runtime.scheduling.failures import Failures, after


def fail(times: int, *, every: float = 1.0) -> Failures:
    failures: Failures | None = None
    for number in range(times):
        failures = after(failures, number * every, f"failure {number}")
    assert failures is not None
    return failures


def test_one_failure_means_nothing() -> None:
    """The next request tries at once."""
    assert 0.0 == fail(1).next_try
    assert fail(1).refused_until(0.0) is None


def test_the_third_try_comes_after_a_short_pause() -> None:
    """Requests wait for it."""
    assert 1.5 == fail(2).next_try
    assert fail(2).refused_until(1.0) is None


def test_after_three_requests_are_refused_for_longer_and_longer() -> None:
    """Up to five minutes, and with the last words."""
    assert [12.0, 23.0, 44.0] == [fail(times).next_try for times in (3, 4, 5)]
    assert 12.0 == fail(3).refused_until(11.9)
    assert fail(3).refused_until(12.0) is None
    assert 300.0 == fail(50).next_try - fail(50).last
    assert "failure 2" == fail(3).words


def test_what_ran_for_a_while_had_not_failed() -> None:
    """A crash after a minute of service counts as the first."""
    assert 1 == after(fail(5), 10.0, "crash", ran=60.0).count


def test_old_failures_are_forgotten() -> None:
    """After ten minutes."""
    assert 1 == fail(5, every=601.0).count
