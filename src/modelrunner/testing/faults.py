"""What can go wrong on the way from a registry, as data; `proxy.py` does it.

A plan decides for each request. Nothing is random here; a plan may be.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

PIECE = 64 * 1024  # bytes relayed at once
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_BLOB = re.compile(r"/v2/.+/blobs/sha256:[0-9a-f]{64}")


class Ending(Enum):
    """How an answer breaks off."""

    CLOSE = auto()  # the connection is closed, as by a server that ends
    RESET = auto()  # the connection is reset, as by a router that forgets
    STALL = auto()  # silence, until the client leaves
    PAUSE = auto()  # silence, until the proxy is told to go on, or the client leaves


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the plan sees it. `target` is the original one also where a redirect led here."""

    method: str
    target: str
    headers: Mapping[str, str]  # names in lower case
    redirected: bool = False

    @property
    def is_blob(self) -> bool:
        """Whether this fetches a blob's bytes."""
        return self.method == "GET" and _BLOB.fullmatch(self.target) is not None

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First and last byte that are asked for."""
        found = _RANGE.fullmatch(self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) if found[2] else None) if found else None


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one exchange; the default changes nothing. The functions below make them."""

    status: int | None = None  # answered here, without the registry
    headers: tuple[tuple[str, str], ...] = ()
    reset: bool = False  # before any answer
    uses: int | None = None  # of the place that the client is sent to, before it has expired
    cut: int | None = None  # bytes of the body after which it breaks off as `ending` says
    ending: Ending = Ending.CLOSE
    piece: int = PIECE
    pause: float = 0.0  # seconds after each piece
    whole: bool = False  # the range is not passed on
    shift: int = 0  # how far off the bytes are that come instead
    relabel: int = 0  # how far off the range is that the answer names
    taken: int | None = None  # bytes of the request's body after which the connection breaks
    happened: Callable[[], None] = lambda: None  # called when the answer breaks off


Plan = Callable[[Request], Fault | None]


def cut(after: int, ending: Ending = Ending.CLOSE, happened: Callable[[], None] | None = None) -> Fault:
    """Break off after some bytes of the body."""
    return Fault(cut=after, ending=ending, happened=happened or (lambda: None))


def cut_upload(after: int) -> Fault:
    """Break the connection after some bytes of what the client sends, on both sides."""
    return Fault(taken=after)


def drip(piece: int, pause: float) -> Fault:
    """Send a little at a time."""
    return Fault(piece=piece, pause=pause)


def unavailable(retry_after: int | None = None) -> Fault:
    """Be too busy, and say for how many seconds."""
    return Fault(status=503, headers=() if retry_after is None else (("Retry-After", str(retry_after)),))


def unsatisfiable() -> Fault:
    """Say that the range is none of this blob."""
    return Fault(status=416)


def reset() -> Fault:
    """Reset the connection instead of answering."""
    return Fault(reset=True)


def without_range() -> Fault:
    """Send everything, whatever was asked for."""
    return Fault(whole=True)


def other_bytes(shift: int = 1) -> Fault:
    """Send as many bytes from elsewhere, and call them what was asked for."""
    return Fault(shift=shift)


def mislabelled(by: int = 1) -> Fault:
    """Send what was asked for, and call it another range."""
    return Fault(relabel=by)


def redirect(uses: int = 1) -> Fault:
    """Send the client to a place that expires after some requests."""
    return Fault(uses=uses)
