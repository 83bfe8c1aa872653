"""The recorder: a process beside the daemon that reads what was noted of requests, and stores it.

    python -m modelrunner.recorder.process

It is a process so that nothing it does (parsing, redaction, an index over megabytes, a slow disk) ever takes
the interpreter from the data path. It is told what to do on stdin, reports on stdout, and ends with stdin.
"""

import contextlib
import gc
import os
import secrets
import signal
import sqlite3
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from modelrunner.recorder import frames
from modelrunner.recorder.database import identity, is_damage, number_after, open_to_write, salt_of, set_aside
from modelrunner.recorder.measuring import Measuring
from modelrunner.recorder.noting import noted_of
from modelrunner.recorder.reading import read_noted
from modelrunner.recorder.redaction import Rules
from modelrunner.recorder.values import Damaged, Entry, Figures, Forget, Noted, Notes, Order, Report, Told
from modelrunner.recorder.writing import Writing

if TYPE_CHECKING:
    from modelrunner.recorder.otel import Telemetry

_INSTALL = "install the extra: pip install 'modelrunner[otel]'"
_NICE = 10  # what is in a hurry goes first
_YOUNG = 100_000  # objects until the garbage collector looks: what is stored together has no cycles
_MOST_TOGETHER = 4000  # requests that are stored together, or so many as are in this many bytes
_MOST_BYTES = 8 << 20


class Recorder:
    """What the process does with what it is told."""

    def __init__(self, order: Order, environ: Mapping[str, str] | None = None) -> None:
        """`environ` says how to export, if that is ordered."""
        self._order = order
        self._path = None if order.path is None else Path(order.path)
        self._rules = Rules(order.rules)
        self._connection: sqlite3.Connection | None = None
        self._writing: Writing | None = None
        self._identity: object = None  # of the file that is open
        self._salt = secrets.token_bytes(16)
        self._file = 0
        self._last = 0  # the last number that was given; who follows has seen it, whatever file it was in
        self._log: list[tuple[str, str]] = []
        self._measuring = Measuring()
        self._failing = ""
        self._untrimmed = ""  # why what is too old or too much could not go
        self._complaint = ""
        self._telemetry = self._exporting(environ or {}) if order.exports else None

    def take(self, *batches: Notes) -> Report:
        """Read requests, and store those that may be; what cannot be stored is counted as lost."""
        every = [noted_of(seen, notes.circumstances[seen.who]) for notes in batches for seen in notes.seen]
        entries = [self._read(noted) for noted in every]
        kept = [entry for entry, noted in zip(entries, every, strict=True) if noted.keep]
        stored: list[int] = []
        lost = 0
        if self._path is not None and kept:
            try:
                stored = self._stored(kept)
            except (sqlite3.Error, OSError) as exc:
                lost = len(kept)
                self._failed(exc)
                self._close_file()  # what is the matter with it may be over with the next one that is opened
            else:
                self._recovered()
        if self._telemetry is not None:
            for entry, noted in zip(entries, every, strict=True):
                self._telemetry.tell(entry, content=noted.keep)
        for entry, noted in zip(entries, every, strict=True):
            self._measuring.count(noted, entry.summary)
        return self._report(batch=batches[-1].batch, stored=stored, lost=lost)

    def trim(self) -> Iterator[Report]:
        """Let go what is too old or too much; yields a sign of life now and then, as long as that takes."""
        try:
            if self._path is not None and self._path.exists():
                for _ in self._opened().trim():
                    yield self._report()
            self._untrimmed = ""
        except (sqlite3.Error, OSError) as exc:  # what was stored is stored, whatever becomes of the rest
            if is_damage(exc):
                with contextlib.suppress(sqlite3.Error, OSError):
                    self._begin_anew(exc)
            elif str(exc) != self._untrimmed:
                self._untrimmed = str(exc)
                self._log.append(("error", f"old requests cannot be removed path={self._path} error={exc}"))
            self._close_file()

    def figures(self, told: Figures) -> Report:
        """Say what was counted."""
        return self._report(answer=(told.number, 0), text=self._measuring.lines())

    def forget(self, told: Forget) -> Report:
        """Forget what is meant."""
        try:
            count = 0 if self._path is None else self._opened().forget(told.meant)
        except (sqlite3.Error, OSError) as exc:
            self._failed(exc)
            count = -1
        return self._report(answer=(told.number, count))

    def damaged(self, told: Damaged) -> Report:
        """Begin a new file, unless that was done since."""
        if self._path is not None and told.file == self._file:
            with contextlib.suppress(sqlite3.Error, OSError):
                self._begin_anew("found while reading")
        return self._report(answer=(told.number, 0))

    def close(self) -> None:
        """Close the file, and send what is left to be told."""
        if self._telemetry is not None:
            self._telemetry.close()
        self._close_file()

    def _exporting(self, environ: Mapping[str, str]) -> "Telemetry | None":
        try:
            from modelrunner.recorder.otel import Telemetry  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as exc:
            self._log.append(("error", f"nothing is told by OpenTelemetry error={exc} hint={_INSTALL}"))
            return None
        return Telemetry(environ, self._complain)

    def _complain(self, text: str) -> None:
        """Log what goes wrong with an export, once as long as it is the same."""
        if text != self._complaint:
            self._complaint = text
            self._log.append(("warning", f"OpenTelemetry: {text}"))

    def _read(self, noted: Noted) -> Entry:
        try:
            return read_noted(noted, self._rules, self._salt)
        except Exception as exc:  # noqa: BLE001 - the top of one request's reading; it is told
            # Not what it says: that of a text which cannot be decoded has all of the text in it.
            place = traceback.extract_tb(exc.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            text = f"request not understood path={noted.path} error={type(exc).__name__} at={where}"
            self._log.append(("error", text))
            return read_noted(msgspec.structs.replace(noted, body=b"", answer=b""), self._rules, self._salt)

    def _stored(self, entries: list[Entry]) -> list[int]:
        try:
            stored = self._opened().store(entries)
        except sqlite3.DatabaseError as exc:
            if not is_damage(exc):
                raise
            self._begin_anew(exc)
            stored = self._opened().store(entries)
        self._last = stored[-1]
        return stored

    def _opened(self) -> Writing:
        assert self._path is not None
        if self._writing is not None and identity(self._path) != self._identity:  # deleted, replaced
            self._close_file()
        if self._writing is None:
            try:
                self._connection = open_to_write(self._path)
            except sqlite3.DatabaseError as exc:
                if not is_damage(exc):
                    raise
                self._begin_anew(exc)
                self._connection = open_to_write(self._path)
            self._salt = salt_of(self._connection)
            self._last = number_after(self._connection, self._last)
            self._identity = identity(self._path)
            self._writing = Writing(self._connection, limit=self._order.limit, lifetime=self._order.lifetime)
        return self._writing

    def _begin_anew(self, why: object) -> None:
        assert self._path is not None
        self._close_file()
        aside = set_aside(self._path)
        self._file += 1
        self._log.append(
            ("error", f"recorded requests set aside, a new file is begun file={aside} error={why}")
        )

    def _close_file(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = self._writing = None

    def _failed(self, exc: Exception) -> None:
        reason = str(exc)
        if reason != self._failing:
            self._log.append(("error", f"requests cannot be recorded path={self._path} error={reason}"))
        self._failing = reason

    def _recovered(self) -> None:
        if self._failing:
            self._log.append(("info", f"requests are recorded again path={self._path}"))
        self._failing = ""

    def _report(self, **fields: object) -> Report:
        log, self._log = self._log, []
        report = Report(
            state="failing" if self._failing else "ok", reason=self._failing, file=self._file, log=log
        )
        for name, value in fields.items():
            setattr(report, name, value)
        return report


def serve(told: BinaryIO, reports: BinaryIO, environ: Mapping[str, str] | None = None) -> None:
    """Work until there is no more to do; the first message says how."""
    first = frames.read_told(told)
    order = None if first is None else frames.told_of(first)
    if not isinstance(order, Order):
        return
    recorder = Recorder(order, environ)
    waiting: deque[bytes] = deque()  # requests as they came: a burst of them has no time for reading

    def report(what: Report) -> None:
        with contextlib.suppress(BrokenPipeError):  # the daemon is gone; what it had said is stored
            reports.write(frames.framed(what))

    def trim() -> None:
        for sign in recorder.trim():
            report(sign)

    def store() -> None:
        while waiting:
            report(recorder.take(*_some(waiting)))
            trim()

    while (message := frames.read_told(told)) is not None:
        if frames.is_notes(message):
            waiting.append(message)
            continue
        store()
        answer = _answered(recorder, frames.told_of(message))
        if answer is not None:
            report(answer)
        else:
            trim()  # it is told to store also when nothing came for long
    store()
    recorder.close()


def _some(waiting: deque[bytes]) -> list[Notes]:
    """Take as many of the first as are stored together."""
    found: list[Notes] = []
    size = count = 0
    while waiting and size < _MOST_BYTES and count < _MOST_TOGETHER:
        raw = waiting.popleft()
        found.append(frames.notes_of(raw))
        size += len(raw)
        count += len(found[-1].seen)
    return found


def _answered(recorder: Recorder, message: Told) -> Report | None:
    if isinstance(message, Forget):
        return recorder.forget(message)
    if isinstance(message, Figures):
        return recorder.figures(message)
    return recorder.damaged(message) if isinstance(message, Damaged) else None


def main() -> None:
    """Serve on stdin and stdout; the signals that a terminal sends are for the daemon."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.set_threshold(_YOUNG)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    # Without a buffer: one that cannot be written would be written again at the end, and that be told.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as reports:
        serve(sys.stdin.buffer, reports, os.environ)


if __name__ == "__main__":
    main()
