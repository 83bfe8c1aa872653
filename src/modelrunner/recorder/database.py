"""The file that requests are kept in: SQLite, opened by the recorder to write and by the daemon to read.

WAL, so readers and the writer do not wait for each other, and what was committed survives any end. The texts
are indexed for full-text search by an index that holds no copy of them.
Source: SQLite documentation, "FTS5 External Content Tables" and "Write-Ahead Logging".
"""

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

BUSY_SECONDS = 5.0  # while another process writes
VERSION = 1
_CACHE = 32_768  # KiB
COLUMNS = (
    "request_id",
    "at",
    "model",
    "model_id",
    "backend",
    "mode",
    "dialect",
    "method",
    "path",
    "caller",
    "user_agent",
    "address",
    "streamed",
    "status",
    "outcome",
    "error",
    "prompt",
    "answer",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "tokens_per_second",
    "prompt_per_second",
    "context_used",
    "context_size",
    "first_token",
    "seconds",
    "finish_reason",
    "tool_calls",
    "replay_of",
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(f"{name} ANY" for name in COLUMNS)}, reached ANY
) STRICT;
CREATE INDEX IF NOT EXISTS requests_at ON requests (at);
CREATE INDEX IF NOT EXISTS requests_name ON requests (request_id);
CREATE INDEX IF NOT EXISTS requests_model ON requests (model_id, model);
CREATE TABLE IF NOT EXISTS details (
    id INTEGER PRIMARY KEY, prompt TEXT, answer TEXT, reasoning TEXT, error TEXT,
    request TEXT, response TEXT, detail TEXT
) STRICT;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    prompt, answer, reasoning, error, content='details', content_rowid='id',
    tokenize="unicode61 remove_diacritics 2"
);
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, value BLOB) STRICT;
"""
# Has the table's name, which it hides. The plus sign keeps the index of moments for those who ask for a span:
# whoever wants the last requests is to take them from the end, and not to sort all that are young.
_YOUNG = (
    "CREATE TEMP VIEW requests AS SELECT * FROM main.requests"
    " WHERE +at >= (julianday('now') - 2440587.5) * 86400 - {lifetime!r}"
)


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open the file, made for its owner only when it is missing.

    Raises:
        sqlite3.Error, OSError: it cannot be opened, or is damaged.
    """
    make_file(path)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def make_file(path: Path) -> None:
    """Make an empty file, for its owner only, when there is none.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    else:
        _without_journal(path)  # what is left of a file that was deleted would be read into this one


def _prepare(connection: sqlite3.Connection) -> None:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    elif version != VERSION:
        raise sqlite3.DatabaseError(f"written by another version of the program: {version}")
    connection.execute("SELECT max(id) FROM requests").fetchone()


def open_to_read(path: Path, lifetime: float | None = None) -> sqlite3.Connection:
    """Open the file to read only; any thread may use the connection, one at a time.

    What is older than `lifetime`, in seconds, is not there for it, whether it was removed yet or not.

    Raises:
        sqlite3.Error: it is not there, or cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    if lifetime is not None:
        connection.execute(_YOUNG.format(lifetime=float(lifetime)))
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")
    connection.row_factory = sqlite3.Row
    return connection


def has_tables(connection: sqlite3.Connection) -> bool:
    """Whether there is anything to read; who was about to make the tables may have been killed.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    [version] = connection.execute("PRAGMA user_version").fetchone()
    return bool(version)


def open_empty() -> sqlite3.Connection:
    """Open a file in memory with nothing in it."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript(_SCHEMA)
    connection.row_factory = sqlite3.Row
    return connection


def is_damage(exc: BaseException) -> bool:
    """Whether the file is at fault, and not that it is busy, full or closed."""
    if not isinstance(exc, sqlite3.DatabaseError):
        return False
    code = getattr(exc, "sqlite_errorcode", None)
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, None} or (
        isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_CORRUPT
    )


def set_aside(path: Path) -> Path:
    """Move a damaged file out of the way; it may be all that is left of something."""
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}-{secrets.token_hex(2)}")
    path.replace(aside)
    _without_journal(path)
    return aside


def identity(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Tell a file and its journal, once it is open, from others that have their names later."""
    return tuple(_inode(path.with_name(path.name + ending)) for ending in ("", "-wal"))


def _inode(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _without_journal(path: Path) -> None:
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def salt_of(connection: sqlite3.Connection) -> bytes:
    """The secret of this file, by which the marks of API keys are made."""
    connection.execute("INSERT OR IGNORE INTO kept VALUES ('salt', ?)", (secrets.token_bytes(16),))
    [salt] = connection.execute("SELECT value FROM kept WHERE name = 'salt'").fetchone()
    return bytes(salt)


def number_after(connection: sqlite3.Connection, last: int) -> int:
    """Give no number again up to one that another file gave; returns the last that was given by either."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'requests'").fetchone()
    given = 0 if row is None else int(row[0])
    if given < last:
        with transaction(connection):
            connection.execute("DELETE FROM sqlite_sequence WHERE name = 'requests'")
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('requests', ?)", (last,))
    return max(given, last)


def pages(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """How many pages there are, how many of them are free, and how large one is, in bytes."""
    [count] = connection.execute("PRAGMA page_count").fetchone()
    [free] = connection.execute("PRAGMA freelist_count").fetchone()
    [size] = connection.execute("PRAGMA page_size").fetchone()
    return count, free, size


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
