"""Durations and sizes as people write them; parsing and printing, nothing else."""

import re

from modelrunner.errors import InvalidRequest

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKMGTP]?)(i?)[bB]?\s*")
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
        raise InvalidRequest(
            f"invalid duration: `{text}`", hint="write it like `30s`, `5m` or `1h30m`; `-1` means for ever"
        )
    total = 0.0
    for part in _DURATION.findall(body):
        unit = part.lstrip("0123456789.")
        total += float(part.removesuffix(unit)) * _SECONDS[unit]
    return sign * total


def format_duration(seconds: float) -> str:
    """Print seconds in the canonical form of Go's durations: `5m0s`, `1h30m0s`, `1.5s`, `300ms`, `0s`."""
    if seconds == 0:
        return "0s"
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    if rest < 1:
        unit, scale = next(
            (u, s) for u, s in (("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)) if rest >= s or u == "ns"
        )
        return f"{sign}{_plain(rest / scale)}{unit}"
    minutes, remainder = divmod(round(rest, 9), 60)
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
        raise InvalidRequest(f"invalid size: `{text}`", hint="write it like `500MB` or `4GiB`")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[prefix])


def format_bytes(count: float) -> str:
    """Print a number of bytes in decimal units with two decimals and no space: `12.34MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB"):
        if abs(count) < 1000:
            return f"{count:.2f}{unit}"
        count /= 1000
    return f"{count:.2f}YB"


def format_age(seconds: float) -> str:
    """Print how long something is, roughly, in words: `3 weeks`, `About a minute`.

    Source: docker/go-units `HumanDuration`, which every Docker table uses.
    """
    whole, hours = int(seconds), round(seconds / 3600)
    steps = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (whole < 120, "About a minute"),
        (whole < 3600, f"{whole // 60} minutes"),
        (hours <= 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 14, f"{hours // 24} days"),
        (hours < 24 * 60, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 730, f"{hours // 24 // 30} months"),
        (True, f"{hours // 24 // 365} years"),
    )
    return next(text for applies, text in steps if applies)


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
