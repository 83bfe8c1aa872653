"""The daemon's log files: one for itself, one for all engines; written off the loop, merged when read.

Each line is `[2026-01-02T03:04:05.123456789Z] text`, so that the two files can be merged by time. A line
is queued where it arises and written by one thread, which also rotates: nothing here blocks the event loop on
a disk or on a terminal.
"""

import asyncio
import contextlib
import heapq
import json
import logging
import os
import queue
import re
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from modelrunner.errors import StoreError

SERVICE_LOG = "inference.log"
ENGINE_LOG = "inference-llama.cpp-server.log"

_STAMP = re.compile(rb"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\] ")
_MOST_WAITING = 20_000  # lines; an engine that shouts faster than the disk writes loses the rest
_GATHER = 0.05  # seconds; to wake the writer for each line would take the interpreter from the event loop
_CHUNK = 64 * 1024
_NO_STAMP = b""  # sorts before every stamp


def stamp(nanoseconds: int) -> str:
    """Print a moment, in nanoseconds since 1970, as RFC 3339 in UTC with nine digits."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{_second(seconds)}.{fraction:09d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


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
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _current(self) -> BinaryIO:
        if self._file is not None and not _is_at(self._file, self.path):
            self.close()
        if self._file is None:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._file = os.fdopen(descriptor, "ab")
        return self._file


class Logs:
    """Both files of a daemon: takes lines from anywhere, wakes those who follow."""

    def __init__(self, folder: Path, *, limit: int, console: TextIO | None = None) -> None:
        """Make the folder when it is missing. `limit` is in bytes; `console` gets the service's lines too.

        Raises:
            StoreError: the folder or a file in it cannot be written.
        """
        self._files = {name: LogFile(folder / name, limit) for name in (SERVICE_LOG, ENGINE_LOG)}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._files[SERVICE_LOG].append(b"")
        except OSError as exc:
            raise StoreError(
                f"cannot write log files in `{folder}`: {exc.strerror}",
                hint="set MODEL_RUNNER_LOG_DIR to a folder that can be written",
            ) from exc
        self._folder = folder
        self._console = console
        self._lines: queue.SimpleQueue[tuple[str, bytes] | threading.Event | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._dropped = 0
        self._watchers: set[_Watcher] = set()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    @property
    def exists(self) -> bool:
        """Whether there is a service log to read."""
        return (self._folder / SERVICE_LOG).exists()

    def service_line(self, text: str) -> None:
        """Queue a line of the daemon itself."""
        self._put(SERVICE_LOG, text)

    def engine_line(self, text: str) -> None:
        """Queue a line that an engine printed."""
        self._put(ENGINE_LOG, text)

    def handler(self) -> logging.Handler:
        """Make a handler that puts log records into the service's file."""
        return _Handler(self)

    async def read(self, *, follow: bool, engines: bool) -> AsyncGenerator[bytes, None]:
        """Yield what was logged, merged by time; with `follow` then each line as it comes, without a gap."""
        names = (SERVICE_LOG, ENGINE_LOG) if engines else (SERVICE_LOG,)
        with contextlib.ExitStack() as stack:
            watcher = stack.enter_context(self._watch()) if follow else None
            await asyncio.to_thread(self.flush)
            tails = [stack.enter_context(contextlib.closing(_Tail(self._folder / name))) for name in names]
            records = (tail.records(whole=not follow) for tail in tails)
            batches = _batches(heapq.merge(*records, key=lambda record: record.moment))
            while batch := await asyncio.to_thread(next, batches, b""):
                yield batch
            while watcher is not None:
                await watcher.changed()
                for tail in tails:
                    if new := await asyncio.to_thread(tail.new_lines):
                        yield new

    def flush(self) -> None:
        """Wait until every line that was queued before is written; blocks."""
        written = threading.Event()
        self._lines.put(written)
        self._hurry.set()
        while self._thread.is_alive() and not written.wait(timeout=1):
            pass

    def close(self) -> None:
        """Write what is queued and stop; blocks, but not for ever behind a stuck terminal."""
        self._lines.put(None)
        self._hurry.set()
        self._thread.join(timeout=5)

    @contextlib.contextmanager
    def _watch(self) -> Iterator["_Watcher"]:
        watcher = _Watcher()
        self._watchers = self._watchers | {watcher}  # a new set: the thread may be walking the old one
        try:
            yield watcher
        finally:
            self._watchers = self._watchers - {watcher}

    def _put(self, name: str, text: str) -> None:
        if self._lines.qsize() >= _MOST_WAITING:
            self._dropped += 1
            return
        self._lines.put((name, _line(text)))

    def _run(self) -> None:
        running = True
        while running:
            batch = [self._lines.get()]
            self._hurry.wait(_GATHER)
            self._hurry.clear()
            while not self._lines.empty():
                batch.append(self._lines.get())
            running = None not in batch
            self._write([entry for entry in batch if isinstance(entry, tuple)])
            for entry in batch:
                if isinstance(entry, threading.Event):
                    entry.set()
        for file in self._files.values():
            file.close()

    def _write(self, entries: list[tuple[str, bytes]]) -> None:
        if self._dropped and entries:
            entries.append(
                (SERVICE_LOG, _line(f'level=WARNING msg="{self._dropped} log lines were dropped"'))
            )
            self._dropped = 0
        for name, file in self._files.items():
            data = b"".join(line for owner, line in entries if owner == name)
            if data:
                # A full disk must not end the thread that everything else logs through.
                with contextlib.suppress(OSError):
                    file.append(data)
                if name == SERVICE_LOG:
                    self._show(data)
        for watcher in self._watchers if entries else ():
            watcher.wake()

    def _show(self, data: bytes) -> None:
        if self._console is not None:
            try:
                self._console.write(data.decode("utf-8", "replace"))
                self._console.flush()
            except (OSError, ValueError):  # the terminal or pipe is gone
                self._console = None


class _Handler(logging.Handler):
    """Turns log records into lines of `level=… logger=… msg="…"`, a traceback into more of them."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = json.dumps(record.getMessage(), ensure_ascii=False)
            self._logs.service_line(f"level={record.levelname} logger={record.name} msg={message}")
            if record.exc_info:
                for line in _TRACEBACKS.formatException(record.exc_info).splitlines():
                    self._logs.service_line(line)
        except (TypeError, ValueError):  # arguments that do not fit their message
            self.handleError(record)


class _Watcher:
    """Wakes one follower, on its event loop, when lines were written."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._written = asyncio.Event()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._written.set)

    async def changed(self) -> None:
        await self._written.wait()
        self._written.clear()


class _Record(NamedTuple):
    """A line with the moment it belongs to."""

    moment: bytes
    line: bytes


class _Tail:
    """Reads one log file from its start, then what is added, through truncation and replacement."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def records(self, *, whole: bool) -> Iterator[_Record]:
        """Read what is there now; a line without a stamp belongs to the moment of the one before.

        A last line without an end is left for `new_lines`, unless the `whole` file is wanted.
        """
        moment = _NO_STAMP
        end = os.fstat(self._file.fileno()).st_size if self._file else 0
        while self._file and self._file.tell() < end:
            start = self._file.tell()
            line = self._file.readline()
            if not line.endswith(b"\n") and not whole:
                self._file.seek(start)
                return
            text = line.rstrip(b"\r\n")
            if match := _STAMP.match(text):
                moment = match[1] + b"." + (match[2] or b"").ljust(9, b"0")
            if text:
                yield _Record(moment, text + b"\n")

    def new_lines(self) -> bytes:
        """Read the complete lines that were added since."""
        added = self._read()
        if self._file is None or not _is_at(self._file, self._path):
            self.close()
            self._file = _open(self._path)
            added += self._read()
        return added

    def _read(self) -> bytes:
        if self._file is None:
            return b""
        start = self._file.tell()
        if os.fstat(self._file.fileno()).st_size < start:  # truncated from outside
            self._file.seek(start := 0)
        data = self._file.read()
        complete = data.rfind(b"\n") + 1
        self._file.seek(start + complete)
        return data[:complete]


_TRACEBACKS = logging.Formatter()


def configure_logging(logs: Logs, level: str) -> None:
    """Send the log records of this process to `logs`, from `level` (`debug`, `info` …) upwards."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(logs.handler())
    root.setLevel(logging.WARNING)  # of libraries
    logging.getLogger("modelrunner").setLevel(level.upper())


def _line(text: str) -> bytes:
    clean = text.rstrip("\r\n").replace("\n", "\\n")
    return f"[{stamp(time.time_ns())}] {clean}\n".encode("utf-8", "replace")


def _batches(records: Iterator[_Record]) -> Iterator[bytes]:
    """Join lines to pieces worth a thread switch and a write."""
    batch = bytearray()
    for record in records:
        batch += record.line
        if len(batch) >= _CHUNK:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether `path` still is this open file."""
    try:
        there = path.stat()
    except OSError:
        return False
    here = os.fstat(file.fileno())
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
