"""Where a claimed blob lands piece by piece: written at once, hashed in order, held in memory in between.

The hash follows the bytes in a thread of its own. What it cannot take yet, since something before it is
missing, waits in memory, so that nothing is read back; all landings share one limit for that.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from modelrunner.oci.chunks import AHEAD, Piece, Span, Spans, united
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.store.offload import in_thread
from modelrunner.store.partial import CHUNK, Partial

_AT_ONCE = 4 * CHUNK  # bytes hashed between two looks at what has come
_READ_AT_ONCE = 16 * CHUNK


class Ahead:
    """How many bytes wait in memory for their turn to be hashed, of all landings of a store."""

    def __init__(self, limit: int = AHEAD) -> None:
        self._limit = limit
        self._held = 0
        self._change = asyncio.Event()

    @property
    def held(self) -> int:
        """So many bytes wait now."""
        return self._held

    def add(self, count: int) -> None:
        """Count bytes that came (or, when negative, that were hashed or dropped)."""
        self._held += count
        change, self._change = self._change, asyncio.Event()
        change.set()

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched that cannot be hashed at once."""
        return self._held < self._limit

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
        self._waiting: dict[int, Sequence[Piece]] = {}  # by offset
        self._news = asyncio.Event()
        self._syncing: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def present(self) -> Spans:
        """What is here."""
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
        """Write the next bytes of a range, and have them hashed when it is their turn.

        Raises:
            InsufficientStorage: the disk is full; what was written stays.
            StoreError: the disk refuses.
        """
        self._check()
        size = sum(map(len, pieces))
        await in_thread(self._partial.write, offset, pieces)
        self._present = united((*self._present, Span(offset, offset + size)))
        self._waiting[offset] = pieces
        self._ahead.add(size)
        self._news.set()
        if self._partial.wants_sync and (self._syncing is None or self._syncing.done()):
            self._syncing = asyncio.create_task(in_thread(self._partial.sync))

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
        while self._partial.hashed < self._blob.size and self._present == (Span(0, self._blob.size),):
            self._check()
            await self._ahead.changed()
        self._check()
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
            self._syncing.result()
        await in_thread(self._partial.finish)

    @asynccontextmanager
    async def hashing(self) -> AsyncIterator[None]:
        """Have the hash follow the bytes meanwhile."""
        stop = threading.Event()
        task = asyncio.create_task(self._follow(stop))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, *([self._syncing] if self._syncing else ()), return_exceptions=True)
            self._ahead.add(-sum(len(piece) for pieces in self._waiting.values() for piece in pieces))
            self._waiting.clear()

    async def _follow(self, stop: threading.Event) -> None:
        try:
            while self._partial.hashed < self._blob.size:
                self._news.clear()
                if not await self._hash_next(stop):
                    await self._news.wait()
        except Exception as exc:  # noqa: BLE001 - told to whoever waits for the hash
            self._failure = exc
            self._ahead.add(0)

    async def _hash_next(self, stop: threading.Event) -> bool:
        """Hash what is next, if it is here."""
        begin = end = self._partial.hashed
        batch: list[Piece] = []
        while end - begin < _AT_ONCE and end in self._waiting:
            pieces = self._waiting.pop(end)
            batch += pieces
            end += sum(map(len, pieces))
        if batch:
            try:
                await in_thread(self._partial.hash, batch)
            finally:
                self._ahead.add(begin - end)
            return True
        found = next((span for span in self._found if span.start <= begin < span.stop), None)
        if found is None:
            return False
        end = min(found.stop, begin + _READ_AT_ONCE)
        await in_thread(self._partial.hash_stored, end, stop, stop=stop)
        self._ahead.add(0)
        return True

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
