"""Reading log files: from the start, merged by time, and then whatever is added."""

import heapq
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from modelrunner.telemetry.files import is_at

STAMP = re.compile(rb"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\] ")
_CHUNK = 64 * 1024
_NO_STAMP = b""  # sorts before every stamp


def merged(tails: Iterable["Tail"], *, whole: bool) -> Iterator[list["Record"]]:
    """Read what is in files now, by time, those named first on a tie, so many at once as are worth a write.

    A last line without an end is left for `Tail.new_lines`, unless the `whole` files are wanted.
    """
    records = (tail.records(whole=whole) for tail in tails)
    return _batches(heapq.merge(*records, key=lambda record: record.moment))


class Record(NamedTuple):
    """A line with the moment it belongs to; `source` is empty when the daemon wrote it, else an engine's."""

    moment: bytes
    line: bytes
    source: str = ""


class Tail:
    """Reads one log file from its start, then what is added, through truncation and replacement."""

    def __init__(self, path: Path, source: str = "") -> None:
        """Open the file, which need not be there yet; `source` is for its records."""
        self._path = path
        self._source = source
        self._file = _open(path)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def records(self, *, whole: bool) -> Iterator[Record]:
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
            if match := STAMP.match(text):
                moment = match[1] + b"." + (match[2] or b"").ljust(9, b"0")
            if text:
                yield Record(moment, text + b"\n", self._source)

    def new_records(self) -> list[Record]:
        """Read the complete lines that were added since."""
        lines = self.new_lines().split(b"\n")[:-1]
        return [Record(_NO_STAMP, line + b"\n", self._source) for line in lines]

    def is_same_as(self, path: Path) -> bool:
        """Whether that path is the file that this reads."""
        return self._file is not None and is_at(self._file, path)

    def new_lines(self) -> bytes:
        """Read the complete lines that were added since."""
        added = self._read()
        if self._file is None or not is_at(self._file, self._path):
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


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Gather lines to what is worth a thread switch and a write."""
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.line)
        if size >= _CHUNK:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None
