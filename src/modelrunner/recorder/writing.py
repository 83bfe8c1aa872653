"""Writes requests into the file and lets the oldest go: by age, and by how much there may be."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator

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
_AT_A_TIME = 200  # requests that go at once
_MERGED = 1000  # pages of the index that are merged at once
_VACUUM = 2000  # pages given back at once
_ROOM = 20  # a part of the limit: what is made beyond it, since making room costs as much for little
_RARELY = 1000  # merging takes up to a part of the time, where nothing needs the room
# What a request takes, about and at most: its texts, their index, larger than they where no word comes twice,
# and its row.
_SIZES = (
    "SELECT id, 1000 + 2.5 * length(CAST(prompt || answer || reasoning AS BLOB))"
    " + length(CAST(request || coalesce(response, '') || detail AS BLOB)) FROM details ORDER BY id"
)


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
        self._is_unmerged = False  # whether the index has words of what is gone
        self._merge_at = 0.0  # on the clock; not before

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

    def trim(self) -> Iterator[int]:
        """Let go what is too old, then the oldest as long as there is too much.

        Yields how many went, after each of many steps: all of it may take longer than a minute.

        Raises:
            sqlite3.Error: nothing can be written.
        """
        yield from self._forget_ids(
            self._ids("SELECT id FROM requests WHERE at < ? ORDER BY at", (self._clock() - self._lifetime,))
        )
        while excess := self._excess():
            if self._is_unmerged:  # which may be all that is too much
                yield from self._merge()
            elif oldest := self._oldest(excess):
                yield from self._forget_ids(oldest)
            else:
                break
        if self._is_unmerged and self._clock() >= self._merge_at:
            yield from self._merge()
        yield from self._give_back(self._limit)

    def _excess(self) -> int:
        """How many bytes have to go, with some more for what comes next; 0 as long as there is room."""
        count, free, size = pages(self._connection)
        used = (count - free) * size
        return 0 if used <= self._limit else used - self._limit + self._limit // _ROOM

    def _oldest(self, excess: int) -> list[int]:
        """Name the oldest, which take about so many bytes."""
        found: list[int] = []
        for number, size in self._connection.execute(_SIZES):
            if excess <= 0:
                break
            found.append(number)
            excess -= size
        return found

    def forget(self, wanted: Filter) -> int:
        """Forget what fits, and give its room back; returns how many went.

        Raises:
            sqlite3.Error: nothing can be written.
        """
        where, values = condition(wanted)
        gone = sum(self._forget_ids(self._ids(f"SELECT id FROM requests WHERE {where}", values)))
        if gone:
            for _ in (*self._merge(), *self._give_back(0)):
                pass
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return gone

    def _ids(self, select: str, values: Iterable[object]) -> list[int]:
        return [row[0] for row in self._connection.execute(select, tuple(values))]

    def _forget_ids(self, ids: list[int]) -> Iterator[int]:
        connection = self._connection
        for start in range(0, len(ids), _AT_A_TIME):
            some = ids[start : start + _AT_A_TIME]
            self._is_unmerged = True
            with transaction(connection):
                for number in some:
                    connection.execute(_UNWORD, (number,))
                    connection.execute("DELETE FROM details WHERE id = ?", (number,))
                    connection.execute("DELETE FROM requests WHERE id = ?", (number,))
            yield len(some)

    def _merge(self) -> Iterator[int]:
        """Make one of all parts of the index: until then it only grows by what is deleted from it.

        Source: SQLite documentation, "FTS5", the 'merge' command.
        """
        begin, connection = self._clock(), self._connection
        while True:
            before = connection.total_changes
            connection.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (-_MERGED,))
            if connection.total_changes - before < 2:  # it was done
                break
            yield 0
        now = self._clock()
        self._is_unmerged, self._merge_at = False, now + _RARELY * (now - begin)

    def _give_back(self, limit: int) -> Iterator[int]:
        """Make the file smaller, to so many bytes or until nothing in it is free."""
        count, free, size = pages(self._connection)
        while free and (many := min(free, _VACUUM, count - limit // size)) > 0:
            # Not `execute`, which ends after a page: its rows have no columns.
            self._connection.executescript(f"PRAGMA incremental_vacuum({many})")
            free -= many
            count -= many
            yield 0
