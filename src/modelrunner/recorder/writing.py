"""Writes requests into the file and lets the oldest go: by age, and by how much there may be."""

import sqlite3
import time
from collections.abc import Callable, Iterable

import msgspec

from modelrunner.recorder.conditions import condition
from modelrunner.recorder.database import COLUMNS, pages, transaction
from modelrunner.recorder.values import Entry, Filter

_NAMES = (*COLUMNS, "reached")
_INSERT = f"INSERT INTO requests ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"
_DETAIL = "INSERT INTO details VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_WORDS = "INSERT INTO words (rowid, prompt, answer, reasoning, error) VALUES (?, ?, ?, ?, ?)"
_UNWORD = (
    "INSERT INTO words (words, rowid, prompt, answer, reasoning, error)"
    " SELECT 'delete', id, prompt, answer, reasoning, error FROM details WHERE id = ?"
)
_AT_A_TIME = 200  # requests that make room at once
_VACUUM = 2000  # pages given back at once


class Writing:
    """The one who writes."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        limit: int,
        lifetime: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`limit` is in bytes of the file, `lifetime` in seconds."""
        self._connection = connection
        self._limit = limit
        self._lifetime = lifetime
        self._clock = clock

    def store(self, entries: Iterable[Entry]) -> list[int]:
        """Store requests, all or none of them; returns their numbers.

        Raises:
            sqlite3.Error: they are not stored.
        """
        stored: list[int] = []
        connection = self._connection
        with transaction(connection):
            for entry in entries:
                summary, detail = entry.summary, entry.detail
                row = [summary[name] for name in COLUMNS]
                number = connection.execute(_INSERT, [*row, detail["reached"]]).lastrowid
                texts = (number, entry.prompt, entry.answer, entry.reasoning, summary["error"])
                connection.execute(
                    _DETAIL, (*texts, entry.request, entry.response, msgspec.json.encode(detail).decode())
                )
                connection.execute(_WORDS, texts)
                stored.append(number or 0)
        return stored

    def trim(self) -> int:
        """Let go what is too old, then the oldest as long as there is too much; returns how many went.

        Raises:
            sqlite3.Error: nothing can be written.
        """
        gone = self._forget_ids(
            "SELECT id FROM requests WHERE at < ? ORDER BY at", (self._clock() - self._lifetime,)
        )
        while some := self._too_many():
            went = self._forget_ids("SELECT id FROM requests ORDER BY id LIMIT ?", (some,))
            if not went:
                break
            gone += went
        return gone

    def _too_many(self) -> int:
        """How many requests have to go, as far as their average size tells; some at a time."""
        count, free, size = pages(self._connection)
        used = (count - free) * size
        if used <= self._limit:
            return 0
        [requests] = self._connection.execute("SELECT count(*) FROM requests").fetchone()
        return min(_AT_A_TIME, 1 + int(requests * (used - self._limit) / used))

    def forget(self, wanted: Filter) -> int:
        """Forget what fits, and give its room back; returns how many went.

        Raises:
            sqlite3.Error: nothing can be written.
        """
        where, values = condition(wanted)
        gone = self._forget_ids(f"SELECT id FROM requests WHERE {where}", values)
        if gone:
            self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")
            self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM})").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return gone

    def _forget_ids(self, select: str, values: Iterable[object]) -> int:
        connection = self._connection
        ids = [row[0] for row in connection.execute(select, tuple(values))]
        for start in range(0, len(ids), _AT_A_TIME):
            with transaction(connection):
                for number in ids[start : start + _AT_A_TIME]:
                    connection.execute(_UNWORD, (number,))
                    connection.execute("DELETE FROM details WHERE id = ?", (number,))
                    connection.execute("DELETE FROM requests WHERE id = ?", (number,))
        return len(ids)
