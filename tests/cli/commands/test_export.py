"""`export`: models go into an archive."""

import os
import queue
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.testing.daemon import BIN

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

ARCHIVE = b"archive" * 100_000
PATH = "/models/export"
TAR = "application/x-tar"


@pytest.fixture
def archive(daemon: "Daemon") -> None:
    daemon.sends("POST", PATH, ARCHIVE, media=TAR)


def test_the_archive_goes_into_a_file(dmr: "Run", daemon: "Daemon", archive: None, tmp_path: Path) -> None:
    """Progress is on stderr, and nothing but the file is left."""
    outcome = dmr("export", "ai/one", "ai/two", "-o", str(tmp_path / "models.tar"))

    assert (outcome.code, outcome.out) == (0, "")
    assert "Exported" in outcome.err
    assert daemon.seen[-1].json == {"models": ["ai/one", "ai/two"], "oci": False}
    assert (tmp_path / "models.tar").read_bytes() == ARCHIVE
    assert [path.name for path in tmp_path.iterdir()] == ["models.tar"]


def test_a_new_file_has_the_usual_permissions(dmr: "Run", archive: None, tmp_path: Path) -> None:
    """Those of any other program, as `umask` has it."""
    usual = tmp_path / "usual"
    usual.touch()
    dmr("export", "ai/one", "-o", str(tmp_path / "models.tar"))

    assert stat.S_IMODE((tmp_path / "models.tar").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_a_list_of_digests_is_sent_along(dmr: "Run", daemon: "Daemon", archive: None, tmp_path: Path) -> None:
    """One a line; comments and empty lines are not."""
    have = tmp_path / "have"
    have.write_text("# of the other side\nsha256:aa\n\n  sha256:bb  \n")
    dmr("export", "ai/one", "--oci", "--except", str(have), "-o", str(tmp_path / "delta.tar"))

    assert daemon.seen[-1].json == {"models": ["ai/one"], "oci": True, "except": ["sha256:aa", "sha256:bb"]}


def test_the_list_is_printed(dmr: "Run", daemon: "Daemon") -> None:
    """One digest a line, as `--except` takes it."""
    daemon.json("GET", "/blobs", ["sha256:aa", "sha256:bb"])

    assert dmr("export", "--list-blobs").out == "sha256:aa\nsha256:bb\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "requires at least 1 argument"),
        (["--list-blobs", "ai/one"], "--list-blobs takes no MODEL"),
        (["ai/one", "-o", "/dev/null", "--except", "/absent"], "cannot read `/absent`"),
        (["ai/one", "-o", "/absent/models.tar"], "cannot write `/absent/models.tar`"),
        (["ai/one", "-o", "/"], "cannot write `/`: is a directory"),
    ],
)
def test_what_cannot_be_is_said(dmr: "Run", archive: None, arguments: list[str], words: str) -> None:
    """In one sentence."""
    outcome = dmr("export", *arguments)

    assert outcome.code != 0
    assert words in outcome.err


def test_a_terminal_is_spared(dmr: "Run", archive: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants to read a tar."""
    monkeypatch.setattr("modelrunner.cli.commands.export.is_terminal", lambda stream: stream is sys.stdout)
    outcome = dmr("export", "ai/one")

    assert outcome.code == 2
    assert "an archive is not for a terminal" in outcome.err


@pytest.mark.parametrize("flags", [[], ["-o", "-"]])
def test_the_archive_goes_down_a_pipe(dmr: "Run", archive: None, flags: list[str]) -> None:
    """When no file is named, or `-`."""
    outcome = dmr("export", "ai/one", *flags)

    assert (outcome.code, outcome.out) == (0, ARCHIVE.decode())


def test_a_device_or_pipe_is_written_as_it_is(dmr: "Run", archive: None, tmp_path: Path) -> None:
    """And is not replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    outcome = dmr("export", "ai/one", "-o", str(pipe))
    reader.join()

    assert outcome.code == 0
    assert got == [ARCHIVE]
    assert pipe.is_fifo()


def test_an_archive_that_breaks_off_leaves_the_old_file(dmr: "Run", daemon: "Daemon", tmp_path: Path) -> None:
    """And nothing beside it."""
    target = tmp_path / "models.tar"
    target.write_bytes(b"old")
    daemon.sends("POST", PATH, ARCHIVE, media=TAR, lost=1)
    outcome = dmr("export", "ai/one", "-o", str(target))

    assert outcome.code != 0
    assert "broke off" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["models.tar"]
    assert target.read_bytes() == b"old"


def test_a_refusal_leaves_no_file(dmr: "Run", daemon: "Daemon", tmp_path: Path) -> None:
    """The daemon's own error is shown."""
    daemon.refuses(PATH, "model_not_found", "model not found: `ai/one`", status=404)
    outcome = dmr("export", "ai/one", "-o", str(tmp_path / "models.tar"))

    assert outcome.code == 3
    assert "model not found: `ai/one`" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_to_end_leaves_nothing_behind(
    daemon: "Daemon", tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The part that was written goes with the command."""
    started: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
    seen: list[int] = []

    def interrupt() -> None:
        process = started.get()
        seen.append(len(list((tmp_path / "out").iterdir())))
        process.send_signal(number)
        process.wait()

    daemon.sends("POST", PATH, ARCHIVE, media=TAR, lost=1, wait=interrupt)
    (tmp_path / "out").mkdir()
    environ = {**os.environ, "HOME": str(tmp_path), "MODEL_RUNNER_HOST": daemon.url}
    arguments: list[str | Path] = [BIN / "dmr", "export", "ai/one", "-o", tmp_path / "out" / "models.tar"]
    with subprocess.Popen(arguments, env=environ, stderr=subprocess.DEVNULL) as process:
        started.put(process)

    assert (process.returncode, seen) == (code, [1])
    assert list((tmp_path / "out").iterdir()) == []
