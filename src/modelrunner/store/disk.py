"""What the store asks of a file system: durable replacement, removal, free space, and errors in words."""

import errno
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG

from modelrunner.errors import InsufficientStorage, RunnerError, StoreError
from modelrunner.units import format_bytes

_log = logging.getLogger(__name__)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FOLDER_HINT = "check that the folder exists and that you may read and write it"
_PLACE_HINT = "a file of the program's belongs there: move away what is in its place"
_ROOM_HINT = "free some space, for example with `dmr rm`, and try again; what has arrived is kept"
TEMPORARY = ".tmp-"  # in the name of every file that is being replaced; the reference uses the same mark


class NotAFile(OSError):
    """In the place of a file there is a directory, a pipe or a device."""


def open_file(path: Path) -> BufferedReader:
    """Open a file to be read; never waits for a pipe, never reads a device.

    Raises:
        NotAFile: it is no regular file.
        OSError: it cannot be opened.
    """
    return open(path, "rb", opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotAFile(errno.EINVAL, "it is not a regular file", path)
    return handle


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file by `data` so that a reader, or a crash, finds either the old bytes or the new ones.

    Raises:
        OSError: the disk refuses; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}{TEMPORARY}", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power failure; Windows has no such call and needs none."""
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_file(path: Path) -> int:
    """Delete one file, even a read-only one; the bytes it had, 0 when there was none.

    Raises:
        OSError: it cannot be deleted.
    """
    try:
        size = path.lstat().st_size
        if sys.platform == "win32":
            path.chmod(0o600)  # a read-only file cannot be deleted there
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def remove_quietly(path: Path) -> int:
    """Delete a file or a directory that nothing refers to any more; only warn when that fails.

    Returns the bytes of a deleted file, 0 for a directory.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
            return 0
        return remove_file(path)
    except FileNotFoundError:
        return 0
    except OSError as exc:
        _log.warning("not deleted path=%s reason=%s", path, exc.strerror)
        return 0


def files_below(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every regular file in a tree that others may be changing, with its status; links are not followed."""
    pending = [root]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                found = list(entries)
        except OSError:
            continue
        for entry in found:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                    continue
                status = entry.stat(follow_symlinks=False)
                if S_ISREG(status.st_mode):
                    yield Path(entry.path), status


def free_bytes(path: Path) -> int:
    """What a user may still write where `path` is or will be, in bytes."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def no_room(path: Path, *, needed: int, free: int) -> InsufficientStorage:
    """Say that `needed` bytes do not fit where `path` is."""
    return InsufficientStorage(
        f"not enough disk space in `{path}`: {format_bytes(needed)} needed, {format_bytes(free)} free",
        hint=_ROOM_HINT,
        detail={"needed": needed, "free": free},
    )


@contextmanager
def explaining(what: str, path: Path, *, needed: int = 0) -> Iterator[None]:
    """Turn what the operating system says about `path` into an error that a user can act on.

    `needed` is how many bytes are still to be written, for the message about a full disk.

    Raises:
        InsufficientStorage: the disk or the quota is full.
        StoreError: anything else went wrong.
    """
    try:
        yield
    except RunnerError:
        raise
    except OSError as exc:
        if exc.errno in _FULL:
            free = 0
            with suppress(OSError):
                free = free_bytes(path.parent)
            raise no_room(path.parent, needed=needed, free=free) from exc
        raise StoreError(
            f"cannot {what} `{path}`: {exc.strerror or exc}",
            hint=_PLACE_HINT if isinstance(exc, NotAFile) else _FOLDER_HINT,
        ) from exc
