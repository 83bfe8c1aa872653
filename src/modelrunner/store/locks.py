"""Who may write what: turns inside this process, and lock files between processes.

A lock file is removed by its holder just before it lets go. Another process may then get a lock on a file
that no longer has a name; so whoever gets one looks whether the name still leads to the same file, and starts
again when it does not. A killed process leaves a file that nobody has locked, which is harmless.
"""

import asyncio
import errno
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from modelrunner.errors import StoreError
from modelrunner.oci.digest import Digest
from modelrunner.store.disk import explaining
from modelrunner.store.offload import in_thread

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5  # seconds between two attempts
_PATIENCE = 30.0  # seconds; an index is held for milliseconds, so a longer wait means a stopped process
# A file system without locks (some network and user-space ones): we go on without, as the reference does.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


class FileLock:
    """An exclusive lock between processes, and between users of one process; freed by the system on death."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire_now(self) -> bool:
        """Take the lock if nobody has it.

        Raises:
            StoreError: the lock file can be neither made nor opened.
        """
        with explaining("lock", self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if _lock(handle, self._path) and _is_still(handle, self._path):
                    self._handle = handle
            finally:
                if self._handle is None:
                    os.close(handle)
            return self._handle is not None

    def release(self) -> None:
        """Let go, and take the file away."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            # Windows cannot delete an open file; a store that was deleted and made again has another file.
            if sys.platform != "win32" and _is_still(handle, self._path):
                self._path.unlink(missing_ok=True)
        except OSError as exc:
            _log.warning("lock file stays path=%s reason=%s", self._path, exc.strerror)
        finally:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextmanager
def holding(path: Path, *, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold a lock file for the length of a short edit; blocks its thread while waiting, `patience` seconds.

    Raises:
        StoreError: another process has had it all the time.
    """
    deadline, pause = time.monotonic() + patience, _FIRST_PAUSE
    with FileLock(path) as lock:
        while not lock.acquire_now():
            if time.monotonic() > deadline:
                raise StoreError(
                    f"the store is busy: another process has held `{path}` for {patience:.0f} s",
                    hint="end the other process, or wait for it",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE / 10)
        yield


class Turns:
    """One writer for each digest: those of this process stand in line, other processes' locks are tried anew.

    There is no notice when another process lets go of a file, hence the trying.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turns: dict[Digest, asyncio.Lock] = {}
        self._users: Counter[Digest] = Counter()

    def path(self, digest: Digest) -> Path:
        """The lock file of a digest."""
        return self._directory / f"{digest.algorithm}-{digest.hex}.lock"

    @asynccontextmanager
    async def turn(self, digest: Digest) -> AsyncIterator[None]:
        """Wait for the sole right to write a digest, and hold it."""
        self._users[digest] += 1
        try:
            async with self._turns.setdefault(digest, asyncio.Lock()):
                with FileLock(self.path(digest)) as lock:
                    pause = _FIRST_PAUSE
                    while not await in_thread(lock.acquire_now):
                        await asyncio.sleep(pause)
                        pause = min(pause * 2, _LONGEST_PAUSE)
                    yield
        finally:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest], self._turns[digest]

    @contextmanager
    def if_free(self, digest: Digest) -> Iterator[bool]:
        """Hold a digest's right only if nobody has it, here or elsewhere; blocking, for sweeps."""
        with FileLock(self.path(digest)) as lock:
            yield lock.acquire_now()


def sweep(directory: Path) -> None:
    """Take away the lock files that killed processes left behind."""
    for path in directory.glob("*.lock"):
        with FileLock(path) as lock:
            lock.acquire_now()


def _lock(handle: int, path: Path) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in _NO_LOCKS:
            _log.warning("file system has no locks path=%s reason=%s", path, exc.strerror)
            return True
        if exc.errno in {errno.EACCES, errno.EAGAIN, errno.EDEADLK}:
            return False
        raise
    return True


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
