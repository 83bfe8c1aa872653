import mmap
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelrunner.engines.estimate import Device
from modelrunner.runtime.memory import devices, gpus, ram, resident, total_memory

KIB = 1024
MIB = 1 << 20
GIB = 1 << 30
MEMINFO = """MemTotal:       16777216 kB
MemFree:         1048576 kB
MemAvailable:    8388608 kB
Buffers:          204800 kB
Active(file):    4194304 kB
"""
V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = """31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
"""


def _tree(root: Path, files: dict[str, str]) -> Path:
    """A machine's files below a folder."""
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def _group(path: str, *, most: object, high: object = "max", used: int = 0, stat: str = "") -> dict[str, str]:
    folder = f"sys/fs/cgroup{path}"
    return {
        f"{folder}/memory.max": f"{most}\n",
        f"{folder}/memory.high": f"{high}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": stat,
    }


def _group_1(path: str, *, most: int, used: int, stat: str = "") -> dict[str, str]:
    folder = f"sys/fs/cgroup/memory{path}"
    return {
        f"{folder}/memory.limit_in_bytes": f"{most}\n",
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": stat,
    }


V2 = {"proc/self/mountinfo": V2_MOUNT, "proc/self/cgroup": "0::/system.slice/docker-1.scope\n"}
V1 = {"proc/self/mountinfo": V1_MOUNT, "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n0::/\n"}
CACHE = f"anon 99\nfile {3 * GIB}\ninactive_file {1 * GIB}\nactive_file {1 * GIB}\nfile_mapped {GIB}\n"
CACHE_1 = f"cache 1\ninactive_file 7\ntotal_inactive_file {1 * GIB}\ntotal_active_file {1 * GIB}\n"


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        ({}, 16 * GIB, 8 * GIB),
        (V2 | _group("/system.slice/docker-1.scope", most=4 * GIB, used=1 * GIB), 4 * GIB, 3 * GIB),
        (
            V2 | _group("/system.slice/docker-1.scope", most=4 * GIB, used=3 * GIB, stat=CACHE),
            4 * GIB,
            3 * GIB,
        ),
        (
            V2 | _group("/system.slice/docker-1.scope", most=4 * GIB, high=2 * GIB, used=1 * GIB),
            2 * GIB,
            1 * GIB,
        ),
        (
            V2
            | _group("/system.slice/docker-1.scope", most="max", used=1 * GIB)
            | _group("/system.slice", most=6 * GIB, used=5 * GIB)
            | _group("", most="max"),
            6 * GIB,
            1 * GIB,
        ),
        (
            V2
            | _group("/system.slice/docker-1.scope", most=2 * GIB, used=0)
            | _group("/system.slice", most=6 * GIB, used=6 * GIB + 1),
            2 * GIB,
            0,
        ),
        (
            V2 | {"proc/self/cgroup": "0::/\n"} | _group("", most=3 * GIB, used=1 * GIB),
            3 * GIB,
            2 * GIB,
        ),
        (
            V2 | {"proc/self/cgroup": "0::/../../outside\n"} | _group("", most=3 * GIB, used=1 * GIB),
            3 * GIB,
            2 * GIB,
        ),
        (V2 | _group("/system.slice/docker-1.scope", most=64 * GIB, used=1), 16 * GIB, 8 * GIB),
        (V2 | _group("/system.slice/docker-1.scope", most="nonsense", used=1), 16 * GIB, 8 * GIB),
        (V1 | _group_1("/docker/abc", most=4 * GIB, used=3 * GIB, stat=CACHE_1), 4 * GIB, 3 * GIB),
        (
            V1
            | _group_1("/docker/abc", most=9223372036854771712, used=1 * GIB)
            | _group_1("/docker", most=5 * GIB, used=1 * GIB)
            | _group_1("", most=9223372036854771712, used=1 * GIB),
            5 * GIB,
            4 * GIB,
        ),
        # In a container without a name space: the path is the host's, the mount is the group itself.
        (
            {
                "proc/self/mountinfo": V1_MOUNT.replace(
                    " / /sys/fs/cgroup/m", " /docker/abc /sys/fs/cgroup/m"
                ),
                "proc/self/cgroup": "4:memory:/docker/abc\n",
                **_group_1("", most=4 * GIB, used=1 * GIB),
            },
            4 * GIB,
            3 * GIB,
        ),
        # Both versions at once: the second one has no memory controller then.
        (
            {
                "proc/self/mountinfo": V1_MOUNT + V2_MOUNT.replace("cgroup rw", "cgroup/unified rw"),
                "proc/self/cgroup": "4:memory:/docker/abc\n0::/docker/abc\n",
                **_group_1("/docker/abc", most=4 * GIB, used=1 * GIB),
            },
            4 * GIB,
            3 * GIB,
        ),
        (
            {
                "proc/self/mountinfo": "31 23 0:28 / /sys/fs/control\\040groups rw - cgroup2 cgroup2 rw\n",
                "proc/self/cgroup": "0::/a\n",
                "sys/fs/control groups/a/memory.max": f"{2 * GIB}",
                "sys/fs/control groups/a/memory.current": f"{1 * GIB}",
            },
            2 * GIB,
            1 * GIB,
        ),
        (
            {"proc/self/mountinfo": "nonsense\n\n - \n1 2 3\n", "proc/self/cgroup": "x\n:\n"},
            16 * GIB,
            8 * GIB,
        ),
    ],
)
def test_memory_is_what_the_system_has_within_every_limit(
    tmp_path: Path, files: dict[str, str], total: int, available: int
) -> None:
    """Of both versions of control groups, of each group up to the top, with cached files given back."""
    assert Device("ram", total, available) == ram(_tree(tmp_path, files))


def test_a_system_without_an_estimate_of_its_own_has_what_is_free(tmp_path: Path) -> None:
    """Linux before 3.14."""
    text = "MemTotal: 1000 kB\nMemFree: 300 kB\n"

    assert Device("ram", 1000 * KIB, 300 * KIB) == ram(_tree(tmp_path, {"proc/meminfo": text}))


def test_a_system_without_such_files_is_asked_in_another_way(tmp_path: Path) -> None:
    """Outside of Linux."""
    found = ram(tmp_path)

    assert found.total > 0
    assert 0 < found.available <= found.total


def test_this_machine_has_memory() -> None:
    """The real one, within its real limits."""
    found = devices()

    assert found[0].name == "ram"
    assert 0 < found[0].available <= found[0].total == total_memory()


class Refused(Exception):
    """What the library raises."""


@dataclass
class Info:
    total: int
    free: int


@dataclass
class Library:
    """NVIDIA's library, at its border."""

    memory: list[Info | None]
    driver: bool = True
    calls: list[str] = field(default_factory=list)
    NVMLError: type[Exception] = Refused

    def nvmlInit(self) -> None:  # noqa: N802
        self.calls.append("init")
        if not self.driver:
            raise Refused

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.memory)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> object:  # noqa: N802
        assert isinstance(handle, int)
        if self.memory[handle] is None:
            raise Refused
        return self.memory[handle]


def test_each_gpu_is_a_device(tmp_path: Path) -> None:
    """Under its number, whichever of the others does not answer."""
    library = Library([Info(24 * GIB, 20 * GIB), None, Info(8 * GIB, 1 * GIB)])

    found = devices(_tree(tmp_path, {}), library)

    assert found[1:] == (Device("cuda:0", 24 * GIB, 20 * GIB), Device("cuda:2", 8 * GIB, 1 * GIB))
    assert library.calls == ["init", "shutdown"]


def test_without_a_driver_there_are_no_gpus() -> None:
    """And none without the library."""
    assert gpus(Library([Info(1, 1)], driver=False)) == ()
    assert gpus(None) == ()


def _process(pid: int, pss: int, children: str = "", **more: str) -> dict[str, str]:
    rollup = f"55-7f ---p 00000000 00:00 0 [rollup]\nRss: 999999 kB\nPss: {pss} kB\nPss_Anon: 1 kB\n"
    files = {f"proc/{pid}/smaps_rollup": rollup, f"proc/{pid}/task/{pid}/children": children}
    return files | {f"proc/{pid}/{name}": text for name, text in more.items()}


@pytest.mark.parametrize(
    ("files", "kibibytes"),
    [
        ({}, 0),
        (_process(7, 100), 100),
        (_process(7, 100, "8 9 ") | _process(8, 20) | _process(9, 3), 123),
        (_process(7, 100, "8") | _process(8, 20, "9") | _process(9, 3, "7"), 123),
        (_process(7, 100, "8 x") | {"proc/7/task/70/children": "9"} | _process(9, 3), 103),
        (
            {"proc/7/smaps_rollup": "Pss: 100 kB\nSwapPss: 11 kB\n"},
            111,
        ),
        ({"proc/7/status": "Name: x\nVmHWM: 900 kB\nVmRSS:\t 500 kB\nVmSwap:\t 2 kB\n"}, 502),
    ],
)
def test_a_process_has_what_it_and_its_descendants_have(
    tmp_path: Path, files: dict[str, str], kibibytes: int
) -> None:
    """Each once, shared pages in part; of a process that may not be looked into, what its status says."""
    assert kibibytes * KIB == resident(7, _tree(tmp_path, files))


CHILD = """
import mmap, sys
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(mapped[::4096])
own = bytearray(b"x" * (32 << 20))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux measures memory")
def test_mapped_files_count_as_what_a_process_has(tmp_path: Path) -> None:
    """A child's memory is its parent's too; it is gone when the child is."""
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(mmap.PAGESIZE) * (64 * MIB // mmap.PAGESIZE))
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    parent = subprocess.Popen(
        [sys.executable, "-c", code, CHILD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    measured = resident(parent.pid)
    parent.communicate()

    assert 96 * MIB < measured < 160 * MIB
    assert resident(parent.pid) == 0
