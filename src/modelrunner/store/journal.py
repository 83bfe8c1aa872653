"""The journal beside a partial blob: which of its bytes are written, and which are on the disk for sure.

    modelrunner-journal 1 SIZE BOOT     the blob's size in bytes, and what identifies this run of the system
    + START STOP                        these bytes have been written
    = COUNT                             the first COUNT of the `+` lines have reached the disk

After a crash of the program, what was written is there. After a crash of the system only what had reached the
disk is, and the other run of the system is how that is noticed. A last line that is torn counts for nothing.
"""

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modelrunner.oci.chunks import Span, Spans, united
from modelrunner.store.disk import open_file

JOURNAL = ".journal"  # behind the name of the partial file
MAX_JOURNAL_BYTES = 64 << 20  # a line for every mebibyte of the largest blobs takes half of it
_HEAD = re.compile(rb"modelrunner-journal 1 ([0-9]{1,19}) ([0-9a-f-]*)\n")
_WRITTEN = re.compile(rb"\+ ([0-9]{1,19}) ([0-9]{1,19})\n")
_SYNCED = re.compile(rb"= ([0-9]{1,12})\n")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot() -> str:
    """What is another text after each start of the system; empty where the system does not say."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Record:
    """What a journal says."""

    size: int
    boot: str
    written: tuple[Span, ...]
    synced: int  # so many of `written`

    def present(self, boot_now: str) -> Spans:
        """The bytes that can be relied upon in this run of the system."""
        same = bool(boot_now) and self.boot == boot_now
        return united(self.written if same else self.written[: self.synced])


def parse(raw: bytes) -> Record | None:
    """Read a journal as far as it makes sense; None when not even its head does."""
    head = _HEAD.match(raw)
    if head is None:
        return None
    size, synced = int(head[1]), 0
    written: list[Span] = []
    for line in raw[head.end() :].splitlines(keepends=True):
        if match := _WRITTEN.fullmatch(line):
            span = Span(int(match[1]), int(match[2]))
            if not span.start < span.stop <= size:
                break
            written.append(span)
        elif (match := _SYNCED.fullmatch(line)) and int(match[1]) <= len(written):
            synced = max(synced, int(match[1]))
        else:
            break
    return Record(size, head[2].decode(), tuple(written), synced)


def read(path: Path) -> Record | None:
    """Read the journal in a file; None when there is none, or none that makes sense.

    Raises:
        OSError: it is there, and cannot be read.
    """
    try:
        with open_file(path) as file:
            return parse(file.read(MAX_JOURNAL_BYTES))
    except FileNotFoundError:
        return None


class Journal:
    """A journal that is being written; blocking, one caller at a time."""

    def __init__(self, path: Path, size: int, present: Spans) -> None:
        """Begin anew with what is known to be on the disk.

        Raises:
            OSError: the file cannot be written.
        """
        self._count = len(present)
        text = f"modelrunner-journal 1 {size} {boot()}\n"
        text += "".join(f"+ {span.start} {span.stop}\n" for span in present)
        temporary = path.with_name(f"{path.name}.new")
        self._handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        try:
            os.write(self._handle, f"{text}= {self._count}\n".encode())
            # Before any byte behind a gap: without its journal, a file's length would count as its content.
            os.fsync(self._handle)
            temporary.replace(path)
        except BaseException:
            self.close()
            raise

    def wrote(self, span: Span) -> None:
        """Note that some bytes have been written."""
        os.write(self._handle, b"+ %d %d\n" % span)
        self._count += 1

    @property
    def count(self) -> int:
        """How many notes there are; for `synced`."""
        return self._count

    def synced(self, count: int) -> None:
        """Note that the bytes of the first `count` notes have reached the disk."""
        os.write(self._handle, b"= %d\n" % count)

    def close(self) -> None:
        """Close the file."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)
