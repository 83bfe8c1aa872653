"""Bytes by digest: one writer at a time, resumed, verified while written, and visible only when right."""

import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from modelrunner.errors import DigestMismatch, StoreError
from modelrunner.oci.chunks import Piece, total
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.store.disk import explaining, open_file, remove_file
from modelrunner.store.landing import Ahead, Landing
from modelrunner.store.locks import Turns
from modelrunner.store.offload import in_thread
from modelrunner.store.partial import CHUNK, SUFFIX, Partial, present_spans

PULL_AGAIN = "pull the model again; what is here already is kept"


class Blobs:
    """A directory of blobs, `<algorithm>/<hex>` each, shared with other processes."""

    def __init__(self, directory: Path, turns: Turns) -> None:
        self.directory = directory
        self._turns = turns
        self._held: dict[Digest, Partial | None] = {}  # by claim; None when the blob is complete
        self._ahead = Ahead()

    def path(self, digest: Digest) -> Path:
        """Where a blob is, or will be."""
        return self.directory / digest.path

    def size(self, digest: Digest) -> int | None:
        """The bytes of a complete blob; None when it is not here."""
        try:
            return self.path(digest).stat().st_size
        except OSError:
            return None

    def missing_bytes(self, blobs: Iterable[Descriptor]) -> int:
        """How many bytes of some blobs would still have to be written; partial files count as present."""
        return sum(blob.size - min(self._present(blob), blob.size) for blob in blobs)

    @asynccontextmanager
    async def claim(self, blob: Descriptor) -> AsyncIterator[int]:
        """Hold the sole right to write `blob`; yield the bytes already here, from the start, without a gap.

        Equals `blob.size` only once the digest has been verified. Others wait until the claim ends.

        Raises:
            DigestMismatch: the blob is here, and its size is not the one that is claimed.
            StoreError: the disk refuses.
        """
        if await in_thread(self._is_complete, blob):
            yield blob.size
            return
        async with self._turns.turn(blob.digest):
            partial = Partial(blob, self.path(blob.digest))
            try:
                stop = threading.Event()
                done = await in_thread(self._begin, blob, partial, stop, stop=stop)
                self._held[blob.digest] = partial if done < blob.size else None
                yield done
            finally:
                self._held.pop(blob.digest, None)
                partial.close()

    @asynccontextmanager
    async def land(self, blob: Descriptor) -> AsyncIterator[Landing | None]:
        """Hold the sole right to write `blob`, in any order; yield where to, or None when it is complete.

        Raises:
            DigestMismatch: the blob is here, and its size is not the one that is claimed.
            InsufficientStorage: the disk is full.
            StoreError: the disk refuses.
        """
        if await in_thread(self._is_complete, blob):
            yield None
            return
        async with self._turns.turn(blob.digest):
            stop = threading.Event()
            if await in_thread(self._settle, blob, stop, stop=stop):
                yield None
                return
            async with self._landing(blob, Partial(blob, self.path(blob.digest))) as landing:
                yield landing

    @asynccontextmanager
    async def land_unnamed(self, key: Descriptor) -> AsyncIterator[Landing]:
        """Hold the sole right to write a blob whose digest nobody knows yet; that of `key` stands for it.

        Raises:
            InsufficientStorage: the disk is full.
            StoreError: the disk refuses.
        """
        async with (
            self._turns.turn(key.digest),
            self._landing(key, Partial(key, self.path(key.digest), named=False)) as landing,
        ):
            yield landing

    async def write(self, blob: Descriptor, offset: int, chunks: AsyncIterator[Piece]) -> None:
        """Append the rest of a claimed blob, from `offset` to its end, and verify its digest.

        When the chunks end too early or break off, everything that came stays for the next attempt.

        Raises:
            DigestMismatch: these are other bytes than the digest says; they are deleted.
            InsufficientStorage: the disk is full; what was written stays.
            StoreError: no claim is held, bytes are missing, or the disk refuses.
        """
        if blob.digest not in self._held:
            raise StoreError(f"blob `{blob.digest}` is written without a claim")
        partial = self._held[blob.digest]
        if partial is None:
            return
        await in_thread(partial.start, offset)
        await _fill(partial, chunks)
        await in_thread(partial.finish)
        self._held[blob.digest] = None

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[Piece]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes; the position is always `start`.

        Raises:
            StoreError: the blob is not here, or has another size than the descriptor says.
        """
        end = blob.size if stop is None else min(stop, blob.size)
        file = await in_thread(self._open, blob, start)
        try:
            yield start, _pieces(file, blob, end - start)
        finally:
            file.close()

    @asynccontextmanager
    async def _landing(self, blob: Descriptor, partial: Partial) -> AsyncIterator[Landing]:
        try:
            landing = Landing(blob, partial, await in_thread(partial.restore), self._ahead)
            async with landing.working():
                yield landing
        finally:
            partial.close()

    def _begin(self, blob: Descriptor, partial: Partial, stop: threading.Event) -> int:
        return blob.size if self._settle(blob, stop) else partial.resume(stop)

    def _settle(self, blob: Descriptor, stop: threading.Event) -> bool:
        """Whether a blob is complete after all; one that is here and damaged is deleted."""
        size = self.size(blob.digest)
        if size is None:
            return False
        if self._is_complete(blob):  # another process has finished it while we waited
            return True
        # Either the file is wrong or the descriptor is. A damaged file is deleted, a good one never.
        if self._matches(blob.digest, stop):
            raise DigestMismatch(
                f"blob `{blob.digest}` has {size} bytes, but the manifest says {blob.size}",
                hint="the manifest is wrong; ask whoever published the model",
            )
        if not stop.is_set():
            with explaining("delete", self.path(blob.digest)):
                remove_file(self.path(blob.digest))
        return False

    def _is_complete(self, blob: Descriptor) -> bool:
        """Whether a blob is here; large ones were verified when they came, small ones are again."""
        if self.size(blob.digest) != blob.size:
            return False
        return blob.size > CHUNK or self._matches(blob.digest, threading.Event())

    def _matches(self, digest: Digest, stop: threading.Event) -> bool:
        verifier = digest.verifier()
        path = self.path(digest)
        with explaining("read", path):
            try:
                with open_file(path) as file:
                    while not stop.is_set() and (data := file.read(CHUNK)):
                        verifier.update(data)
            except FileNotFoundError:  # deleted with a model just now
                return False
        return verifier.matches

    def _present(self, blob: Descriptor) -> int:
        if self.size(blob.digest) == blob.size:
            return blob.size
        path = self.path(blob.digest)
        try:
            return total(present_spans(path.with_name(f"{path.name}{SUFFIX}"), blob.size))
        except OSError:
            return 0

    def _open(self, blob: Descriptor, start: int) -> BinaryIO:
        size = self.size(blob.digest)
        if size != blob.size:
            reason = "is missing" if size is None else f"has {size} bytes instead of {blob.size}"
            raise StoreError(f"blob `{blob.digest}` {reason}", hint=PULL_AGAIN)
        path = self.path(blob.digest)
        with explaining("read", path):
            file = open_file(path)
            file.seek(start)
            return file


async def _fill(partial: Partial, chunks: AsyncIterator[Piece]) -> None:
    batch: list[Piece] = []
    size = 0
    try:
        async for chunk in chunks:
            batch.append(chunk)
            size += len(chunk)
            if size >= CHUNK:
                full, batch, size = batch, [], 0
                await in_thread(partial.append, full)
    finally:
        if batch:  # also when the other side broke off, or the caller left: less to fetch next time
            await in_thread(partial.append, batch)


async def _pieces(file: BinaryIO, blob: Descriptor, left: int) -> AsyncIterator[bytes]:
    while left > 0:
        data = await in_thread(file.read, min(CHUNK, left))
        if not data:
            raise StoreError(f"blob `{blob.digest}` is shorter than it was a moment ago", hint=PULL_AGAIN)
        left -= len(data)
        yield data
