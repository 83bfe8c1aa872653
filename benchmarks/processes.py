"""What a process has read, written and taken, as Linux tells it; and which files of a folder were read."""

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_IN_ACCESS = 0x1  # sys/inotify.h; read(2), pread(2), sendfile(2), but not mmap
_IN_NONBLOCK = 0o4000


@dataclass(frozen=True, slots=True)
class Ended:
    """One run of a program. `seconds` from start to end, `read` in bytes, `peak` of its memory in bytes."""

    seconds: float
    read: int
    peak: int


def measured(command: Sequence[str | Path], env: Mapping[str, str], log: Path) -> Ended:
    """Run a program to its end.

    `peak` is never less than this process's own, which the kernel counts until the program replaces it.

    Raises:
        RuntimeError: it failed; the message has what it said.
    """
    with log.open("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and its account not yet closed
        seconds = time.perf_counter() - started
        read = io(process.pid)["rchar"]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"{command} ended with {process.returncode}: {log.read_text()[-2000:]}")
    return Ended(seconds, read, usage.ru_maxrss * 1024)


def io(pid: int) -> dict[str, int]:
    """The counters of `/proc/PID/io`, in bytes; `rchar` is all that was read from files and pipes."""
    pairs = (line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return {name: int(value) for name, value in pairs}


def cpu(pid: int) -> float:
    """The seconds that all threads of a process have had a core."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def child(pid: int, word: str) -> int:
    """The child of a process that has a word in its command line.

    Raises:
        RuntimeError: it has none.
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for each in map(int, (thread / "children").read_text().split()):
            if word in Path(f"/proc/{each}/cmdline").read_text():
                return each
    raise RuntimeError(f"no child of {pid} is {word}")


def peak(pid: int) -> int:
    """The most memory that a process has had resident, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no VmHWM of {pid}")


class Reads:
    """Counts reads of files in a folder; several in a row may count as one, none as none."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def count(self, name: str) -> int:
        """How often files whose name begins like that were read since the last question."""
        found = 0
        with contextlib.suppress(BlockingIOError):
            while raw := os.read(self._handle, 1 << 16):
                found += sum(each.startswith(name) for each in _names(raw))
        return found


@contextlib.contextmanager
def reads_in(folder: Path) -> Iterator[Reads]:
    """Watch a folder."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(_IN_NONBLOCK)
    if handle < 0 or libc.inotify_add_watch(handle, os.fsencode(folder), _IN_ACCESS) < 0:
        raise OSError(ctypes.get_errno(), "inotify", str(folder))
    try:
        yield Reads(handle)
    finally:
        os.close(handle)


def _names(raw: bytes) -> Iterator[str]:
    """The names in inotify's records: a head of 16 bytes, which ends with the length of the name, padded."""
    position = 0
    while position < len(raw):
        size = int.from_bytes(raw[position + 12 : position + 16], sys.byteorder)
        yield raw[position + 16 : position + 16 + size].rstrip(b"\0").decode()
        position += 16 + size
