"""A disk that is full in the middle of a pull, as a user has it: a daemon on a small file system."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="needs user namespaces",
)
def test_a_pull_that_fills_the_disk_says_so_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """What has arrived is kept and not fetched again; in between there is no half a model."""
    disk = tmp_path / "disk"
    disk.mkdir()
    program = Path(__file__).with_name("full_disk_program.py")
    mount = f"mount -t tmpfs -o size=40m none '{disk}'"
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
            f"{mount} && exec '{sys.executable}' '{program}' '{disk}' '{tmp_path / 'home'}'",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)

    assert 1 == found["code"]
    assert found["said"].startswith(f"error: not enough disk space in `{disk}/models/blobs/sha256`: ")
    assert found["said"].endswith(
        "\n\nhint: free some space, for example with `dmr rm`, and try again; what has arrived is kept\n"
    )
    assert "" == found["listed"]
    assert found["kept"] >= MIB
    assert (0, 0) == (found["again"], found["verified"])
    assert found["id"] == found["listed after"].strip()
    assert found["fetched"] < 26 * MIB  # the second pull had less to fetch than all of it
