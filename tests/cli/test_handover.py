"""Files on their way to the daemon by their place."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.oci.digest import Digest
from modelrunner.testing.daemon import Runner, running
from modelrunner.testing.gguf import tiny_gguf

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A GGUF file that is worth asking for."""
    path = tiny_gguf(tmp_path / "large.gguf")
    with path.open("ab") as file:
        file.write(bytes(24 << 20))
    return path


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with running(tmp_path / "home") as started:
        yield started


def _read(pid: int) -> int:
    pairs = (line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(dict(pairs)["rchar"])


def test_the_daemon_reads_a_large_file_once_and_nothing_is_sent(runner: Runner, large: Path) -> None:
    """It does not come over the connection, which would be read too."""
    before = _read(runner.pid)
    runner.must("package", "--gguf", large, "ai/large")
    read = _read(runner.pid) - before

    assert large.stat().st_size <= read < large.stat().st_size * 1.5
    assert runner.must("list", "-q") != ""


def test_a_link_makes_the_file_the_blob(runner: Runner, large: Path) -> None:
    """And it cannot be asked for where nothing is stored."""
    runner.must("package", "--gguf", large, "--link", "ai/large")
    refused = runner.run("package", "--gguf", large, "--link", "--push", "localhost:1/ai/large")

    digest = Digest.of(large.read_bytes())
    assert (runner.home / ".docker/models/blobs/sha256" / digest.hex).samefile(large)
    assert refused.code != 0
    assert "--link is for files that go into the model store." in refused.err


def test_both_ways_make_the_same_model(runner: Runner, large: Path, tmp_path: Path) -> None:
    """A small file is sent, a large one is handed over: what counts is what is in them."""
    (tmp_path / "LICENSE").write_text("free")
    runner.must("package", "--gguf", large, "-l", tmp_path / "LICENSE", "ai/large")
    (first,) = runner.must("list", "-q").split()
    runner.must("export", "ai/large", "-o", tmp_path / "large.tar")
    runner.must("rm", "ai/large")
    runner.must("load", tmp_path / "large.tar")

    assert runner.must("list", "-q").split() == [first]


@pytest.mark.parametrize("old", [False, True])
def test_a_daemon_that_does_not_see_the_file_gets_it_sent(
    daemon: "Daemon",
    dmr: "Run",
    large: Path,
    *,
    old: bool,
) -> None:
    """As one in a container, or one that knows nothing of this."""
    if not old:
        daemon.refuses("/models/take", "invalid_request", "the daemon does not see this file: `it`")
    daemon.lines("/models/load", {"type": "success", "message": "Model loaded successfully"})

    outcome = dmr("package", "--gguf", str(large), "ai/large")

    assert outcome.code == 0
    asked, sent, _ = daemon.seen
    assert asked.path == "/models/take"
    assert len(sent.body) > large.stat().st_size


def test_a_daemon_without_room_ends_it(daemon: "Daemon", dmr: "Run", large: Path) -> None:
    """Sending the file would not help."""
    daemon.refuses("/models/take", "insufficient_storage", "not enough disk space", status=507)

    outcome = dmr("package", "--gguf", str(large), "ai/large")

    assert outcome.code == 1
    assert "not enough disk space" in outcome.err
    assert [seen.path for seen in daemon.seen] == ["/models/take"]
