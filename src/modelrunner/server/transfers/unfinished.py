"""Pulls and pushes that a daemon did not finish: written down as they begin, told of when it is back.

How far a pull had come is not written down: what has arrived is in the store, and that is asked.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from modelrunner.errors import RunnerError
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.server.connection.progress import Direction
from modelrunner.server.inspection.insight import moment
from modelrunner.store.disk import explaining, open_file, remove_file, write_atomically
from modelrunner.store.locks import FileLock
from modelrunner.store.offload import in_thread
from modelrunner.wire.transfers import ProgressLine, TransferView

_log = logging.getLogger(__name__)
_KEPT = 7 * 86400.0  # seconds; as long as the store keeps partial files
_LARGEST = 4 << 20  # bytes; what is larger is nothing that we wrote
_MESSAGE = "the daemon ended before this did; what has come is kept"

Lines = AsyncGenerator[ProgressLine, None]
Missing = Callable[[Sequence[Descriptor]], Awaitable[int]]


class _Entry(msgspec.Struct, eq=False):
    """One transfer; `layers` are sizes in bytes by digest, as far as they are known."""

    kind: Direction
    model: str
    began: str
    total: int = 0
    layers: dict[str, int] = {}

    def takes(self, line: ProgressLine) -> bool:
        """Learn from a line; whether it had something new."""
        layer = line["layer"]
        name = layer.get("id")
        if name is None or name in self.layers:
            return False
        self.layers[name] = layer["size"]
        self.total = max(line["total"], sum(self.layers.values()))
        return True


class _Document(msgspec.Struct):
    transfers: list[_Entry]
    version: int = 1


class Unfinished:
    """The file of what is under way, and what an earlier daemon left in it.

    Of several daemons on one store the first has the file; the others do not remember.
    """

    def __init__(
        self, path: Path, lock: FileLock, missing: Missing, wall: Callable[[], float] = time.time
    ) -> None:
        """`missing` says how many bytes of some blobs are not here; `wall` gives seconds since the epoch."""
        self._path = path
        self._lock = lock
        self._missing = missing
        self._wall = wall
        self._is_ours = False
        self._is_ending = False
        self._turn = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._running: list[_Entry] = []
        self._left: dict[str, _Entry] = {}

    def open(self) -> None:
        """Read what is left; blocking. A damaged file is as none, one that cannot be read is left alone."""
        try:
            self._is_ours = self._lock.acquire_now()
            if self._is_ours:
                self._left = {f"left-{next(self._numbers)}": entry for entry in self._read()}
        except RunnerError as exc:
            self._is_ours = False
            _log.warning("unfinished transfers not read, and none remembered reason=%s", exc)
        except _UNREADABLE as exc:
            _log.warning("unfinished transfers not read reason=%s", exc)

    def end(self) -> None:
        """Know that the daemon ends: what breaks off from now on is to be told of by the next one."""
        self._is_ending = True

    def close(self) -> None:
        """Let go of the file."""
        self._lock.release()

    def kept(self, kind: Direction, model: str, lines: Lines) -> Lines:
        """Pass the lines of a transfer on, which is written down as long as it lasts."""
        return self._kept(_Entry(kind, model, moment(self._wall())), lines)

    async def _kept(self, entry: _Entry, lines: Lines) -> Lines:
        place = entry.kind, entry.model
        self._left = {name: each for name, each in self._left.items() if (each.kind, each.model) != place}
        self._running.append(entry)
        try:
            await self._write()
            async with contextlib.aclosing(lines):
                async for line in lines:
                    if entry.takes(line):
                        await self._write()
                    yield line
        finally:
            if not self._is_ending:
                self._running.remove(entry)
                await self._write()

    async def views(self) -> list[TransferView]:
        """Tell of what was not finished, the latest first."""
        return [await self._view(name, entry) for name, entry in reversed(list(self._left.items()))]

    async def forget(self, name: str) -> TransferView | None:
        """Tell of one no more; None when there is none of that name. What has come of it stays."""
        entry = self._left.pop(name, None)
        if entry is None:
            return None
        await self._write()
        return await self._view(name, entry)

    async def _view(self, name: str, entry: _Entry) -> TransferView:
        blobs = list(_blobs(entry.layers.items())) if entry.kind == "pull" else []
        return {
            "id": name,
            "kind": entry.kind,
            "model": entry.model,
            "state": "interrupted",
            "done": sum(blob.size for blob in blobs) - await self._missing(blobs),
            "total": entry.total,
            "message": _MESSAGE,
            "began": entry.began,
        }

    def _read(self) -> Iterable[_Entry]:
        with explaining("read", self._path):
            try:
                with open_file(self._path) as file:
                    data = file.read(_LARGEST)
            except FileNotFoundError:
                return []
        document = msgspec.json.decode(data, type=_Document)
        now = self._wall()
        return [
            entry
            for entry in document.transfers
            if now - datetime.fromisoformat(entry.began).timestamp() < _KEPT
        ]

    async def _write(self) -> None:
        """Have the file say what is under way or left; that it cannot is no reason to stop a transfer."""
        if not self._is_ours:
            return
        async with self._turn:
            entries = [*self._left.values(), *self._running]
            data = msgspec.json.encode(_Document(entries)) if entries else b""
            try:
                await in_thread(_replace, self._path, data)
            except (OSError, RunnerError) as exc:
                _log.warning("unfinished transfers not written reason=%s", exc)


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)


def _replace(path: Path, data: bytes) -> None:
    if data:
        write_atomically(path, data, mode=0o600)  # an address may have a secret in it
    else:
        remove_file(path)


def _blobs(layers: Iterable[tuple[str, int]]) -> Iterable[Descriptor]:
    for name, size in layers:
        with contextlib.suppress(RunnerError):
            yield Descriptor("", Digest.parse(name), size)
