"""`load`: models come from an archive or a folder."""

import io
import os
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.oci.image_layout import Selection, image_layout
from modelrunner.oci.index import NamedModel
from modelrunner.oci.reference import parse_reference
from modelrunner.testing.artifacts import make_artifact

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

MODEL = make_artifact(b"weights" * 1000)


@pytest.fixture
def loaded(daemon: "Daemon") -> None:
    daemon.lines(
        "/models/load",
        {"type": "progress", "message": "Loaded sha256:aa as ai/one:latest", "total": 0, "mode": "pull"},
        {"type": "success", "message": "Model loaded successfully", "total": 0, "mode": "pull"},
    )


async def _layout() -> bytes:
    model = NamedModel(MODEL.content, (parse_reference("ai/one:latest"),))
    return b"".join([piece async for piece in image_layout(MODEL, Selection((model,)))])


@pytest.mark.parametrize("flags", [[], ["-i"], ["--input"]])
def test_a_file_is_sent(dmr: "Run", daemon: "Daemon", loaded: None, tmp_path: Path, flags: list[str]) -> None:
    """As it is; what the daemon found in it is the output."""
    path = tmp_path / "models.tar"
    path.write_bytes(b"archive" * 500_000)
    outcome = dmr("load", *flags, str(path))

    assert (outcome.code, outcome.out) == (0, "Loaded sha256:aa as ai/one:latest\n")
    assert "Model loaded successfully" in outcome.err
    [seen] = daemon.seen
    assert seen.headers["Content-Type"] == "application/x-tar"
    assert seen.body == path.read_bytes()


async def test_a_folder_is_sent_as_an_archive(
    dmr: "Run", daemon: "Daemon", loaded: None, tmp_path: Path
) -> None:
    """Made while it is sent."""
    with tarfile.open(fileobj=io.BytesIO(await _layout())) as opened:
        opened.extractall(tmp_path, filter="data")
    threaded: list[int] = []
    thread = threading.Thread(target=lambda: threaded.append(dmr("load", str(tmp_path)).code))
    thread.start()
    thread.join()

    assert threaded == [0]
    assert daemon.seen[0].body == await _layout()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-i", "a", "b"], "named twice"),
        (["a", "b"], "at most 1 argument"),
        (["/absent.tar"], "cannot read `/absent.tar`: no such file or directory"),
    ],
)
def test_what_cannot_be_is_said(dmr: "Run", arguments: list[str], words: str) -> None:
    """In one sentence."""
    outcome = dmr("load", *arguments)

    assert outcome.code != 0
    assert words in outcome.err


def test_a_folder_that_is_no_layout_is_refused(dmr: "Run", daemon: "Daemon", tmp_path: Path) -> None:
    """Before anything is sent."""
    outcome = dmr("load", str(tmp_path))

    assert outcome.code == 2
    assert "oci-layout" in outcome.err
    assert daemon.seen == []


def test_a_terminal_is_not_waited_for(dmr: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody types a tar."""
    monkeypatch.setattr("modelrunner.cli.commands.load.is_terminal", lambda stream: True)
    outcome = dmr("load")

    assert outcome.code == 2
    assert "does not come from a terminal" in outcome.err


def test_what_the_daemon_refuses_is_its_own_error(dmr: "Run", daemon: "Daemon", tmp_path: Path) -> None:
    """With its way out."""
    daemon.refuses("/models/load", "invalid_request", "the archive ends too early")
    (tmp_path / "models.tar").write_bytes(b"x")
    outcome = dmr("load", str(tmp_path / "models.tar"))

    assert outcome.code == 2
    assert "the archive ends too early" in outcome.err
    assert "hint: do better" in outcome.err


def test_a_file_that_cannot_be_read_to_its_end_is_said(dmr: "Run", loaded: None, tmp_path: Path) -> None:
    """It is the file, and not the daemon, that broke."""
    memory = Path("/proc/self/mem")
    if not memory.exists() or not os.access(memory, os.R_OK):
        pytest.skip("there is no file here that fails when it is read")
    outcome = dmr("load", str(memory))

    assert outcome.code == 2
    assert "cannot read `/proc/self/mem`: input/output error" in outcome.err
