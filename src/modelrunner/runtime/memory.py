"""How much memory there is, on each device, and how much of it a process has: probes that only read.

Memory is what the system has, within the limits of our control groups, both versions of them and however
deeply nested. `root` is where `/proc` and `/sys` are, so that recorded trees can be read.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psutil

from modelrunner.engines.estimate import RAM, Device

_ROOT = Path("/")
_KIB = 1024
_LINE = re.compile(r"^(\w+(?:\(\w+\))?):?[ \t]+([0-9]+)", re.MULTILINE)
_OCTAL = re.compile(r"\\([0-7]{3})")  # how `mountinfo` writes a space


class Nvml(Protocol):
    """What is used of NVIDIA's management library, as the package `nvidia-ml-py` names it."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802, D102 - NVIDIA's name
    def nvmlShutdown(self) -> None: ...  # noqa: N802, D102 - NVIDIA's name
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802, D102 - NVIDIA's name
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802, D102 - NVIDIA's name
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> object: ...  # noqa: N802, D102 - NVIDIA's name


def devices(root: Path = _ROOT, nvml: Nvml | None = None) -> tuple[Device, ...]:
    """Every device with memory for models: `ram`, then each GPU as `cuda:0` and so on. Blocks shortly."""
    return (ram(root), *gpus(nvml or _nvml()))


def ram(root: Path = _ROOT) -> Device:
    """What this machine has within our limits.

    Cached files count as available, since they give way; also the weights that our engines have mapped, which
    are promised to them in the ledger. Blocks shortly.
    """
    total, available = _system(root)
    for limit, used in _limits(root):
        total = min(total, limit)
        available = min(available, limit - used)
    return Device(RAM, total, max(0, min(available, total)))


def total_memory() -> int:
    """The memory that could be used if nothing else were running, in bytes."""
    return ram().total


def gpus(nvml: Nvml | None) -> tuple[Device, ...]:
    """Each GPU that NVIDIA's library knows; none without it, or where it finds no driver."""
    if nvml is None:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple(_gpus(nvml))
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def resident(pid: int, root: Path = _ROOT) -> int:
    """How much memory a process and its descendants have, in bytes; 0 when they are gone.

    Pages that several processes share count for each in part, so that sums are right, and mapped files count:
    an engine's weights are such pages, and it is slow without them. Swapped pages count too.
    Blocks for some milliseconds, more where a process has many gigabytes.

    Source: Linux, Documentation/filesystems/proc.rst, `smaps_rollup`.
    """
    return sum(_process(each, root) for each in _family(pid, root))


def own() -> int:
    """How much memory this process has alone, in bytes; quick."""
    return int(psutil.Process().memory_info().rss)


def _system(root: Path) -> tuple[int, int]:
    """Total and available memory of the system."""
    found = _fields(_read(root / "proc/meminfo"))
    if "MemTotal" not in found:
        memory = psutil.virtual_memory()
        return memory.total, memory.available
    return found["MemTotal"] * _KIB, found.get("MemAvailable", found.get("MemFree", 0)) * _KIB


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """The limit of each group that we are in, and how much of it is used and would not give way."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _walk(root, "cgroup2", path, _second_version)
        elif "memory" in controllers.split(","):
            yield from _walk(root, "cgroup", path, _first_version)


def _walk(
    root: Path, kind: str, path: str, probe: Callable[[Path], tuple[int, int] | None]
) -> Iterator[tuple[int, int]]:
    """Ask about the group of this path and each one above it."""
    for mount, top in _mounts(root, kind):
        inside = Path("/", path.removeprefix(top.rstrip("/")).lstrip("/"))
        if ".." in inside.parts:  # a group outside of our name space
            inside = Path("/")
        for each in (inside, *inside.parents):
            folder = root / mount.relative_to("/") / each.relative_to("/")
            if found := probe(folder):
                yield found


def _mounts(root: Path, kind: str) -> Iterator[tuple[Path, str]]:
    """Where hierarchies of control groups that know memory are mounted, and which group is at the top there.

    Source: Linux, Documentation/filesystems/proc.rst, `mountinfo`.
    """
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if len(fields) < 5 or types[0] != kind:
            continue
        if kind == "cgroup" and "memory" not in types[-1].split(","):
            continue
        mount = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        if mount.startswith("/"):
            yield Path(mount), fields[3]


def _second_version(folder: Path) -> tuple[int, int] | None:
    """The smaller of the hard limit and the one from which on the group is slowed down."""
    limits = [_number(folder / name) for name in ("memory.max", "memory.high")]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    used = _number(folder / "memory.current") or 0
    return min(known), used - _cache(folder, "inactive_file", "active_file")


def _first_version(folder: Path) -> tuple[int, int] | None:
    limit = _number(folder / "memory.limit_in_bytes")
    if limit is None:
        return None
    used = _number(folder / "memory.usage_in_bytes") or 0
    return limit, used - _cache(folder, "total_inactive_file", "total_active_file")


def _cache(folder: Path, *names: str) -> int:
    """Cached files of a group and those below, in bytes."""
    found = _fields(_read(folder / "memory.stat"))
    return sum(found.get(name, 0) for name in names)


def _family(pid: int, root: Path) -> Iterator[int]:
    """A process and all that descend from it; each once, whatever the tree looks like by now."""
    waiting, seen = [pid], {pid}
    while waiting:
        current = waiting.pop()
        yield current
        for path in root.glob(f"proc/{current}/task/*/children"):
            for word in _read(path).split():
                if word.isdecimal() and (child := int(word)) not in seen:
                    seen.add(child)
                    waiting.append(child)


def _process(pid: int, root: Path) -> int:
    found = _fields(_read(root / f"proc/{pid}/smaps_rollup"))
    if "Pss" in found:
        return (found["Pss"] + found.get("SwapPss", 0)) * _KIB
    # Another user's process, or a kernel without it; shared pages then count for each in full.
    found = _fields(_read(root / f"proc/{pid}/status"))
    if "VmRSS" in found:
        return (found["VmRSS"] + found.get("VmSwap", 0)) * _KIB
    if (root / "proc/meminfo").exists():
        return 0  # it is gone
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _fields(text: str) -> dict[str, int]:
    """The numbers of lines such as `MemTotal:  24683 kB` and `file 4096`."""
    return {name: int(number) for name, number in _LINE.findall(text)}


def _number(path: Path) -> int | None:
    """A limit in bytes; None where there is none, which the second version writes as `max`."""
    text = _read(path).strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def _read(path: Path) -> str:
    """A small file's text; empty when it is not there, or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _nvml() -> Nvml | None:
    """NVIDIA's library, if the extra `gpu` is installed."""
    try:
        import pynvml  # noqa: PLC0415 - an optional package
    except ImportError:
        return None
    library: Nvml = pynvml
    return library


def _gpus(nvml: Nvml) -> Iterator[Device]:
    """One that does not answer is left out; the others keep their numbers."""
    for index in range(nvml.nvmlDeviceGetCount()):
        with contextlib.suppress(nvml.NVMLError):
            memory = nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(index))
            total, free = getattr(memory, "total", 0), getattr(memory, "free", 0)
            yield Device(f"cuda:{index}", int(total), int(free))
