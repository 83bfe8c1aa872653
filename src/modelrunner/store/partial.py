"""A blob that is still arriving: a file that is hashed from its start and gets its name once it is right.

Bytes may be written in any order, each once, and a journal beside the file says which are there. The hash
goes over them in order, mostly from memory (`landing.py`); only what an earlier attempt left is read.
Blocking; `blobs.py` and `landing.py` call it in threads and decide who may.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from modelrunner.errors import DigestMismatch, StoreError
from modelrunner.oci.chunks import Piece, Span, Spans, prefix, united
from modelrunner.oci.digest import Digest, Verifier
from modelrunner.oci.manifest import Descriptor
from modelrunner.store import journal
from modelrunner.store.disk import explaining, remove_file, remove_quietly, sync_directory
from modelrunner.store.journal import JOURNAL, Journal
from modelrunner.store.writeback import AT_ONCE, begin_writeback

SUFFIX = ".incomplete"  # the reference's; both continue each other's downloads
CHUNK = 1024 * 1024  # bytes read or written at once; large enough that changing threads costs nothing
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
_SYNC_EVERY = 64 << 20  # bytes; what a power failure can cost


def present_spans(path: Path, size: int) -> Spans:
    """What the partial file at `path` has of a blob of `size` bytes.

    Without a journal it was written from its start on, by us or by the reference.

    Raises:
        OSError: it cannot be read.
    """
    try:
        length = path.stat().st_size
    except FileNotFoundError:
        return ()
    record = journal.read(path.with_name(f"{path.name}{JOURNAL}"))
    if record is None:
        return united([Span(0, length)]) if length <= size else ()
    if record.size != size:
        return ()
    return united(Span(each.start, min(each.stop, length)) for each in record.present(journal.boot()))


class Partial:
    """The partial file of one claimed blob. `hashed` is how many bytes from the start have been hashed."""

    def __init__(self, blob: Descriptor, final: Path, *, named: bool = True) -> None:
        """Without `named` the digest of `blob` only stands for one that nobody knows yet."""
        self._blob = blob
        self._named = named
        self._final = final
        self._path = final.with_name(f"{final.name}{SUFFIX}")
        self._journal_path = self._path.with_name(f"{self._path.name}{JOURNAL}")
        self._verifier: Verifier = blob.digest.verifier()
        self._handle: int | None = None
        self._journal: Journal | None = None
        self._noting = threading.Lock()
        self._unsynced = 0
        self.hashed = 0

    def resume(self, stop: threading.Event) -> int:
        """Hash what an earlier attempt left from the start without a gap; drop what is behind a gap.

        A file that is complete becomes the blob, a wrong one is deleted. Returns how many bytes are there,
        which is the blob's size exactly when it is complete.

        Raises:
            DigestMismatch: the blob is said to be empty, and its digest is not that of nothing.
            StoreError: the file cannot be read.
        """
        with explaining("read", self._path):
            there = prefix(present_spans(self._path, self._blob.size))
            if not there and self._blob.size:
                self._discard_useless()
                return 0
            self._open()
            os.ftruncate(self._file, there)
            remove_file(self._journal_path)
            self.hash_stored(there, stop)
        if self.hashed < self._blob.size:
            return self.hashed
        if not self._verifier.matches and self._blob.size:
            self.discard()
            return 0
        self.finish()
        return self.hashed

    def restore(self) -> Spans:
        """Make ready to write in any order; says what an earlier attempt left, none of it hashed yet.

        Raises:
            InsufficientStorage: the disk is full.
            StoreError: the file cannot be read or written.
        """
        with explaining("write", self._path, needed=self._blob.size):
            present = present_spans(self._path, self._blob.size)
            if not present:
                self._discard_useless()
            self._open()
            if present:
                _sync(self._file)
            self._journal = Journal(self._journal_path, self._blob.size, present)
            return present

    def start(self, offset: int) -> None:
        """Make ready to append at `offset`, in bytes; 0 starts again.

        Raises:
            StoreError: bytes would be missing, or be written twice.
        """
        if offset == 0 and self.hashed:
            self.discard()
        if offset != self.hashed:
            raise StoreError(
                f"blob `{self._blob.digest}` goes on at byte {self.hashed}, not at {offset}",
                hint="try again",
            )
        with explaining("write", self._path, needed=self._blob.size - self.hashed):
            self._open()

    def append(self, pieces: Sequence[Piece]) -> None:
        """Write and hash the next bytes.

        Raises:
            DigestMismatch: more bytes than the blob has; the file is deleted.
            InsufficientStorage: the disk is full; what was written stays.
            StoreError: the file cannot be written.
        """
        if self.hashed + sum(map(len, pieces)) > self._blob.size:
            self.discard()
            raise DigestMismatch(
                f"blob `{self._blob.digest}` is longer than the {self._blob.size} bytes of its manifest",
                hint="try again; if it happens again, the other side serves a damaged copy",
            )
        with explaining("write", self._path, needed=self._blob.size - self.hashed):
            _write_at(self._file, pieces, self.hashed)
        self.hash(pieces)

    def write(self, offset: int, pieces: Sequence[Piece]) -> None:
        """Write some bytes where they belong, and note that they are there; a sync may go on meanwhile.

        The disk begins with them at once, so that it is nearly done when the last ones come.

        Raises:
            InsufficientStorage: the disk is full; what was written stays.
            StoreError: the file cannot be written.
        """
        size = sum(map(len, pieces))
        with explaining("write", self._path, needed=self._blob.size - offset):
            _write_at(self._file, pieces, offset)
            begin_writeback(self._file, offset, size)
            with self._noting:
                assert self._journal is not None, "written before restored"
                self._journal.wrote(Span(offset, offset + size))
                self._unsynced += size

    @property
    def digest(self) -> Digest:
        """That of the bytes which have been hashed."""
        return self._verifier.actual

    @property
    def wants_sync(self) -> bool:
        """Whether so much was written that a power failure would cost too much."""
        return self._unsynced >= _SYNC_EVERY

    def sync(self) -> None:
        """Have what was written so far on the disk, and note it.

        Raises:
            StoreError: the disk refuses.
        """
        with explaining("write", self._path):
            with self._noting:
                assert self._journal is not None, "synced before restored"
                count, self._unsynced = self._journal.count, 0
            _sync(self._file)
            with self._noting:
                self._journal.synced(count)

    def hash(self, pieces: Sequence[Piece]) -> None:
        """Take the next bytes, in order."""
        for piece in pieces:
            self._verifier.update(piece)
            self.hashed += len(piece)

    def hash_stored(self, end: int, stop: threading.Event) -> None:
        """Take the next bytes up to `end` from the file, unless told to stop.

        Raises:
            StoreError: the file is shorter than it was.
        """
        with explaining("read", self._path):
            while self.hashed < end and not stop.is_set():
                data = _read_at(self._file, min(CHUNK, end - self.hashed), self.hashed)
                if not data:
                    raise StoreError(f"`{self._path}` became shorter while it was read", hint="try again")
                self._verifier.update(data)
                self.hashed += len(data)

    def finish(self) -> None:
        """Verify the blob and give it its name.

        Raises:
            DigestMismatch: these are other bytes; the file is deleted.
            StoreError: bytes are missing, and what is there stays; or the file cannot be renamed.
        """
        if self.hashed < self._blob.size:
            raise StoreError(
                f"blob `{self._blob.digest}` ended after {self.hashed} of {self._blob.size} bytes",
                hint="try again; it continues where it stopped",
            )
        actual = self._verifier.actual
        if (self._named and actual != self._blob.digest) or not self._is_ours():
            self.discard()
            raise DigestMismatch(
                f"blob digest mismatch: expected `{self._blob.digest}`, got `{actual}`",
                hint="try again; if it happens again, the other side serves a damaged copy",
            )
        with explaining("write", self._path):
            os.fsync(self._file)
            self.close()
            final = self._final.with_name(actual.hex)
            self._path.replace(final)
            # Bundles are hard links of blobs, and an engine must not be able to change a blob. Not before the
            # rename: a partial file that a crash leaves read-only could not be continued.
            final.chmod(0o444)
            sync_directory(final.parent)
        remove_quietly(self._journal_path)

    def discard(self) -> None:
        """Delete the file and start again from nothing."""
        self.close()
        with explaining("delete", self._path):
            # In this order: a file with gaps is never there without its journal.
            remove_file(self._path)
            remove_file(self._journal_path)
        self._verifier = self._blob.digest.verifier()
        self.hashed = 0

    def close(self) -> None:
        """Close the file; what it holds stays for the next attempt."""
        book, self._journal = self._journal, None
        if book is not None:
            book.close()
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    @property
    def _file(self) -> int:
        assert self._handle is not None, "used before it was opened"
        return self._handle

    def _open(self) -> None:
        if self._handle is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, _FLAGS, 0o644)

    def _discard_useless(self) -> None:
        """Delete a file of which nothing can be used; an empty one may stay."""
        if self._journal_path.exists() or (self._path.exists() and self._path.stat().st_size):
            self.discard()

    def _is_ours(self) -> bool:
        """Whether the file holds what we hashed: an unlocked program may have written to it as well."""
        return os.fstat(self._file).st_size == self.hashed


if sys.platform == "win32":  # which has no calls that say where to read or write
    _moving = threading.Lock()
    _sync = os.fsync

    def _write_at(handle: int, pieces: Sequence[Piece], offset: int) -> None:
        with _moving:
            os.lseek(handle, offset, os.SEEK_SET)
            view = memoryview(b"".join(pieces))
            while view:
                view = view[os.write(handle, view) :]

    def _read_at(handle: int, size: int, offset: int) -> bytes:
        with _moving:
            os.lseek(handle, offset, os.SEEK_SET)
            return os.read(handle, size)
else:
    _sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter
    _read_at = os.pread

    def _write_at(handle: int, pieces: Sequence[Piece], offset: int) -> None:
        """Write pieces one behind the other, at an offset."""
        for piece in pieces:
            view = memoryview(piece)
            while view:
                written = os.pwrite(handle, view[:AT_ONCE], offset)
                offset += written
                view = view[written:]
