"""The daemon's log files: its own and one for each model in an engine; written off the loop, merged to read.

Each line is `[2026-01-02T03:04:05.123456789Z] text`, so that the files can be merged by time. A line
is queued where it arises and written by one thread, which also rotates: nothing here blocks the event loop on
a disk or on a terminal.
"""

import asyncio
import contextlib
import json
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from modelrunner.errors import StoreError
from modelrunner.telemetry.files import LogFile, LogFolder, set_aside
from modelrunner.telemetry.tail import Record, Tail, merged

SERVICE_LOG = "inference.log"
ENGINE_LOG = "inference-llama.cpp-server.log"  # of all engines: an older version's, or another program's
ENGINE_FOLDER = "engines"

_MOST_WAITING = 20_000  # lines; an engine that shouts faster than the disk writes loses the rest
_GATHER = 0.05  # seconds; to wake the writer for each line would take the interpreter from the event loop
_MOST_ENGINE_LOGS = 32
_SHARE = 4  # each of them may be this many times smaller than the daemon's own


def stamp(nanoseconds: int) -> str:
    """Print a moment, in nanoseconds since 1970, as RFC 3339 in UTC with nine digits."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{_second(seconds)}.{fraction:09d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


_Entry = tuple[str | None, bytes]  # the file of an engine, None for the daemon's own, and a line


class Logs:
    """The files of a daemon: takes lines from anywhere, wakes those who follow."""

    def __init__(self, folder: Path, *, limit: int, console: TextIO | None = None) -> None:
        """Make the folder when it is missing. `limit` is in bytes; `console` gets the service's lines too.

        Raises:
            StoreError: the folder or a file in it cannot be written.
        """
        self._service = LogFile(folder / SERVICE_LOG, limit)
        self._engines = LogFolder(folder / ENGINE_FOLDER, limit=limit // _SHARE, most=_MOST_ENGINE_LOGS)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._service.append(b"")
        except OSError as exc:
            raise StoreError(
                f"cannot write log files in `{folder}`: {exc.strerror}",
                hint="set MODEL_RUNNER_LOG_DIR to a folder that can be written",
            ) from exc
        self._folder = folder
        self._console = console
        self._lines: queue.SimpleQueue[_Entry | threading.Event | None] = queue.SimpleQueue()
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
        self._put(None, text)

    def engine_line(self, engine: str, model: str, text: str) -> None:
        """Queue a line that an engine printed about a model, which is told by its short id."""
        self._put(f"{engine}-{model}", text)

    def handler(self) -> logging.Handler:
        """Make a handler that puts log records into the service's file."""
        return _Handler(self)

    async def read(
        self, *, follow: bool, engines: bool, model: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the text of `records`."""
        records = self.records(follow=follow, engines=engines, model=model)
        async with contextlib.aclosing(records) as batches:
            async for batch in batches:
                yield b"".join([record.line for record in batch])

    async def records(
        self, *, follow: bool, engines: bool, model: str | None = None, heartbeat: float | None = None
    ) -> AsyncGenerator[list[Record], None]:
        """Yield what was logged, merged by time; with `follow` then each line as it comes, without a gap.

        With a model's short id, only what engines printed about it. While nothing comes, there is an empty
        list each `heartbeat` (in seconds); and one when all that there was has been read.
        """
        with contextlib.ExitStack() as stack:
            watcher = stack.enter_context(self._watch()) if follow else None
            await asyncio.to_thread(self.flush)
            tails: dict[Path, Tail] = {}
            self._add_tails(tails, stack, engines=engines, model=model)
            before = self._set_aside(tails, stack)
            batches = merged((*before, *tails.values()), whole=not follow)
            while batch := await asyncio.to_thread(_next, batches):
                yield batch
            if heartbeat is not None:
                yield []
            while watcher is not None:
                if not await watcher.changed(heartbeat):
                    yield []
                    continue
                self._add_tails(tails, stack, engines=engines, model=model)
                for tail in tuple(tails.values()):
                    if new := await asyncio.to_thread(tail.new_records):
                        yield new

    def _add_tails(
        self, tails: dict[Path, Tail], stack: contextlib.ExitStack, *, engines: bool, model: str | None
    ) -> None:
        """Open what is to be read and is not yet; a file that has just come is read from its start."""
        paths = [] if model is not None else [self._folder / SERVICE_LOG]
        if model is not None:
            paths += self._engines.paths(f"-{model}")
        elif engines:
            paths += [self._folder / ENGINE_LOG, *self._engines.paths()]
        for path in paths:
            if path not in tails:
                source = "" if path.name == SERVICE_LOG else path.stem
                tails[path] = stack.enter_context(contextlib.closing(Tail(path, source)))

    def _set_aside(self, tails: dict[Path, Tail], stack: contextlib.ExitStack) -> list[Tail]:
        """Open what was set aside before; not what has been meanwhile, which is being read already."""
        found = []
        for path, tail in tails.items():
            aside = set_aside(path)
            if aside.exists() and not tail.is_same_as(aside):
                source = "" if path.name == SERVICE_LOG else path.stem
                found.append(stack.enter_context(contextlib.closing(Tail(aside, source))))
        return found

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

    def _put(self, name: str | None, text: str) -> None:
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
        self._service.close()
        self._engines.close()

    def _write(self, entries: list[_Entry]) -> None:
        if self._dropped and entries:
            entries.append((None, _line(f'level=WARNING msg="{self._dropped} log lines were dropped"')))
            self._dropped = 0
        of: dict[str | None, list[bytes]] = {}
        for name, line in entries:
            of.setdefault(name, []).append(line)
        for name, lines in of.items():
            data = b"".join(lines)
            # A full disk must not end the thread that everything else logs through.
            with contextlib.suppress(OSError):
                if name is None:
                    self._service.append(data)
                else:
                    self._engines.append(name, data)
            if name is None:
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

    async def changed(self, within: float | None) -> bool:
        """Wait for lines; says whether any came within so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self._written.wait()
        except TimeoutError:
            return False
        self._written.clear()
        return True


def _next(batches: Iterator[list[Record]]) -> list[Record]:
    return next(batches, [])


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
