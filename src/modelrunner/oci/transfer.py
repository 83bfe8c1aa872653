"""One copy: every pull, push, load, save and package is this loop between a source and a sink."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from modelrunner.errors import (
    DigestMismatch,
    InvalidRequest,
    RegistryError,
    RunnerError,
    TransferInterrupted,
)
from modelrunner.oci.chunks import Piece
from modelrunner.oci.digest import Digest
from modelrunner.oci.fetch import Landing, Lanes, fetch
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.pace import UNLIMITED, Pace
from modelrunner.oci.reference import Reference
from modelrunner.oci.retry import RetryPolicy

_PATIENT = RetryPolicy()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a blob is present at the other end, in bytes."""

    blob: Descriptor
    done: int


class Source(Protocol):
    """Where an artifact comes from: a registry, a store, an archive, a draft."""

    async def manifest(self, reference: Reference) -> Manifest:
        """Fetch the manifest that a reference names."""
        ...

    def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[Piece]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes.

        The int is where the bytes really start: 0 when the other side ignored the range.
        """
        ...


class Sink(Protocol):
    """Where an artifact goes: a registry, a store, an archive."""

    def claim(self, blob: Descriptor) -> AbstractAsyncContextManager[int]:
        """Hold the sole right to write `blob`; yield the bytes already here, from the start, without a gap.

        Equals `blob.size` only once the digest has been verified, so an empty blob exists as soon as it is
        claimed. Others wait until the claim ends.
        """
        ...

    async def write(self, blob: Descriptor, offset: int, chunks: AsyncIterator[Piece]) -> None:
        """Append the rest of a claimed blob, from `offset` to its end, and verify its digest.

        Raises:
            TransferInterrupted: the bytes are lost, and another claim may have better luck.
        """
        ...

    async def commit(self, manifest: Manifest, tags: Sequence[Reference]) -> None:
        """Make the artifact visible, once all of its blobs are here: the manifest first, then the names."""
        ...


@runtime_checkable
class LandingSink(Sink, Protocol):
    """A sink that takes the bytes of a blob in any order, so that they can be fetched in parallel."""

    def land(self, blob: Descriptor) -> AbstractAsyncContextManager[Landing | None]:
        """Hold the sole right to write `blob`; yield where its bytes go, or None when it is complete."""
        ...


@runtime_checkable
class DoubtfulSource(Source, Protocol):
    """A source with several places of its own, some of which are not to be relied upon."""

    def doubt(self, blob: Digest) -> bool:
        """Have a blob whose bytes were wrong come from elsewhere; whether there is an elsewhere."""
        ...


Tell = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Take note of no progress."""


async def copy(
    source: Source,
    sink: Sink,
    manifest: Manifest,
    tags: Sequence[Reference],
    *,
    tell: Tell = ignore,
    parallel: int = 4,
    retry: RetryPolicy = _PATIENT,
    pace: Pace = UNLIMITED,
) -> None:
    """Copy an artifact: each blob that the sink lacks, then the manifest, then the tags.

    Up to `parallel` blobs move at once, each from where the sink's claim says. Nothing is hashed here, as the
    sink verifies what it writes. What a sink reports as interrupted starts again as `retry` allows. A sink
    that takes bytes in any order gets several ranges of a large blob at once, no faster than `pace` allows.

    Raises:
        RunnerError: the first failure, as it came from the source or the sink; the tags are untouched.
    """
    blobs = iter(tuple(manifest.blobs))
    if isinstance(sink, LandingSink):
        move = partial(_land_blob, source=source, sink=sink, tell=tell, retry=retry, pace=pace, lanes=Lanes())
    else:
        move = partial(_copy_patiently, source=source, sink=sink, tell=tell, retry=retry)

    async def work() -> None:
        for blob in blobs:  # shared: each worker takes the next one
            await move(blob)

    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(parallel, len(manifest.layers) + 1)):
                group.create_task(work())
    except BaseExceptionGroup as several:
        failure = _first_failure(several)
    if failure is not None:
        raise failure
    await sink.commit(manifest, tags)


def _first_failure(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a group that tells the story: the first that is ours, else the first of all."""
    flat = list(_flatten(several))
    return next((each for each in flat if isinstance(each, RunnerError)), flat[0])


async def read_blob(source: Source, blob: Descriptor, *, limit: int) -> bytes:
    """Read a small blob, such as a configuration, into memory, and verify it.

    Raises:
        InvalidRequest: the blob is larger than `limit` bytes.
        DigestMismatch: these are other bytes than the digest says.
    """
    if blob.size > limit:
        raise InvalidRequest(f"blob `{blob.digest}` of {blob.size} bytes is larger than {limit} bytes")
    while True:
        body = await _read_blob(source, blob)
        verifier = blob.digest.verifier()
        verifier.update(body)
        if len(body) == blob.size and verifier.matches:
            return body
        if not (isinstance(source, DoubtfulSource) and source.doubt(blob.digest)):
            raise DigestMismatch(
                f"blob `{blob.digest}` has other content than its digest says", hint="try again"
            )


async def _read_blob(source: Source, blob: Descriptor) -> bytes:
    body = bytearray()
    async with source.open(blob) as (start, chunks):
        async for chunk in chunks:
            body += chunk
            if len(body) > blob.size:
                break
    return b"" if start else bytes(body)


async def _land_blob(
    blob: Descriptor,
    *,
    source: Source,
    sink: LandingSink,
    tell: Tell,
    retry: RetryPolicy,
    pace: Pace,
    lanes: Lanes,
) -> None:
    """Fetch a blob in ranges; again from its start when what was wrong is from earlier or from a mirror."""
    again = False
    while True:
        async with sink.land(blob) as landing:
            if landing is None:
                return

            def count(done: int) -> None:
                tell(Progress(blob, done))

            await fetch(source, blob, landing, lanes=lanes, tell=count, pace=pace, retry=retry)
            try:
                await landing.finish()
            except DigestMismatch as exc:
                doubted = isinstance(source, DoubtfulSource) and source.doubt(blob.digest)
                if not doubted and (again or not landing.resumed):
                    raise
                again = True
                _log.warning("fetched again blob=%s reason=%s", blob.digest, exc)
                continue
        tell(Progress(blob, blob.size))
        return


class _Patience:
    """Counts failures of one blob in a row; a new row begins when more has arrived at the other side."""

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._failures = 0
        self._reached = 0

    def reached(self, present: int) -> None:
        """Take note of how many bytes the other side has."""
        if present >= self._reached + self._retry.headway:
            self._failures, self._reached = 0, present

    def after(self, exc: TransferInterrupted) -> float:
        """Seconds to wait before the next try; raises `exc` when there have been enough of them."""
        self._failures += 1
        delay = self._retry.after_break(self._failures, random.random())  # noqa: S311 - spreads retries in time
        if delay is None:
            raise exc
        return delay


async def _copy_patiently(
    blob: Descriptor, *, source: Source, sink: Sink, tell: Tell, retry: RetryPolicy
) -> None:
    patience = _Patience(retry)
    while True:
        try:
            return await _copy_blob(source, sink, blob, tell, patience)
        except TransferInterrupted as exc:
            delay = patience.after(exc)
            _log.info("transfer interrupted blob=%s wait=%.1f reason=%s", blob.digest, delay, exc)
        await asyncio.sleep(delay)


async def _copy_blob(source: Source, sink: Sink, blob: Descriptor, tell: Tell, patience: _Patience) -> None:
    async with sink.claim(blob) as present:
        patience.reached(present)
        if present == blob.size:
            return
        async with source.open(blob, present) as (position, chunks):
            if position > present:
                raise RegistryError(f"blob `{blob.digest}` starts at byte {position} instead of {present}")
            async with aclosing(_count(chunks, blob, position, present, tell)) as counted:
                await sink.write(blob, present, counted)
        tell(Progress(blob, blob.size))


async def _count(
    chunks: AsyncIterator[Piece], blob: Descriptor, position: int, present: int, tell: Tell
) -> AsyncGenerator[Piece, None]:
    """Pass chunks on from byte `present`, and tell of each but the last, which has yet to be verified."""
    done = present
    async for chunk in chunks:
        skip = min(len(chunk), done - position) if position < done else 0
        position += len(chunk)
        if skip < len(chunk):
            yield chunk[skip:] if skip else chunk
            done = position
            if done < blob.size:
                tell(Progress(blob, done))


def _flatten(several: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in several.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _flatten(each)
        else:
            yield each
