"""The responses that are kept, in SQLite: bounded by bytes and by time, written by one thread.

A response is one row with what it was asked and what it answered; a chain is followed from row to row, and
whoever follows one keeps all of it alive. WAL, so a daemon that is killed loses nothing that was committed.
"""

import asyncio
import contextlib
import functools
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from modelrunner.errors import PreviousNotFound, StoreError
from modelrunner.recorder.database import identity, make_file

JSON = dict[str, Any]
T = TypeVar("T")
_log = logging.getLogger(__name__)

_LONGEST_CHAIN = 10_000  # responses
_BUSY_SECONDS = 5.0  # while another process writes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, previous TEXT, run TEXT NOT NULL, used REAL NOT NULL, size INTEGER NOT NULL,
    input BLOB NOT NULL, response BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS events_gone AFTER DELETE ON responses
    BEGIN DELETE FROM events WHERE id = old.id; END;
CREATE INDEX IF NOT EXISTS responses_used ON responses (used, size);
"""
_UNFINISHED = frozenset({"queued", "in_progress"})
_INTERRUPTED = {"code": "server_error", "message": "the daemon ended before the response was complete"}


@dataclass(frozen=True, slots=True)
class Kept:
    """A response, the items of its input, and its events if they are to be had again."""

    input: list[JSON]
    response: JSON
    events: bytes = b""


class ResponseStore:
    """Keeps responses. Every method may be awaited from any task; one thread does the work, in order."""

    def __init__(
        self, path: Path, *, limit: int, lifetime: float, clock: Callable[[], float] = time.time
    ) -> None:
        """`limit` is in bytes of what is kept, `lifetime` in seconds since the last use."""
        self._path = path
        self._limit = limit
        self._lifetime = lifetime
        self._clock = clock
        self._run = secrets.token_hex(8)  # what this run began and did not end is ended when it is gone
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="responses")
        self._connection: sqlite3.Connection | None = None
        self._identity: object = None  # of the file that is open

    @property
    def is_off(self) -> bool:
        """Whether nothing is to be kept at all."""
        return self._limit == 0

    async def save(self, kept: Kept) -> None:
        """Keep a response, or replace it; returns when it is committed.

        Raises:
            StoreError: it cannot be written, or is larger than all that may be kept.
        """
        await self._do(functools.partial(self._save, kept))

    def save_soon(self, kept: Kept) -> None:
        """Keep a response as soon as those before it are kept; whether that succeeds is in the log."""
        work = functools.partial(self._save, kept)
        self._thread.submit(self._retried, work).add_done_callback(_noted)

    async def find(self, name: str) -> Kept | None:
        """Look a response up."""
        return await self._do(functools.partial(self._find, name))

    async def events(self, name: str) -> bytes:
        """Give the events of a response; none when they were not kept."""
        return await self._do(functools.partial(self._events, name))

    async def delete(self, name: str) -> bool:
        """Forget a response; says whether there was one."""
        return await self._do(functools.partial(self._delete, name))

    async def chain(self, name: str) -> list[Kept]:
        """Follow a response to the first of its chain; return all, the first one first, and keep them alive.

        Raises:
            PreviousNotFound: one of them is not there.
        """
        return await self._do(functools.partial(self._chain, name))

    async def close(self) -> None:
        """Finish what was begun, and close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._retried, work)

    def _retried(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work with the file; a damaged one is set aside, and the work begins anew."""
        try:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as exc:
                if not _is_damage(exc):
                    raise
                self._set_aside(exc)
                return work(self._opened())
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(
                f"cannot keep responses in `{self._path}`: {exc}",
                hint="set DMR_RESPONSES_PATH to another file",
            ) from exc

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and identity(self._path) != self._identity:  # deleted, or replaced
            self._close()
        if self._connection is None:
            make_file(self._path)
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA secure_delete = ON")
                connection.executescript(_SCHEMA)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection, self._identity = connection, identity(self._path)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _set_aside(self, exc: Exception) -> None:
        self._close()
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(self._clock())}")
        _log.error("responses set aside file=%s error=%s", aside, exc)
        self._path.replace(aside)
        for ending in ("-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    def _save(self, kept: Kept, connection: sqlite3.Connection) -> None:
        asked, answered = msgspec.json.encode(kept.input), msgspec.json.encode(kept.response)
        size = len(asked) + len(answered) + len(kept.events)
        if size > self._limit:
            raise StoreError(
                f"the response is too large to be kept: {size} bytes",
                hint="raise DMR_RESPONSES, or send `store` as false",
            )
        response = kept.response
        row = (
            response["id"],
            response["previous_response_id"],
            self._run,
            self._clock(),
            size,
            asked,
            answered,
        )
        with _transaction(connection):
            connection.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            if kept.events:
                connection.execute("INSERT OR REPLACE INTO events VALUES (?, ?)", (row[0], kept.events))
            self._trim(connection)

    def _trim(self, connection: sqlite3.Connection) -> None:
        """Forget what is too old, and of the rest what was used longest ago as far as it is too much."""
        connection.execute("DELETE FROM responses WHERE used < ?", (self._clock() - self._lifetime,))
        [held] = connection.execute("SELECT coalesce(sum(size), 0) FROM responses").fetchone()
        while held > self._limit:
            oldest = connection.execute(
                "SELECT id, size FROM responses ORDER BY used, rowid LIMIT 1"
            ).fetchone()
            connection.execute("DELETE FROM responses WHERE id = ?", oldest[:1])
            held -= oldest[1]

    def _find(self, name: str, connection: sqlite3.Connection) -> Kept | None:
        row = connection.execute(
            "SELECT input, response, run FROM responses WHERE id = ? AND used >= ?",
            (name, self._clock() - self._lifetime),
        ).fetchone()
        if row is None:
            return None
        kept = _read(row[0], row[1])
        if kept is None:
            _log.error("damaged response passed over response=%s", name)
        elif kept.response["status"] in _UNFINISHED and row[2] != self._run:
            kept.response.update({"status": "failed", "error": _INTERRUPTED})
        return kept

    def _events(self, name: str, connection: sqlite3.Connection) -> bytes:
        row = connection.execute("SELECT data FROM events WHERE id = ?", (name,)).fetchone()
        return b"" if row is None else bytes(row[0])

    def _delete(self, name: str, connection: sqlite3.Connection) -> bool:
        limit = (name, self._clock() - self._lifetime)
        return connection.execute("DELETE FROM responses WHERE id = ? AND used >= ?", limit).rowcount > 0

    def _chain(self, name: str, connection: sqlite3.Connection) -> list[Kept]:
        found: list[Kept] = []
        names: set[str] = set()
        wanted: str | None = name
        while wanted is not None and len(found) < _LONGEST_CHAIN:
            kept = self._find(wanted, connection)
            if kept is None or kept.response["id"] in names:
                raise PreviousNotFound(
                    f"Previous response with id `{wanted[:100]}` not found",
                    hint="it was not stored, has been deleted, or was kept for as long as may be",
                )
            found.append(kept)
            names.add(kept.response["id"])
            wanted = kept.response["previous_response_id"]
        with _transaction(connection):
            now = self._clock()
            for kept in found:
                connection.execute("UPDATE responses SET used = ? WHERE id = ?", (now, kept.response["id"]))
        return found[::-1]


class _Response(msgspec.Struct):
    """What is relied on in a response."""

    id: str
    status: str
    previous_response_id: str | None
    output: list[JSON] = []


def _read(asked: bytes, answered: bytes) -> Kept | None:
    """Read what is kept; None when it is not as it was written."""
    try:
        items = msgspec.json.decode(asked, type=list[JSON])
        response = msgspec.json.decode(answered, type=JSON)
        msgspec.convert(response, _Response)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Kept(items, response)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Any:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _is_damage(exc: sqlite3.DatabaseError) -> bool:
    """Whether the file is at fault, and not that it is busy, full or closed."""
    return exc.sqlite_errorcode in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _noted(future: Future[None]) -> None:
    if (exc := future.exception()) is not None:
        _log.warning("response not kept error=%s", exc)
