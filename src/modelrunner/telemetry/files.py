"""Files that lines are appended to: one that is set aside when it is full, and a folder of a bounded number.

Written by one thread. Read elsewhere (`tail`), by whoever opens the paths.
"""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".log"
_SET_ASIDE = ".1"
# Not to wait for a reader, should somebody have made it a pipe.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)


class LogFile:
    """One append-only file that is set aside as `<name>.1` when it has grown to `limit` bytes."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self._limit = limit
        self._file: BinaryIO | None = None

    def append(self, data: bytes) -> None:
        """Write whole lines at once; a file that was moved or deleted from outside is made again."""
        file = self._current()
        file.write(data)
        file.flush()
        if file.tell() >= self._limit:
            self.close()
            self.path.replace(set_aside(self.path))
            self._current()  # there is always one, to read and to count

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _current(self) -> BinaryIO:
        if self._file is not None and not is_at(self._file, self.path):
            self.close()
        if self._file is None:
            descriptor = os.open(self.path, _FLAGS, 0o600)
            self._file = os.fdopen(descriptor, "ab")
        return self._file


class LogFolder:
    """Files by name, of which those written to last are kept when there are more than `most`.

    What was kept by an earlier run counts. `limit` is in bytes, of each.
    """

    def __init__(self, folder: Path, *, limit: int, most: int) -> None:
        self._folder = folder
        self._limit = limit
        self._most = most
        self._open: dict[str, LogFile] = {}

    def append(self, name: str, data: bytes) -> None:
        """Write whole lines to the file of that name.

        Raises:
            OSError: it cannot be written.
        """
        file = self._open.get(name)
        if file is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            file = self._open[name] = LogFile(self._folder / f"{name}{_SUFFIX}", self._limit)
        is_new = not file.path.exists()
        file.append(data)
        if is_new:
            self._trim()

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def paths(self, ending: str = "") -> list[Path]:
        """The files that are there, by name; those whose name has this ending."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(self._folder.glob(f"*{ending}{_SUFFIX}"))
        return []

    def _trim(self) -> None:
        ages = []
        for path in self.paths():
            with contextlib.suppress(FileNotFoundError):
                ages.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(ages, reverse=True)[self._most :]:
            file = self._open.pop(path.name.removesuffix(_SUFFIX), None)
            if file is not None:
                file.close()
            path.unlink(missing_ok=True)
            set_aside(path).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Name the file that a full one becomes."""
    return path.with_name(f"{path.name}{_SET_ASIDE}")


def is_at(file: BinaryIO, path: Path) -> bool:
    """Whether `path` still is this open file."""
    try:
        there = path.stat()
    except OSError:
        return False
    here = os.fstat(file.fileno())
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
