"""Durations, sizes and ages as the clients print and send them."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelrunner.errors import InvalidRequest
from modelrunner.units import (
    format_age,
    format_bytes,
    format_duration,
    format_keep_alive,
    parse_bytes,
    parse_duration,
    parse_keep_alive,
)

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-1", -1.0),
        ("-1m", -60.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("30s", 30.0),
        ("24h", 86400.0),
        ("1h30m", 5400.0),
        ("300ms", 0.3),
        ("1.5s", 1.5),
        (".5m", 30.0),
        ("1.s", 1.0),
        ("+5m", 300.0),
        ("5m0s", 300.0),
        ("7us", 7e-6),
        ("7µs", 7e-6),
        ("7μs", 7e-6),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    """Numbers with units add up; only `0` and `-1` may stand without one."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "abc", "5", "-5", "1", "5 m", "m", "-", "--5m", "5m-", "5mm", "1h 30m", "٣m", "5M", "inf", "1e3s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The error shows the text and how to write one."""
    with pytest.raises(InvalidRequest, match="invalid duration") as caught:
        parse_duration(text)

    assert "`5m`" in (caught.value.hint or "")


def test_a_duration_that_no_clock_can_hold_is_refused() -> None:
    """More than 292 years does not fit into the nanoseconds that other readers count in."""
    with pytest.raises(InvalidRequest, match="invalid duration"):
        parse_duration("9" * 400 + "h")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (300, "5m0s"),
        (5400, "1h30m0s"),
        (86400, "24h0m0s"),
        (1.5, "1.5s"),
        (90.25, "1m30.25s"),
        (0.3, "300ms"),
        (0.0015, "1.5ms"),
        (0.000002, "2µs"),
        (0.00000001, "10ns"),
        (-60, "-1m0s"),
        (-0.3, "-300ms"),
        (0.9999999999, "1s"),
        (59.9999999999, "1m0s"),
        (0.0000000001, "0s"),
    ],
)
def test_a_duration_is_printed_as_go_does(seconds: float, text: str) -> None:
    """From hours down to nanoseconds, without zeros that say nothing."""
    assert text == format_duration(seconds)


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_a_printed_duration_reads_back(seconds: float) -> None:
    """What we print, we can read."""
    assert math.isclose(seconds, parse_duration(format_duration(seconds)), rel_tol=1e-6, abs_tol=1e-9)


@given(st.text())
@example("1" * 30 + "P")
@example("9" * 400)
def test_any_text_is_a_value_or_refused(text: str) -> None:
    """No text makes the parsers fail in another way than by refusing it."""
    for parse in (parse_duration, parse_bytes):
        try:
            value = parse(text)
        except InvalidRequest:
            continue
        assert math.isfinite(value)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("500", 500),
        ("500B", 500),
        ("500MB", 500_000_000),
        ("4.4GB", 4_400_000_000),
        ("4GiB", 4 << 30),
        ("1.5 kB", 1500),
        ("1KiB", 1024),
        ("2T", 2 * 10**12),
        (" 100 MB ", 100_000_000),
    ],
)
def test_a_size_is_read_in_bytes(text: str, count: int) -> None:
    """Prefixes count in thousands, with an `i` in 1024s."""
    assert count == parse_bytes(text)


@pytest.mark.parametrize("text", ["", "MB", "-1", "1.2.3MB", "5iB", "five", "5 M B", "٣MB", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The error shows the text."""
    with pytest.raises(InvalidRequest, match="invalid size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.00B"),
        (500, "500.00B"),
        (999, "999.00B"),
        (1500, "1.50kB"),
        (12_340_000, "12.34MB"),
        (4_300_000_000, "4.30GB"),
        (98_362_432, "98.36MB"),
        (10**18, "1.00EB"),
        (10**24, "1.00YB"),
        (10**28, "10000.00YB"),
    ],
)
def test_a_size_is_printed_in_decimal_units(count: int, text: str) -> None:
    """Two decimals and no space."""
    assert text == format_bytes(count)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (2 * MINUTE, "2 minutes"),
        (59 * MINUTE + 59, "59 minutes"),
        (HOUR, "About an hour"),
        (1.49 * HOUR, "About an hour"),
        (1.5 * HOUR, "2 hours"),
        (2.5 * HOUR, "3 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (21 * DAY, "3 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (17 * 30 * DAY, "17 months"),
        (729 * DAY, "24 months"),
        (730 * DAY - 60, "2 years"),
        (730 * DAY, "2 years"),
        (1200 * DAY, "3 years"),
    ],
)
def test_an_age_is_told_in_words(seconds: float, text: str) -> None:
    """The steps of Docker's tables."""
    assert text == format_age(seconds)


@pytest.mark.parametrize(
    ("text", "seconds", "printed"),
    [
        ("0", 0.0, "0s"),
        ("-1", None, "-1"),
        ("-1m", None, "-1"),
        ("5m", 300.0, "5m0s"),
        ("1h30m", 5400.0, "1h30m0s"),
        ("30s", 30.0, "30s"),
        ("24h", 86400.0, "24h0m0s"),
    ],
)
def test_keep_alive_is_a_duration_or_for_ever(text: str, seconds: float | None, printed: str) -> None:
    """Zero is at once, anything negative for ever; it is printed in the canonical form."""
    keep_alive = parse_keep_alive(text)

    assert seconds == keep_alive
    assert printed == format_keep_alive(keep_alive)


@pytest.mark.parametrize("text", ["", "abc", "5"])
def test_other_texts_are_no_keep_alive(text: str) -> None:
    """What cannot be read is an error."""
    with pytest.raises(InvalidRequest):
        parse_keep_alive(text)
