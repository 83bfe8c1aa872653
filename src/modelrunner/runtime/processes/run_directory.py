"""The daemon's private directory, with one for each engine: gone at the end, swept when a daemon was killed.

Its path is short, because that of a Unix socket is limited. Its owner holds a lock on a file in it, which the
kernel lets go whatever way the owner ends; numbers of processes, which are used again and differ between
containers that share a directory, decide nothing. POSIX only, as Unix sockets are.
"""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from modelrunner.errors import RunnerError

_log = logging.getLogger(__name__)

MAX_SOCKET_PATH = 103  # bytes: sockaddr_un.sun_path is 104 on macOS and 108 on Linux, with a zero at the end
_ROOM = 24  # bytes kept free for the name of a socket
_PREFIX = "dmr-"
_LOCK = "lock"


def parents(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a run directory may be made, the best place first."""
    named = (environ.get("XDG_RUNTIME_DIR"), environ.get("TMPDIR"), "/tmp")  # noqa: S108 - made 0700, exclusively
    return tuple(Path(text) for text in named if text and text.startswith("/"))


class RunDirectory:
    """A directory that only this process uses. Its name holds the process's number and when it was made."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._numbers = 0

    @classmethod
    def create(cls, places: Sequence[Path]) -> "RunDirectory":
        """Make a directory in the first place that is writable and short enough; sweep dead ones beside it.

        Raises:
            RunnerError: none of the places will do.
        """
        reasons = []
        for parent in places:
            path = parent / f"{_PREFIX}{os.getpid()}-{time.time_ns() // 1_000_000:x}"
            if len(os.fsencode(path)) + 1 + _ROOM > MAX_SOCKET_PATH:
                reasons.append(f"`{parent}` is too long for Unix sockets")
                continue
            try:
                lock = _make(path)
            except OSError as exc:
                reasons.append(f"`{parent}`: {exc.strerror}")
                continue
            sweep(parent)
            return cls(path, lock)
        raise RunnerError(
            f"no directory for sockets: {', '.join(reasons)}",
            hint="set XDG_RUNTIME_DIR to a short path that you can write to",
        )

    def engine(self) -> Path:
        """Make a directory for one engine, which nobody had before and nobody else may enter.

        Raises:
            RunnerError: it cannot be made.
        """
        self._numbers += 1
        path = self.path / str(self._numbers)
        try:
            path.mkdir(mode=0o700)
        except OSError as exc:
            raise RunnerError(
                f"no directory for an engine: `{path}`: {exc.strerror}",
                hint="somebody removed the daemon's directory, or its disk is full; restart the daemon",
            ) from exc
        return path

    def close(self) -> None:
        """Remove the directory and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _make(path: Path) -> int:
    """Make the directory under another name first: a sweep must not find it before it is locked."""
    unlocked = path.with_name(f".{path.name}")
    unlocked.mkdir(mode=0o700)  # fails on anything that exists, so nobody else can have prepared it
    lock = os.open(unlocked / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unlocked.rename(path)
    return lock


def sweep(parent: Path) -> int:
    """Remove the run directories of this user in `parent` whose owners are dead; say how many."""
    removed = 0
    for path in parent.glob(f"{_PREFIX}*-*"):
        with suppress(OSError):  # another sweep was faster, or it is not ours to touch
            if path.is_symlink() or path.stat().st_uid != os.getuid() or _is_locked(path):
                continue
            shutil.rmtree(path)
            _log.info("removed what a dead daemon left behind path=%s", path)
            removed += 1
    return removed


def _is_locked(path: Path) -> bool:
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
