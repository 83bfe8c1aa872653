"""Durations and sizes as people write them; parsing and printing, nothing else."""

import math
import re

from modelrunner.errors import InvalidRequest

# The micro sign and the Greek letter look alike, and people have keys for either.
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h)")
LONGEST = 2**63 / 1e9  # seconds; what other readers keep as nanoseconds in 64 bits
_BYTES = re.compile(r"\s*([0-9]{1,24}(?:\.[0-9]+)?)\s*(?:([kKMGTP])(i?))?[bB]?\s*")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_duration(text: str) -> float:
    """Read a duration such as `300ms`, `5m` or `1h30m`, in seconds; negative for any negative one.

    `0` and `-1` need no unit; every other number does.

    Raises:
        InvalidRequest: the text is no duration.
    Source: the Go language's `time.ParseDuration`, whose form the clients send.
    """
    body = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    sign = -1.0 if text.startswith("-") else 1.0
    if body in {"0", "1"} and text in {"0", "-1", "+0", "-0"}:
        return sign * float(body)
    if not body or "".join(_DURATION.findall(body)) != body:
        raise _no_duration(text)
    total = 0.0
    for part in _DURATION.findall(body):
        unit = part.lstrip("0123456789.")
        total += float(part.removesuffix(unit)) * _SECONDS[unit]
    if total >= LONGEST:
        raise _no_duration(text)
    return sign * total


def parse_keep_alive(text: str) -> float | None:
    """Read how long something idle stays, in seconds: a duration; None, for ever, when it is negative.

    Raises:
        InvalidRequest: the text is no duration.
    """
    seconds = parse_duration(text)
    return None if seconds < 0 else seconds


def format_keep_alive(seconds: float | None) -> str:
    """Print it as `5m0s`, or `-1` for ever."""
    return "-1" if seconds is None else format_duration(seconds)


def format_duration(seconds: float) -> str:
    """Print seconds in the canonical form of Go's durations: `5m0s`, `1h30m0s`, `1.5s`, `300ms`, `0s`."""
    rest = round(abs(seconds), 9)
    if rest == 0:
        return "0s"
    sign = "-" if seconds < 0 else ""
    if rest < 1:
        unit, scale = next(
            (u, s) for u, s in (("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)) if rest >= s or u == "ns"
        )
        return f"{sign}{_plain(round(rest / scale, 6))}{unit}"
    minutes, remainder = divmod(rest, 60)
    hours, minutes = divmod(int(minutes), 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{head}{_plain(remainder)}s"


def parse_bytes(text: str) -> int:
    """Read a size such as `500MB` (decimal) or `4.4GiB` (binary), in bytes.

    Raises:
        InvalidRequest: the text is no size.
    """
    match = _BYTES.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"invalid size: `{text[:100]}`", hint="write it like `500MB` or `4GiB`")
    number, prefix, binary = match.groups()
    return round(float(number) * (1024.0 if binary else 1000.0) ** _POWERS[prefix or ""])


def format_bytes(count: float) -> str:
    """Print a number of bytes in decimal units with two decimals and no space: `12.34MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB"):
        if abs(count) < 1000:
            return f"{count:.2f}{unit}"
        count /= 1000
    return f"{count:.2f}YB"


# Up to how many hours, in which unit, and how many hours that has.
_AGES = ((24 * 14, "days", 24), (24 * 60, "weeks", 24 * 7), (24 * 730, "months", 24 * 30))


def format_age(seconds: float) -> str:
    """Print how long something is, roughly, in words: `3 weeks`, `About a minute`.

    Source: docker/go-units `HumanDuration`, which every Docker table uses.
    """
    whole, hours = int(seconds), math.floor(seconds / 3600 + 0.5)
    if hours >= 48:
        for limit, unit, size in _AGES:
            if hours < limit:
                return f"{hours // size} {unit}"
        return f"{max(2, whole // 3600 // 24 // 365)} years"
    if whole >= 3600:
        return "About an hour" if hours <= 1 else f"{hours} hours"
    if whole >= 60:
        return "About a minute" if whole < 120 else f"{whole // 60} minutes"
    if whole > 1:
        return f"{whole} seconds"
    return "1 second" if whole == 1 else "Less than a second"


def _no_duration(text: str) -> InvalidRequest:
    return InvalidRequest(
        f"invalid duration: `{text[:100]}`", hint="write it like `30s`, `5m` or `1h30m`; `-1` means for ever"
    )


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
