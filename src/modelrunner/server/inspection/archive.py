"""Reads what was recorded, in a thread of its own. Whoever asks sees what was recorded before."""

import asyncio
import functools
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from modelrunner.errors import RequestNotFound, StoreError
from modelrunner.recorder.database import has_tables, identity, is_damage, open_empty, open_to_read
from modelrunner.recorder.searching import number_of, whole
from modelrunner.server.inspection.recording import Recording
from modelrunner.wire.requests import RecordedRequest

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_LONGEST_NUMBER = 18  # digits
_PIECE = 64 * 1024  # bytes that are worth a write


class Archive:
    """The recorder's file, to read. Where there is none yet, it is as if it were empty."""

    def __init__(self, recording: Recording) -> None:
        order = recording.order
        self._recording = recording
        self._path = None if order is None or order.path is None else Path(order.path)
        self._lifetime = None if order is None else order.lifetime
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="requests")
        self._connection: sqlite3.Connection | None = None
        self._opened: object = None  # which file that is; it may be deleted or replaced
        self._empty: sqlite3.Connection | None = None  # where nothing was recorded
        self._stale = False
        recording.on_new_file = self._forget

    async def ask(self, work: Work[T]) -> T:
        """Do some work with the file, once what was taken before is in it.

        Raises:
            StoreError: the file cannot be read.
        """
        await self._recording.settle()
        try:
            return await self._in_thread(work)
        except sqlite3.DatabaseError as exc:
            if not is_damage(exc):
                raise StoreError(f"recorded requests cannot be read: {exc}", hint="see `dmr logs`") from exc
        self._forget()
        await self._recording.found_damaged()
        return await self._in_thread(work)

    async def find(self, text: str) -> RecordedRequest:
        """Find a request by its number, or by its name.

        Raises:
            RequestNotFound: there is none.
        """
        is_number = text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER

        def work(connection: sqlite3.Connection) -> RecordedRequest | None:
            number = int(text) if is_number else number_of(connection, text)
            return None if number is None else whole(connection, number)

        found = await self.ask(work)
        if found is None:
            raise RequestNotFound(
                f"no such request: `{text[:200]}`", hint="it was not recorded, or had to make room"
            )
        return found

    async def stream(
        self, work: Callable[[sqlite3.Connection], Iterable[bytes]]
    ) -> AsyncGenerator[bytes, None]:
        """Yield what some work makes, in pieces, made as they are taken."""
        pieces = await self.ask(lambda connection: iter(work(connection)))
        while piece := await self._in_thread(functools.partial(_gathered, pieces)):
            yield piece

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        for connection in (self._connection, self._empty):
            if connection is not None:
                connection.close()
        self._connection = self._empty = None

    def _forget(self) -> None:
        self._stale = True

    async def _in_thread(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._with_file, work)

    def _with_file(self, work: Work[T]) -> T:
        path = self._path
        if self._connection is not None and path and (self._stale or identity(path) != self._opened):
            self._connection.close()
            self._connection = None
        self._stale = False
        if self._connection is None and path is not None and path.exists():
            self._connection = open_to_read(path, self._lifetime)
        if self._connection is not None and path is not None and has_tables(self._connection):
            self._opened = identity(path)
            return work(self._connection)
        self._empty = self._empty or open_empty()  # pieces of a stream are still to be read from it
        return work(self._empty)


def _gathered(pieces: Iterator[bytes], _connection: sqlite3.Connection) -> bytes:
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= _PIECE:
            break
    return bytes(gathered)
