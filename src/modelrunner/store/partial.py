"""A blob that is still arriving: a file that is hashed as it grows and gets its name once it is right.

Blocking; `blobs.py` calls it in threads and decides who may.
"""

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from modelrunner.errors import DigestMismatch, StoreError
from modelrunner.oci.digest import Verifier
from modelrunner.oci.manifest import Descriptor
from modelrunner.store.disk import explaining, remove_file, sync_directory

SUFFIX = ".incomplete"  # the reference's; both continue each other's downloads
CHUNK = 1024 * 1024  # bytes read or written at once; large enough that changing threads costs nothing
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)


class Partial:
    """The partial file of one claimed blob. `position` is how many bytes are there, all of them hashed."""

    def __init__(self, blob: Descriptor, final: Path) -> None:
        self._blob = blob
        self._final = final
        self._path = final.with_name(f"{final.name}{SUFFIX}")
        self._verifier: Verifier = blob.digest.verifier()
        self._handle: int | None = None
        self.position = 0

    def resume(self, stop: threading.Event) -> int:
        """Hash what an earlier attempt left, so that the rest is hashed on without reading it again.

        A file that is larger than the blob, or as large and wrong, is deleted; one that is complete becomes
        the blob. Returns the position, which is the blob's size exactly when it is complete.

        Raises:
            DigestMismatch: the blob is said to be empty, and its digest is not that of nothing.
            StoreError: the file cannot be read.
        """
        with explaining("read", self._path):
            if not self._path.exists() and self._blob.size:
                return 0
            if self._path.exists() and self._path.stat().st_size > self._blob.size:
                self.discard()
            self._open()
            self._hash_what_is_there(stop)
        if self.position < self._blob.size:
            return self.position
        if not self._verifier.matches and self._blob.size:
            self.discard()
            return 0
        self.finish()
        return self.position

    def start(self, offset: int) -> None:
        """Make ready to append at `offset`, in bytes; 0 starts again.

        Raises:
            StoreError: bytes would be missing, or be written twice.
        """
        if offset == 0 and self.position:
            self.discard()
        if offset != self.position:
            raise StoreError(
                f"blob `{self._blob.digest}` goes on at byte {self.position}, not at {offset}",
                hint="try again",
            )
        with explaining("write", self._path, needed=self._blob.size - self.position):
            self._open()

    def append(self, chunks: Iterable[bytes]) -> None:
        """Write and hash the next bytes.

        Raises:
            DigestMismatch: more bytes than the blob has; the file is deleted.
            InsufficientStorage: the disk is full; what was written stays.
            StoreError: the file cannot be written.
        """
        data = memoryview(b"".join(chunks))
        if self.position + len(data) > self._blob.size:
            self.discard()
            raise DigestMismatch(
                f"blob `{self._blob.digest}` is longer than the {self._blob.size} bytes of its manifest",
                hint="try again; if it happens again, the other side serves a damaged copy",
            )
        with explaining("write", self._path, needed=self._blob.size - self.position):
            assert self._handle is not None, "appended before start"
            while data:
                written = os.write(self._handle, data)
                self._verifier.update(data[:written])
                self.position += written
                data = data[written:]

    def finish(self) -> None:
        """Verify the blob and give it its name.

        Raises:
            DigestMismatch: these are other bytes; the file is deleted.
            StoreError: bytes are missing, and what is there stays; or the file cannot be renamed.
        """
        if self.position < self._blob.size:
            raise StoreError(
                f"blob `{self._blob.digest}` ended after {self.position} of {self._blob.size} bytes",
                hint="try again; it continues where it stopped",
            )
        actual = self._verifier.actual
        if actual != self._blob.digest or not self._is_ours():
            self.discard()
            raise DigestMismatch(
                f"blob digest mismatch: expected `{self._blob.digest}`, got `{actual}`",
                hint="try again; if it happens again, the other side serves a damaged copy",
            )
        with explaining("write", self._path):
            assert self._handle is not None, "finished before start"
            os.fsync(self._handle)
            self.close()
            self._path.replace(self._final)
            # Bundles are hard links of blobs, and an engine must not be able to change a blob. Not before the
            # rename: a partial file that a crash leaves read-only could not be continued.
            self._final.chmod(0o444)
            sync_directory(self._final.parent)

    def discard(self) -> None:
        """Delete the file and start again from nothing."""
        self.close()
        with explaining("delete", self._path):
            remove_file(self._path)
        self._verifier = self._blob.digest.verifier()
        self.position = 0

    def close(self) -> None:
        """Close the file; what it holds stays for the next attempt."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _open(self) -> None:
        if self._handle is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, _FLAGS, 0o644)
            os.lseek(self._handle, self.position, os.SEEK_SET)

    def _hash_what_is_there(self, stop: threading.Event) -> None:
        assert self._handle is not None
        size = os.fstat(self._handle).st_size
        while self.position < size and not stop.is_set():
            data = os.read(self._handle, min(CHUNK, size - self.position))
            if not data:
                break
            self._verifier.update(data)
            self.position += len(data)

    def _is_ours(self) -> bool:
        """Whether the file holds what we hashed: an unlocked program may have written to it as well."""
        assert self._handle is not None
        return os.fstat(self._handle).st_size == self.position
