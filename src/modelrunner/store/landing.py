"""Where a claimed blob lands piece by piece: written as it comes, hashed in order, held in memory in between.

One thread writes what comes and another hashes it, each fed by a queue of its own, so that neither waits for
the other or for the event loop. What cannot be hashed yet, since something before it is missing, waits in
memory, so that nothing is read back; all landings share the limits of what waits.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVarTuple

from modelrunner.errors import StoreError
from modelrunner.oci.chunks import AHEAD, Piece, Span, Spans, united
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.store.offload import in_thread
from modelrunner.store.partial import Partial

_UNWRITTEN = 8 << 20  # bytes that may wait for the disk; what a kill can cost, and enough to keep it busy

_Args = TypeVarTuple("_Args")


class Ahead:
    """How many bytes wait in memory to be written, and for their turn to be hashed, of all landings."""

    def __init__(self, limit: int = AHEAD) -> None:
        self._limit = limit
        self._unhashed = 0
        self._unwritten = 0
        self._change = asyncio.Event()

    @property
    def held(self) -> int:
        """So many bytes wait to be hashed now."""
        return self._unhashed

    def add(self, *, unhashed: int = 0, unwritten: int = 0) -> None:
        """Count bytes that came (or, when negative, that are done with), and wake who waits for it."""
        self._unhashed += unhashed
        self._unwritten += unwritten
        change, self._change = self._change, asyncio.Event()
        change.set()

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched that cannot be hashed at once."""
        return self._unhashed < self._limit

    @property
    def is_written(self) -> bool:
        """Whether the disks are near enough to what has come."""
        return self._unwritten < _UNWRITTEN

    async def changed(self) -> None:
        """Wait until bytes came or went."""
        await self._change.wait()


class Landing:
    """One blob on its way in; see `oci.fetch.Landing`."""

    def __init__(self, blob: Descriptor, partial: Partial, found: Spans, ahead: Ahead) -> None:
        self._blob = blob
        self._partial = partial
        self._found = found  # left by an earlier attempt, to be read
        self._present = found
        self._ahead = ahead
        self._waiting: dict[int, Sequence[Piece]] = {}  # for what is missing before them, by offset
        self._given = 0  # bytes from the start that the hash has been given
        self._jobs = 0  # not done
        self._syncing = False
        self._failure: BaseException | None = None
        # One thread each, which does what it is given in that order.
        self._writer = ThreadPoolExecutor(1, "write")
        self._hasher = ThreadPoolExecutor(1, "hash")
        self._syncer = ThreadPoolExecutor(1, "sync")
        self._stop = threading.Event()

    @property
    def present(self) -> Spans:
        """What is here, or will be in a moment."""
        return self._present

    @property
    def resumed(self) -> bool:
        """Whether some of it was left by an earlier attempt."""
        return bool(self._found)

    @property
    def digest(self) -> Digest:
        """What the blob turned out to be, once it is finished."""
        return self._partial.digest

    async def put(self, offset: int, pieces: Sequence[Piece]) -> None:
        """Have the next bytes of a range written, and hashed when it is their turn.

        Raises:
            InsufficientStorage: the disk is full, maybe since an earlier call; what was written stays.
            StoreError: the disk refuses.
        """
        self._check()
        while not self._ahead.is_written:
            await self._ahead.changed()
            self._check()
        size = sum(map(len, pieces))
        self._present = united((*self._present, Span(offset, offset + size)))
        self._waiting[offset] = pieces
        self._ahead.add(unhashed=size, unwritten=size)
        self._give(self._writer, partial(self._wrote, size), self._partial.write, offset, pieces)
        self._feed_hash()

    async def room(self, position: int) -> None:
        """Wait until more may be put behind `position`: there is room, or all before it has been hashed."""
        while not self._ahead.has_room and self._partial.hashed < position:
            self._check()
            await self._ahead.changed()

    async def finish(self) -> None:
        """Verify the blob once all of it is here, and give it its name.

        Raises:
            DigestMismatch: these are other bytes; they are deleted.
            StoreError: bytes are missing, or the disk refuses.
        """
        while self._jobs:
            self._check()
            await self._ahead.changed()
        self._check()
        await in_thread(self._partial.finish)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Write and hash what lands meanwhile; at the end all that was put is written."""
        self._feed_hash()
        try:
            yield
        finally:
            self._stop.set()
            try:
                await in_thread(self._end)
            finally:
                waiting = sum(len(piece) for pieces in self._waiting.values() for piece in pieces)
                self._waiting.clear()
                self._ahead.add(unhashed=-waiting)

    def _feed_hash(self) -> None:
        """Give the hash all that it can take now: what came, or what an earlier attempt left in the file."""
        while self._given < self._blob.size:
            pieces = self._waiting.pop(self._given, None)
            if pieces is not None:
                size = sum(map(len, pieces))
                self._give(self._hasher, partial(self._ahead.add, unhashed=-size), self._partial.hash, pieces)
                self._given += size
                continue
            found = next((span for span in self._found if span.start <= self._given < span.stop), None)
            if found is None:
                return
            self._give(self._hasher, self._ahead.add, self._partial.hash_stored, found.stop, self._stop)
            self._given = found.stop

    def _wrote(self, size: int) -> None:
        self._ahead.add(unwritten=-size)
        if self._partial.wants_sync and not self._syncing and not self._stop.is_set():
            self._syncing = True
            self._give(self._syncer, self._synced, self._partial.sync)

    def _synced(self) -> None:
        self._syncing = False
        self._ahead.add()

    def _give(
        self,
        thread: ThreadPoolExecutor,
        done: Callable[[], None],
        function: Callable[[*_Args], None],
        *args: *_Args,
    ) -> None:
        """Have a thread do something; `done` is called in the loop afterwards, however it ended."""
        loop = asyncio.get_running_loop()

        def tell(future: Future[None]) -> None:
            loop.call_soon_threadsafe(self._take, future, done)

        self._jobs += 1
        try:
            future = thread.submit(function, *args)
        except RuntimeError as exc:  # the system gives us no thread
            future = Future()
            future.set_exception(
                StoreError(
                    f"nothing can be written: {exc}", hint="the system's limit of processes is reached"
                )
            )
        future.add_done_callback(tell)

    def _take(self, future: Future[None], done: Callable[[], None]) -> None:
        self._jobs -= 1
        if not future.cancelled() and (failure := future.exception()) is not None:
            self._failure = self._failure or failure
        done()

    def _end(self) -> None:
        """Let the threads end; what nobody will ask for any more is not hashed."""
        self._hasher.shutdown(cancel_futures=True)
        self._writer.shutdown()
        self._syncer.shutdown()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
