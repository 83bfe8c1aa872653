"""A disk without a free byte under the recorder: it counts what it loses, and recovers when there is room."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from modelrunner.recorder.process import Recorder
from modelrunner.recorder.values import Filter, Order
from tests.recorder.conftest import noted, notes

disk = Path(sys.argv[1])
recorder = Recorder(Order(str(disk / "requests.db"), 1 << 30, 1e9, []))
assert recorder.take(notes(1, noted())).lost == 0
filler = disk / "filler"
with open(filler, "wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
lost = [recorder.take(notes(2, noted("x" * 200_000))) for _ in range(3)]
assert [report.lost for report in lost] == [1, 1, 1], lost
assert [report.state for report in lost] == ["failing"] * 3
assert sum(len(report.log) for report in lost) == 1, lost
filler.unlink()
again = recorder.take(notes(3, noted("x" * 200_000)))
assert (again.lost, again.state) == (0, "ok"), again
assert "again" in again.log[0][1]
print(again.stored)
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="needs user namespaces",
)
def test_a_full_disk_loses_what_is_counted_and_nothing_else(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = Path(__file__).parents[2]

    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
         f"mount -t tmpfs -o size=2m none {disk} && exec {sys.executable} {program} {disk}"],
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)
    assert "[2]" == done.stdout.strip()
