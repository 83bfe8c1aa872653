"""A blob as ranges: what of it is here, what to ask for next, how many to ask for at once. Pure.

Offsets and sizes are in bytes, times in seconds; a span's `stop` is the first byte that is not in it.
"""

from collections.abc import Iterable
from typing import NamedTuple

SMALLEST, LARGEST = 4 << 20, 16 << 20  # of a chunk: worth a request, and soon done again if it is lost
MOST_LANES = 8  # connections at once; registries and their storage limit what one address may open
FIRST_LANES = 2
AHEAD = 48 << 20  # bytes that may wait in memory for the hash to come to them, of all blobs together
_TRIAL = 0.5  # seconds for which a number of lanes is watched
_GAIN = 1.1  # by which one more lane must have raised the speed to be worth another

Piece = bytes | memoryview  # of a blob on its way; the second is a part of a buffer, which it keeps


class Span(NamedTuple):
    """A range of a blob."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.stop - self.start


Spans = tuple[Span, ...]  # sorted, apart from each other, none empty


def united(spans: Iterable[Span]) -> Spans:
    """Sort spans and join those that touch."""
    result: list[Span] = []
    for span in sorted(each for each in spans if each.start < each.stop):
        if result and span.start <= result[-1].stop:
            result[-1] = Span(result[-1].start, max(result[-1].stop, span.stop))
        else:
            result.append(span)
    return tuple(result)


def missing(present: Spans, size: int) -> Spans:
    """The gaps that are left in a blob of `size` bytes."""
    gaps: list[Span] = []
    position = 0
    for span in present:
        gaps.append(Span(position, min(span.start, size)))
        position = max(position, span.stop)
    gaps.append(Span(position, size))
    return tuple(gap for gap in gaps if gap.start < gap.stop)


def total(spans: Spans) -> int:
    """How many bytes are in some spans."""
    return sum(span.size for span in spans)


def prefix(spans: Spans) -> int:
    """How many bytes are there from the start without a gap."""
    return spans[0].stop if spans and spans[0].start == 0 else 0


def chunk_size(lanes: int) -> int:
    """How much to ask for at once, so that what all lanes fetch fits into memory while the first is slow."""
    return max(SMALLEST, min(LARGEST, AHEAD // max(lanes, 1)))


def take(gaps: Spans, most: int) -> tuple[Span, Spans]:
    """The next chunk, always the first that is missing, and the gaps that are left.

    A remainder of less than half a chunk goes along: a request for it would cost more than it brings.
    """
    first, *rest = gaps
    stop = first.stop if first.size < most * 3 // 2 else first.start + most
    left = (Span(stop, first.stop),) if stop < first.stop else ()
    return Span(first.start, stop), (*left, *rest)


class Ramp:
    """How many lanes to use: one more as long as the last one made all of them faster together.

    Only the speed tells, since a line, a registry's storage, this processor and a proxy all have their limit
    at another number, and none of them says so.
    """

    def __init__(self, now: float, *, most: int = MOST_LANES) -> None:
        self.lanes = min(FIRST_LANES, most)
        self._most = most
        self._since = now
        self._bytes = 0
        self._best = 0.0
        self._settled = self.lanes == most

    def note(self, count: int, now: float) -> None:
        """Take note of `count` bytes that came; changes `lanes` when a trial is over."""
        self._bytes += count
        elapsed = now - self._since
        if self._settled or elapsed < _TRIAL:
            return
        speed = self._bytes / elapsed
        if speed < self._best * _GAIN:
            self.lanes, self._settled = max(FIRST_LANES, self.lanes - 1), True
        else:
            self._best = speed
            self.lanes += 1
            self._settled = self.lanes >= self._most
        self._since, self._bytes = now, 0
