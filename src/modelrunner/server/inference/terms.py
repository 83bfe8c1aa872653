"""How a request wants to be served, from its headers and its `keep_alive`. Pure.

    X-Priority: high | normal | low     a larger or smaller share of the turns, when requests wait
    X-Memory-Check: off                 load although the memory seems too little
    X-Request-Id                        what the request is called in the line and in the answer
    X-Request-Timeout: 30               for how many seconds it may take, with the waiting and the loading

A caller is who sends the same API key; callers of one priority share alike.
"""

import math
from collections.abc import Mapping
from typing import TypeVar

from modelrunner.errors import InvalidRequest
from modelrunner.runtime.scheduling.lease import Stay
from modelrunner.runtime.scheduling.request_queue import ANY_TERMS, Caller, Terms
from modelrunner.units import LONGEST, parse_keep_alive

WEIGHTS = {b"high": 8.0, b"normal": 1.0, b"low": 0.125}
_CHECKS = {b"on": True, b"off": False}
_LONGEST_NAME = 128  # characters of a request's name that are kept

T = TypeVar("T")


def terms_of(headers: Mapping[bytes, bytes], keep_alive: str | float | None) -> Terms:
    """Read the terms of a request; `keep_alive` is a duration, or seconds, negative for ever.

    Raises:
        InvalidRequest: a header or the duration has no meaning.
    """
    key = headers.get(b"authorization") or headers.get(b"x-api-key")
    priority = headers.get(b"x-priority")
    name = headers.get(b"x-request-id")
    check = headers.get(b"x-memory-check")
    if key is None and name is None and priority is None and check is None and keep_alive is None:
        return ANY_TERMS
    return Terms(
        # The key itself is kept nowhere; its hash differs from daemon to daemon.
        Caller(
            "" if key is None else str(hash(key)),
            1.0 if priority is None else _choice("X-Priority", priority, WEIGHTS),
        ),
        "" if name is None else name[:_LONGEST_NAME].decode("latin-1"),
        None if keep_alive is None else Stay(_seconds(keep_alive)),
        None if check is None else _choice("X-Memory-Check", check, _CHECKS),
    )


def deadline_of(headers: Mapping[bytes, bytes], default: float | None) -> float | None:
    """Read how long (in seconds) a request may take; `default` when it does not say, None for ever.

    Raises:
        InvalidRequest: the header is no positive number.
    """
    text = headers.get(b"x-request-timeout")
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest(
            f"invalid X-Request-Timeout: `{text.decode('latin-1')[:100]}`", hint="a number of seconds"
        )
    return seconds


def _choice(name: str, value: bytes, choices: Mapping[bytes, T]) -> T:
    chosen = choices.get(value.strip().lower())
    if chosen is None:
        raise InvalidRequest(
            f"invalid {name}: `{value.decode('latin-1')[:100]}`",
            hint=f"one of {', '.join(f'`{choice.decode()}`' for choice in choices)}",
        )
    return chosen


def _seconds(keep_alive: str | float) -> float | None:
    if isinstance(keep_alive, str):
        try:
            keep_alive = float(keep_alive)  # seconds, by those who write every number as a text
        except ValueError:
            return parse_keep_alive(str(keep_alive))
    if not -math.inf < keep_alive < LONGEST:
        raise InvalidRequest(
            f"invalid duration: `{keep_alive:g}` seconds", hint="a number of seconds; `-1` means for ever"
        )
    return None if keep_alive < 0 else float(keep_alive)
