"""One blob fetched by several requests at once: lanes that take the next chunk, patience with each of them.

What to ask for next is decided in `chunks.py`; where bytes land is the business of the landing.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from modelrunner.errors import RegistryError, RegistryUnreachable, RunnerError, TransferInterrupted
from modelrunner.oci import chunks
from modelrunner.oci.buffers import BUFFER
from modelrunner.oci.chunks import MOST_LANES, Piece, Ramp, Spans
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.pace import UNLIMITED, Pace
from modelrunner.oci.retry import RetryPolicy

_BATCH = 1 << 20  # bytes handed over at once, or more; what a slow line brought should not wait for long
_STALL = 15.0  # seconds without a byte after which a fresh connection is tried
_SLOW_AFTER = 3.0  # seconds of waiting before a lane may be called slow
_SLOW = 8  # times slower than the usual lane: a path that has gone bad, not one that shares a line
_REMEMBERED = 32  # speeds of finished chunks, of which the median is the usual

_log = logging.getLogger(__name__)


class Opens(Protocol):
    """Where ranges come from; a part of `transfer.Source`."""

    def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[Piece]]]:
        """Open a blob's bytes from `start` up to `stop`; the int is where they really start."""
        ...


class Landing(Protocol):
    """Where the bytes of one claimed blob land, in any order. Offsets and sizes are in bytes."""

    @property
    def present(self) -> Spans:
        """What is here, or has been put and will be."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether some of it was left by an earlier attempt, and has not been verified by this one."""
        ...

    async def put(self, offset: int, pieces: Sequence[Piece]) -> None:
        """Have the next bytes of a range written, once; an error may be that of an earlier call."""
        ...

    async def room(self, position: int) -> None:
        """Wait until more may be put behind `position`: what cannot be hashed yet is held in memory."""
        ...

    async def finish(self) -> None:
        """Verify the blob once all of it is here, and give it its name.

        Raises:
            DigestMismatch: these are other bytes; they are deleted.
        """
        ...


class Lanes:
    """The requests that may be under way at once, of all blobs together."""

    def __init__(self, most: int = MOST_LANES) -> None:
        self.most = most
        self.free = asyncio.Semaphore(most)


async def fetch(
    source: Opens,
    blob: Descriptor,
    landing: Landing,
    *,
    lanes: Lanes,
    tell: Callable[[int], None],
    pace: Pace = UNLIMITED,
    retry: RetryPolicy,
    stall: float = _STALL,
) -> None:
    """Bring every byte that is missing at a landing; `tell` learns how many are there.

    Raises:
        RunnerError: the source refuses, or breaks off again and again; what has landed stays.
    """
    work = _Fetch(source, blob, landing, lanes, tell, pace, retry, stall)
    try:
        await work.run()
    except _RangesIgnored:
        _log.info("ranges ignored blob=%s", blob.digest)
        await work.run_in_one()


class _RangesIgnored(Exception):
    """The source starts at the first byte whatever it is asked for."""


@dataclass(slots=True)
class _Part:
    """One chunk under way; `stop` moves down when another lane takes over its end."""

    position: int
    stop: int
    waited: float = 0.0  # seconds for its bytes, without those in which nobody wanted any
    received: int = 0

    @property
    def speed(self) -> float:
        """Bytes per second of waiting."""
        return self.received / self.waited if self.waited else 0.0

    @property
    def time_left(self) -> float:
        """Seconds until it is here, if it goes on like this."""
        return (self.stop - self.position) / self.speed if self.speed else 0.0


@dataclass(slots=True)
class _Fetch:
    source: Opens
    blob: Descriptor
    landing: Landing
    lanes: Lanes
    tell: Callable[[int], None]
    pace: Pace
    retry: RetryPolicy
    stall: float
    gaps: Spans = ()
    workers: int = 0
    under_way: list[_Part] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    here: int = 0
    moved: bool = False  # whether anything came

    async def run(self) -> None:
        present = self.landing.present
        self.gaps = chunks.missing(present, self.blob.size)
        self.here = chunks.total(present)
        ramp = Ramp(time.monotonic(), most=self.lanes.most)
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self._hire(group, ramp)
        except BaseExceptionGroup as several:
            failure = _telling(several)
        if failure is not None:
            raise failure

    async def run_in_one(self) -> None:
        """Read the blob from its first byte, again after each break, and keep what is missing."""
        failures = 0
        while gaps := chunks.missing(self.landing.present, self.blob.size):
            before = self.here = chunks.total(self.landing.present)
            try:
                async with self.source.open(self.blob) as (position, pieces):
                    if position != 0:
                        raise _misplaced(self.blob, position, 0)
                    await self._pick(pieces, gaps)
            except (TransferInterrupted, RegistryUnreachable) as exc:
                failures = 1 if self.here - before >= self.retry.headway else failures + 1
                await self._back_off(failures, exc)

    async def _pick(self, pieces: AsyncIterator[Piece], gaps: Spans) -> None:
        """Land those bytes of a whole blob that are in its gaps."""
        held: Piece = b""
        begin = 0  # of the piece
        for part in (_Part(*gap) for gap in gaps):
            while part.position < part.stop:
                if begin + len(held) <= part.position:
                    begin += len(held)
                    held = await self._piece(pieces, part)
                    await self.pace.spend(len(held))
                    if not held:
                        raise _cut(self.blob, part)
                    continue
                kept = held[part.position - begin : part.stop - begin]
                self._count(len(kept))
                await self._land(part, [kept], len(kept))
                await self.landing.room(part.position)

    def _hire(self, group: asyncio.TaskGroup, ramp: Ramp) -> None:
        while self.workers < ramp.lanes and (self.gaps or not self.workers):
            self.workers += 1
            group.create_task(self._work(group, ramp))

    async def _work(self, group: asyncio.TaskGroup, ramp: Ramp) -> None:
        try:
            while self.workers <= ramp.lanes:
                async with self.lanes.free:
                    part = self._next(ramp)
                    if part is None:
                        return
                    self.under_way.append(part)
                    try:
                        await self._bring(part, group, ramp)
                    finally:
                        self.under_way.remove(part)
        finally:
            self.workers -= 1

    def _next(self, ramp: Ramp) -> _Part | None:
        if self.gaps:
            span, self.gaps = chunks.take(self.gaps, chunks.chunk_size(ramp.lanes))
            return _Part(*span)
        return self._relieve()

    def _relieve(self) -> _Part | None:
        """Take over the second half of the chunk that would be the last to arrive, if that is worth it."""
        slowest = max(self.under_way, key=lambda part: part.time_left, default=None)
        if slowest is None or slowest.time_left < _SLOW_AFTER:
            return None
        if slowest.stop - slowest.position < 2 * (_BATCH + BUFFER):
            return None  # its first half may have come, and wait for the pace
        middle = (slowest.position + slowest.stop) // 2
        part = _Part(middle, slowest.stop)
        slowest.stop = middle
        return part

    async def _bring(self, part: _Part, group: asyncio.TaskGroup, ramp: Ramp) -> None:
        """Fetch a chunk, over as many connections as it takes."""
        failures = 0
        while part.position < part.stop:
            mark = part.position
            try:
                await self._stream(part, group, ramp)
            except (TransferInterrupted, RegistryUnreachable) as exc:
                if not self.moved and isinstance(exc, RegistryUnreachable):
                    raise  # it was never there
                failures = 1 if part.position - mark >= self.retry.headway else failures + 1
                part.waited, part.received = 0.0, 0
                await self._back_off(failures, exc)
        self.speeds = [*self.speeds[-_REMEMBERED:], part.speed]

    async def _back_off(self, failures: int, cause: RegistryError) -> None:
        delay = self.retry.after_break(failures, random.random())  # noqa: S311 - spreads retries in time
        if delay is None:
            raise RegistryError(
                f"{cause.message}, {failures} times in a row",
                hint="try again later; what has arrived is kept",
            ) from cause
        _log.info("chunk interrupted blob=%s failures=%d reason=%s", self.blob.digest, failures, cause)
        await asyncio.sleep(delay)

    async def _stream(self, part: _Part, group: asyncio.TaskGroup, ramp: Ramp) -> None:
        """Fetch a chunk over one connection; `part.position` says how far it came."""
        async with self.source.open(self.blob, part.position, part.stop) as (position, pieces):
            if position != part.position:
                raise _RangesIgnored if position == 0 else _misplaced(self.blob, position, part.position)
            batch: list[Piece] = []
            size = 0
            try:
                while part.position + size < part.stop and (piece := await self._piece(pieces, part)):
                    kept = piece[: max(part.stop - part.position - size, 0)]  # its end may have moved
                    batch.append(kept)
                    size += len(kept)
                    self._count(len(kept))
                    await self.pace.spend(len(kept))
                    if size >= _BATCH:
                        full, count, batch, size = batch, size, [], 0
                        await self._land(part, full, count)
                        await self.landing.room(part.position)
                        ramp.note(count, time.monotonic())
                        self._hire(group, ramp)
            finally:
                if batch:  # also when the other side broke off, or the caller left
                    await self._land(part, batch, size)
            if part.position < part.stop:
                raise _cut(self.blob, part)

    async def _land(self, part: _Part, batch: list[Piece], size: int) -> None:
        offset = part.position
        part.position += size
        await self.landing.put(offset, batch)

    def _count(self, size: int) -> None:
        """Tell of bytes that came, and will land whatever happens next; the last are told when verified."""
        self.here += size
        self.moved = True
        if self.here < self.blob.size:
            self.tell(self.here)

    async def _piece(self, pieces: AsyncIterator[Piece], part: _Part) -> Piece:
        """The next bytes; none at the end.

        Raises:
            TransferInterrupted: nothing comes, or so little that another connection is worth a try.
        """
        usual = median(self.speeds) if self.speeds else 0.0
        if part.waited > _SLOW_AFTER and part.speed * _SLOW < usual:
            raise TransferInterrupted(f"blob `{self.blob.digest}` comes too slowly", hint="try again")
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self.stall):
                piece = await anext(pieces, b"")
        except TimeoutError as exc:
            raise TransferInterrupted(
                f"blob `{self.blob.digest}` stalled for {self.stall:.0f} s", hint="try again"
            ) from exc
        part.waited += time.monotonic() - begun
        part.received += len(piece)
        return piece


def _misplaced(blob: Descriptor, position: int, asked: int) -> RegistryError:
    return RegistryError(f"blob `{blob.digest}` starts at byte {position} instead of {asked}")


def _cut(blob: Descriptor, part: _Part) -> TransferInterrupted:
    return TransferInterrupted(
        f"blob `{blob.digest}` ends at byte {part.position} of {part.stop}", hint="try again"
    )


def _telling(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a group that tells the story."""
    flat: list[BaseException] = []
    left: list[BaseException] = [several]
    while left:
        each = left.pop(0)
        if isinstance(each, BaseExceptionGroup):
            left.extend(each.exceptions)
        else:
            flat.append(each)
    ours = [each for each in flat if isinstance(each, RunnerError | _RangesIgnored)]
    return (ours or flat)[0]
