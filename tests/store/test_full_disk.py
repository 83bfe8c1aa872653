"""A disk without a free byte: a small file system of its own, which a namespace lets any user mount."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import make_artifact, put

async def main(disk):
    store = Store(disk / "models")
    first, second = make_artifact(b"1" * 20_000), make_artifact(b"2" * 20_000)
    await put(store, first, "docker.io/ai/first:latest")
    await put(store, second, "docker.io/ai/second:latest")
    partial = store.root / "blobs" / "sha256" / ("ab" * 32 + ".incomplete")
    if "partial" in sys.argv:
        partial.write_bytes(bytes(20_000))
    with open(disk / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError:
            pass
    if "purge" in sys.argv:
        await store.purge()
    else:
        await store.remove("ai/first")
    again = Store(store.root)
    assert not again.problems, again.problems
    assert again.snapshot.models == store.snapshot.models
    assert not store.blob_path(first.layers[0].digest).exists()
    assert not partial.exists()
    print([model.tags[0].familiar for model in again.snapshot.models])

asyncio.run(main(Path(sys.argv[1])))
"""

pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"],
        capture_output=True,
        check=False,
    ).returncode
    != 0,
    reason="needs user namespaces",
)


@pytest.mark.parametrize(
    ("words", "left"),
    [("remove", "['ai/second:latest']"), ("remove partial", "['ai/second:latest']"), ("purge", "[]")],
)
def test_what_is_removed_makes_the_room_that_its_removal_needs(tmp_path: Path, words: str, left: str) -> None:
    """The index of the store cannot be replaced before something has gone."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"mount -t tmpfs -o size=1m none {disk} && exec {sys.executable} {program} {disk} {words}"

    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, left) == (done.returncode, done.stdout.strip()), done.stderr
