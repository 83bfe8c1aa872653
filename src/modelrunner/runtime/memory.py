"""How much memory this machine has for models: what the system has, within the limit of our control group."""

from pathlib import Path

import psutil

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),  # version 2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)


def total_memory() -> int:
    """The memory that could be used if nothing else were running, in bytes."""
    return min([psutil.virtual_memory().total, *_limits()])


def _limits() -> list[int]:
    found = []
    for path in _LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isascii() and text.isdigit():
            found.append(int(text))
    return found
