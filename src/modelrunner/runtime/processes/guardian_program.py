"""The guardian: a process of its own that outlives the daemon for a moment, to end what the daemon started.

    python -I -S guardian_program.py /run/user/1000/dmr-4711-19a2b3c4d5e

On stdin it is told which process groups there are: `+GROUP`, and when one is over, `-GROUP DIRECTORY`. The
end of stdin is the end of the daemon, however that came about; then every group is killed. What has left its
group is known by the environment, which names the engine's directory. Standard library only, and no import
of ours: it has to be there within milliseconds.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

VARIABLE = b"DMR_ENGINE_DIRECTORY="
_ROUNDS = 100
_PAUSE = 0.01  # seconds between two looks for what is left


def main(directory: str) -> None:
    """Listen until the daemon is gone, then leave nothing of what it started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        sign, (group, _, engine) = line[:1], line[1:].rstrip(b"\n").partition(b" ")
        if sign == b"+":
            groups.add(int(group))
        else:
            groups.discard(int(group))
            sweep(engine)
    end(groups)
    sweep(os.fsencode(directory) + b"/")


def end(groups: set[int]) -> None:
    """Ask what is left of groups to end, which may have shared memory to remove, and then kill it."""
    left = {group for group in groups if _reaches(group, signal.SIGTERM)}
    for _ in range(_ROUNDS // 2):
        left = {group for group in left if _reaches(group, 0)}
        if not left:
            return
        time.sleep(_PAUSE)
    for group in left:
        _reaches(group, signal.SIGKILL)


def _reaches(group: int, number: int) -> bool:
    """Send a signal, 0 for none, and say whether there was anybody to get it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def sweep(prefix: bytes) -> None:
    """Kill the processes whose engine's directory begins with `prefix`, until there are none."""
    for _ in range(_ROUNDS):
        found = [number for number, variables in _environments() if _belongs(variables, prefix)]
        for number in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        if not found:
            return
        time.sleep(_PAUSE)


def _environments() -> list[tuple[int, bytes]]:
    """The environment of each process that we may look at; none where there is no `/proc`."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208 - a name, not a path
            if name.isdigit():
                with contextlib.suppress(OSError):
                    found.append((int(name), Path(f"/proc/{name}/environ").read_bytes()))
    return found


def _belongs(variables: bytes, prefix: bytes) -> bool:
    """Whether the directory is `prefix` itself, or below it when that ends with a slash."""
    for variable in variables.split(b"\0"):
        if variable.startswith(VARIABLE):
            value = variable.removeprefix(VARIABLE)
            return value.startswith(prefix) if prefix.endswith(b"/") else value == prefix
    return False


if __name__ == "__main__":
    main(sys.argv[1])
