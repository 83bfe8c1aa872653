"""The files of saved states on disk: written beside their place, verified, renamed, and bounded in size.

    <root>/<model>/<configuration>/<checksum>-<bytes>-<number>.state

A name tells what the content has to be, so that a file that lost its content in a crash is found out. They
hold what people wrote: nobody else can open the folder, and they go with their model.
"""

import hashlib
import logging
import os
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from modelrunner.engines.states import Tokens
from modelrunner.runtime.states.saved_states import Kept, Saved, covered, surplus

_log = logging.getLogger(__name__)
_PIECE = 1 << 20  # bytes
_STALE = 3600.0  # seconds after which an unfinished file belongs to no engine
_NAME = 32  # characters of a hash that name a folder
_OURS = re.compile(r"[0-9a-f]{32}")
_SUFFIX = ".state"
_UNFINISHED = ".part"
Reader = Callable[[BinaryIO], Tokens | None]


class StateFiles:
    """All states that are kept, up to `limit` bytes and half of what the disk has left. Its methods block."""

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit
        self.off = limit <= 0

    def folder(self, model: str, key: str) -> "StateFolder":
        """Open the folder for a model's hexadecimal digest and a configuration.

        Raises:
            OSError: it cannot be made.
        """
        path = self._of(model) / hashlib.sha256(key.encode()).hexdigest()[:_NAME]
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        return StateFolder(path, self)

    def forget(self, model: str) -> None:
        """Delete all states of a model."""
        shutil.rmtree(self._of(model), ignore_errors=True)

    def clear(self) -> None:
        """Delete all states, and nothing else that may be in the folder, which a user may have named."""
        for path in self._root.glob("*"):
            if _OURS.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def trim(self) -> None:
        """Delete what killed daemons left unfinished, and of the rest, if it is too much, what is oldest."""
        for left in self._root.glob(f"*/*/*{_UNFINISHED}"):
            if _look(left).used < time.time() - _STALE:
                _delete(left)
        kept = [entry for path in self._root.glob(f"*/*/*{_SUFFIX}") if (entry := _look(path)).size]
        try:
            room = shutil.disk_usage(self._root).free + sum(entry.size for entry in kept)
        except OSError:
            room = 0
        for entry in surplus(kept, min(self._limit, room // 2)):
            _delete(Path(entry.path))
            _log.info("saved state dropped path=%s bytes=%d", entry.path, entry.size)

    def _of(self, model: str) -> Path:
        return self._root / model[:_NAME]


class StateFolder:
    """The states of one model in one configuration. Its methods block."""

    def __init__(self, path: Path, files: StateFiles) -> None:
        self.path = path
        self._files = files

    def saved(self, read: Reader) -> list[Saved]:
        """Say which states are here; one that cannot be read is deleted."""
        return list(self._saved(read))

    def _saved(self, read: Reader) -> Iterator[Saved]:
        for path in self.path.glob(f"*{_SUFFIX}"):
            try:
                with path.open("rb") as state:
                    tokens = read(state)
            except OSError:
                continue
            if tokens is None:
                _delete(path)
            else:
                yield Saved(path.name, tokens)

    def unfinished(self) -> str:
        """Make a name to write under."""
        return f"{secrets.token_hex(8)}{_UNFINISHED}"

    def publish(self, unfinished: str, size: int, read: Reader) -> Saved | None:
        """Take a file of `size` bytes that an engine wrote, for whole if it is; drop those it makes needless.

        Raises:
            OSError: it cannot be read or renamed.
        """
        path = self.path / unfinished
        with path.open("rb") as state:
            tokens = read(state)
            state.seek(0)
            checksum, length = _checksum(state)
        if tokens is None or length != size:
            _delete(path)
            return None
        new = Saved(f"{checksum:08x}-{length:x}-{secrets.token_hex(4)}{_SUFFIX}", tokens)
        path.rename(self.path / new.file)
        for old in covered(self._saved(read), new):
            self.drop(old.file)
        self._files.trim()
        return new

    def intact(self, file: str) -> bool:
        """Whether a file has the content that it was saved with."""
        try:
            with (self.path / file).open("rb") as state:
                checksum, length = _checksum(state)
        except OSError:
            return False
        return file.startswith(f"{checksum:08x}-{length:x}-")

    def touch(self, file: str) -> None:
        """Note that a file was of use just now."""
        try:
            os.utime(self.path / file)
        except OSError:
            _log.debug("saved state is gone file=%s", file)

    def drop(self, file: str) -> None:
        """Delete a file, if it is there."""
        _delete(self.path / file)


def _delete(path: Path) -> None:
    """Delete a file, if it is there and lets itself be deleted."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        _log.warning("saved state cannot be deleted path=%s error=%s", path, exc)


def _checksum(state: BinaryIO) -> tuple[int, int]:
    """The CRC-32 of what is left of a file, and its length in bytes; it is a check against accidents."""
    checksum = length = 0
    while piece := state.read(_PIECE):
        checksum = zlib.crc32(piece, checksum)
        length += len(piece)
    return checksum, length


def _look(path: Path) -> Kept:
    """A file's size and age; nothing and now, for one that is gone."""
    try:
        status = path.stat()
    except OSError:
        return Kept(str(path), 0, time.time())
    return Kept(str(path), status.st_size, status.st_mtime)
