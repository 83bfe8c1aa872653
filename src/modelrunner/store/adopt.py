"""Bytes that another program has already come into the store: shared with its file where that is safe.

A reflink is a copy of its own that shares blocks until one side writes. A hard link is the same file under
another name: whoever writes to it writes into the store, and its mode belongs to its owner, so it is left as
it is. Which of them is allowed is the caller's to say. Blocking; `store.py` calls it in threads.
"""

import errno
import hashlib
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from modelrunner.errors import DigestMismatch, InvalidRequest
from modelrunner.oci.digest import Digest
from modelrunner.store.disk import (
    TEMPORARY,
    NotAFile,
    explaining,
    free_bytes,
    no_room,
    open_file,
    sync_directory,
)
from modelrunner.store.writeback import AT_ONCE, begin_writeback

if sys.platform == "linux":
    import fcntl

_PIECE = 1024 * 1024  # bytes read at once; large enough that switching threads costs nothing
_FICLONE = 0x40049409  # Source: linux/fs.h, FICLONE is _IOW(0x94, 9, int)
# What a system says that cannot share these two files: no such call, another disk, no more links, not ours.
_CANNOT_SHARE = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EINVAL, errno.EMLINK, errno.EBADF, errno.ETXTBSY}
    | {errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOTSUP}
)

Count = Callable[[int], None]


class Way(StrEnum):
    """How a file's bytes came. As a wish it is the most that may be shared: nothing, blocks, or the file."""

    COPY = "copy"
    REFLINK = "reflink"
    LINK = "hard link"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A file whose bytes are in the store. `size` is in bytes; `way` is None when they were there before."""

    digest: Digest
    size: int
    way: Way | None


def ignore(_more: int) -> None:
    """Take note of how many more bytes were read, and do nothing."""


def place(source: Path, target: Path, *, way: Way = Way.REFLINK) -> Way:
    """Make `target` hold what `source` holds, sharing as much as `way` allows; says which way it was.

    `target` appears complete or not at all and replaces what was there. Nothing is hashed. What is not a hard
    link becomes read-only, as blobs are.

    Raises:
        InsufficientStorage: the copy does not fit.
        InvalidRequest: the source is no regular file, or cannot be read.
        StoreError: the target cannot be written.
    """
    with opened(source) as file, _beside(target) as temporary:
        taken = _share(file, source, temporary, way)
        if taken is None:
            size = os.fstat(file.fileno()).st_size
            _check_room(target, size)
            with explaining("write", target, needed=size), temporary.open("xb") as copy:
                shutil.copyfileobj(file, copy, AT_ONCE)
        _publish(temporary, target, taken or Way.COPY)
    return taken or Way.COPY


def take(
    source: Path,
    directory: Path,
    *,
    way: Way,
    expected: Digest | None = None,
    count: Count = ignore,
    stop: threading.Event | None = None,
) -> Adopted:
    """Bring a file below a directory of blobs, under its digest, reading it exactly once.

    `count` is told how many more bytes were read. Setting `stop` ends it with CancelledError.

    Raises:
        DigestMismatch: the file is not what `expected` says; nothing was added.
        InsufficientStorage: the copy does not fit.
        InvalidRequest: it is no regular file, cannot be read, or was written to meanwhile.
        StoreError: the store cannot be written.
    """
    reading = _Reading(expected.algorithm if expected is not None else "sha256", count, stop)
    near = directory / (expected.path if expected is not None else Path("sha256", "adopted"))
    with opened(source) as file, _beside(near) as temporary:
        before = os.fstat(file.fileno())
        taken = _share(file, source, temporary, way)
        if taken is Way.REFLINK:  # ours alone now, so that is what is hashed
            with opened(temporary) as clone:
                reading.hash(clone, temporary)
        elif taken is Way.LINK:
            reading.hash(file, source)
        else:
            _check_room(near, before.st_size)
            with explaining("write", near, needed=before.st_size), temporary.open("xb") as copy:
                reading.hash(file, source, copy)
        if taken is not Way.REFLINK:
            _check_unchanged(source, before, os.fstat(file.fileno()))
        digest = reading.digest
        if expected not in {None, digest}:
            raise DigestMismatch(
                f"damaged file: `{source}` does not have the digest `{expected}`",
                hint="let the program that it belongs to download it again",
            )
        target = directory / digest.path
        if _has(target, reading.size):
            return Adopted(digest, reading.size, None)
        _publish(temporary, target, taken or Way.COPY)
    return Adopted(digest, reading.size, taken or Way.COPY)


def hash_file(
    path: Path, algorithm: str = "sha256", *, count: Count = ignore, stop: threading.Event | None = None
) -> tuple[Digest, int]:
    """Hash a file, reading it once; its digest and how many bytes that were.

    Raises:
        InvalidRequest: it is no regular file, or cannot be read.
    """
    reading = _Reading(algorithm, count, stop)
    with opened(path) as file:
        reading.hash(file, path)
    return reading.digest, reading.size


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file to be read; never waits for a pipe, never reads a device.

    Raises:
        InvalidRequest: it is anything else, or cannot be opened.
    """
    try:
        file = open_file(path)
    except NotAFile as exc:
        raise InvalidRequest(f"not a regular file: `{path}`") from exc
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    with file:
        yield file


class _Reading:
    """One pass over a file: hashed, counted, and written on where it is to be copied."""

    def __init__(self, algorithm: str, count: Count, stop: threading.Event | None) -> None:
        self._hash = hashlib.new(algorithm)
        self._algorithm = algorithm
        self._count = count
        self._stop = stop
        self.size = 0

    @property
    def digest(self) -> Digest:
        return Digest(self._algorithm, self._hash.hexdigest())

    def hash(self, file: BufferedReader, path: Path, copy: BinaryIO | None = None) -> None:
        """Read what there is now: a file that grows as fast as it is read would have no end."""
        buffer = memoryview(bytearray(_PIECE))
        end = os.fstat(file.fileno()).st_size
        while length := _fill(file, path, buffer[: max(0, end - self.size)]):
            if self._stop is not None and self._stop.is_set():
                raise CancelledError
            self._hash.update(buffer[:length])
            if copy is not None:
                for start in range(0, length, AT_ONCE):
                    copy.write(buffer[start : min(start + AT_ONCE, length)])
                begin_writeback(copy.fileno(), self.size, length)  # or the end would wait for all of it
            self.size += length
            self._count(length)


def _fill(file: BufferedReader, path: Path, buffer: memoryview) -> int:
    try:
        return file.readinto(buffer) or 0
    except OSError as exc:
        raise _unreadable(path, exc) from exc


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A name next to `target` that nobody has; what is left there in the end is deleted."""
    with explaining("write", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}{TEMPORARY}{secrets.token_hex(8)}")
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)  # also after a rename between two names of one file


def _share(file: BufferedReader, source: Path, temporary: Path, way: Way) -> Way | None:
    """Make `temporary` share the file's bytes, as far as is allowed and possible; None when it is not."""
    if way is Way.COPY:
        return None
    if _clone(file, temporary):
        return Way.REFLINK
    if way is Way.LINK and _link(file, source, temporary):
        return Way.LINK
    return None


def _clone(file: BufferedReader, temporary: Path) -> bool:
    if sys.platform != "linux":
        return False
    with explaining("write", temporary):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            fcntl.ioctl(handle, _FICLONE, file.fileno())
        except OSError as exc:
            temporary.unlink()
            if exc.errno not in _CANNOT_SHARE:
                raise
            return False
        finally:
            os.close(handle)
    return True


def _link(file: BufferedReader, source: Path, temporary: Path) -> bool:
    """Link the very file that is open; a link of its own in the path is followed first, as open did."""
    with explaining("write", temporary):
        try:
            os.link(source.resolve(), temporary)
        except OSError as exc:
            if exc.errno not in _CANNOT_SHARE:
                raise
            return False
        if os.path.samestat(temporary.stat(), os.fstat(file.fileno())):
            return True
        temporary.unlink()
    return False


def _check_unchanged(source: Path, before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise InvalidRequest(
            f"file changed while it was read: `{source}`", hint="wait until it is complete, and try again"
        )


def _has(target: Path, size: int) -> bool:
    try:
        return target.stat().st_size == size
    except OSError:
        return False


def _check_room(target: Path, needed: int) -> None:
    """Make sure, before the first byte, that a copy fits where `target` will be."""
    free = free_bytes(target.parent)
    if needed > free:
        raise no_room(target.parent, needed=needed, free=free)


def _publish(temporary: Path, target: Path, way: Way) -> None:
    with explaining("write", target):
        if way is not Way.LINK:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o444)
        temporary.replace(target)
        sync_directory(target.parent)


def _unreadable(path: Path, exc: OSError) -> InvalidRequest:
    return InvalidRequest(f"cannot read `{path}`: {exc.strerror or exc}")
