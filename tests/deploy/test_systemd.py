"""The unit for systemd, judged by systemd's own tools where they are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from modelrunner.settings.table import TABLE

UNIT = Path(__file__).parent.parent.parent / "deploy" / "systemd" / "modelrunner.service"

with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def _analyze(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Ask about a copy whose program is one that is here."""
    unit = tmp_path / UNIT.name
    unit.write_text(
        UNIT.read_text().replace("/usr/local/bin/dmr", "/bin/true").replace("man:dmr-serve(1)", "")
    )
    return subprocess.run(
        ["systemd-analyze", *arguments, str(unit)], capture_output=True, text=True, timeout=30, check=False
    )


@with_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """No unknown key, no value that it ignores."""
    done = _analyze(tmp_path, "verify", "--man=no")

    complaints = [line for line in done.stderr.splitlines() if "modelrunner.service" in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


@with_systemd
def test_it_is_confined(tmp_path: Path) -> None:
    """By systemd's own measure, in which 10 is a service without any confinement."""
    done = _analyze(tmp_path, "security", "--offline=true", "--no-pager")

    found = re.search(r"Overall exposure level for .*: (\d+\.\d)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= 2.5


def test_its_variables_are_settings() -> None:
    """Each is one that the daemon reads."""
    known = {setting.environment for setting in TABLE.values()} | {"HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"}

    assert set(re.findall(r"^Environment=(\w+)=", UNIT.read_text(), re.MULTILINE)) <= known
