"""A process that is killed at any moment leaves a store that the next one can use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelrunner.oci.digest import Digest
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import make_artifact, put

PROGRAM = Path(__file__).with_name("crash_program.py")
FIRST = make_artifact(b"weights" * 1000, b"license", config=b'{"n":1}')
SECOND = make_artifact(b"weights" * 1000, config=b'{"n":2}')


def _check_invariants(root: Path) -> None:
    """Whatever the index names is there, and right."""
    index = root / "models.json"
    document = json.loads(index.read_bytes()) if index.exists() else {"models": []}
    for entry in document["models"]:
        files = [root / "blobs" / Digest.parse(file).path for file in entry["files"]]
        manifest = root / "manifests" / Digest.parse(entry["id"]).path
        for path in (*files, manifest):
            assert Digest.of(path.read_bytes()).hex == path.name


def _left_over(root: Path) -> list[str]:
    """Files besides blobs and manifests that are still there when the store is opened a day later."""
    for path in root.rglob("*.tmp-*"):
        os.utime(path, (0, 0))
    Store(root)
    return sorted(path.name for path in root.rglob("*") if path.is_file() and "." in path.name)


def _attempts(story: str, directory: Path) -> int:
    run = subprocess.run(
        [sys.executable, str(PROGRAM), story, str(directory)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


def _set_aside(directory: Path) -> set[bytes]:
    return {path.read_bytes() for path in directory.glob("*/quarantine/*/*")}


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
async def test_killed_at_every_change_of_the_disk(tmp_path: Path) -> None:
    """Every state that a crash can leave behind is opened, is whole, and takes the same pulls again."""
    attempts = _attempts("models", tmp_path)
    for number in range(1, attempts + 1):
        root = tmp_path / f"{number:04}"
        _check_invariants(root)
        store = Store(root)
        assert store.problems == (), number
        await put(store, FIRST, "ai/first")
        await put(store, SECOND, "ai/moving")
        await store.remove("ai/first")
        await store.collect_garbage(-1)

        assert [model.id for model in store.snapshot.models] in ([SECOND.id], [SECOND.id, FIRST.id]), number
        _check_invariants(root)
        assert _left_over(root) == ["layout.json", "models.json"], number

    assert attempts > 50


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
async def test_killed_at_every_change_of_the_disk_while_a_store_is_looked_after(tmp_path: Path) -> None:
    """The file of another program is never touched; the store opens, and a check and a pull mend it."""
    attempts = _attempts("upkeep", tmp_path)
    for number in range(1, attempts + 1):
        root, theirs = tmp_path / f"{number:04}", tmp_path / "theirs" / f"{number:04}"
        store = Store(root)
        listed = [model.id for model in store.snapshot.models]
        await store.upkeep.set_aside(await store.upkeep.examine(await store.upkeep.survey()))
        await put(store, SECOND, "ai/second")

        assert listed in ([], [SECOND.id]), number
        assert theirs.read_bytes() == b"weights" * 1000, number
        assert [SECOND.id] == [model.id for model in store.snapshot.models], number
        _check_invariants(root)
        assert _left_over(root) == ["layout.json", "models.json"], number

    assert {b"Weights" * 1000} == _set_aside(tmp_path)
    assert attempts > 30
