"""`POST /models/take`: a file of this machine becomes a blob, read once."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelrunner.oci.digest import Digest

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.gguf"
    path.write_bytes(CONTENT)
    return path


def _wanted(path: Path, **changes: Any) -> dict[str, Any]:
    seen = path.stat()
    return {
        "path": str(path),
        "device": seen.st_dev,
        "inode": seen.st_ino,
        "size": seen.st_size,
        "modified": seen.st_mtime_ns,
        **changes,
    }


async def test_a_file_that_both_sides_see_becomes_a_blob(daemon: "Daemon", file: Path) -> None:
    """The last line's message is its digest; the file is no part of the store."""
    answer = await daemon.ask(
        "POST", "/models/take", json=_wanted(file), headers={"Accept": "application/json"}
    )

    digest = Digest.of(CONTENT)
    stored = daemon.services.store.blob_path(digest)
    assert (answer.status, answer.lines[-1]["message"]) == (200, str(digest))
    assert stored.read_bytes() == CONTENT
    assert not stored.samefile(file)


async def test_a_link_shares_the_file_itself(daemon: "Daemon", file: Path) -> None:
    """Only when it is asked for."""
    answer = await daemon.ask("POST", "/models/take", json=_wanted(file, link=True))

    assert answer.status == 200
    assert daemon.services.store.blob_path(Digest.of(CONTENT)).samefile(file)


@pytest.mark.parametrize("field", ["device", "inode", "size", "modified"])
async def test_another_file_of_the_same_name_is_not_taken(daemon: "Daemon", file: Path, field: str) -> None:
    """As it would be in another container."""
    wanted = _wanted(file)
    wanted[field] += 1

    answer = await daemon.ask("POST", "/models/take", json=wanted)

    assert answer.status == 400
    assert f"the daemon does not see this file: `{file}`" in answer.text
    assert not daemon.services.store.blob_path(Digest.of(CONTENT)).exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "nonsense"])
async def test_what_is_no_file_is_not_taken(daemon: "Daemon", tmp_path: Path, kind: str) -> None:
    """And nobody waits for a pipe."""
    path = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    wanted = _wanted(path if path.exists() else tmp_path)
    wanted["path"] = "\0" if kind == "nonsense" else str(path)

    answer = await daemon.ask("POST", "/models/take", json=wanted)

    assert answer.status == 400
