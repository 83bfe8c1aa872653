"""`package`: a GGUF file becomes an artifact."""

import io
import json
import os
import queue
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.testing.daemon import BIN
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.registry import FakeRegistry, Reply
from modelrunner.testing.serving import serving_in_thread

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    tiny_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "LICENSE").write_text("free")
    # A size that is a multiple of the archive's blocks needs no padding, and must not end the stream.
    (tmp_path / "block.txt").write_text("x" * 1024)
    return tmp_path


@pytest.fixture
def registry() -> Iterator[tuple[FakeRegistry, str]]:
    fake = FakeRegistry()
    with serving_in_thread(fake) as url:
        yield fake, url.removeprefix("http://")


def _loads(daemon: "Daemon") -> None:
    daemon.lines("/models/load", {"type": "success", "message": "Model loaded successfully"})


def test_the_artifact_is_streamed_to_the_daemon_and_tagged(
    daemon: "Daemon", dmr: "Run", folder: Path
) -> None:
    """A relative path will do; the archive is whole, and the tag names the manifest."""
    _loads(daemon)
    arguments = ["--gguf", "tiny.gguf", "-l", "LICENSE", "--license", "block.txt", "--context-size", "4096"]

    outcome = dmr("package", *arguments, "myorg/tiny:v1")

    assert (outcome.code, outcome.out) == (0, "")
    load, tag = daemon.seen
    assert load.headers["Content-Type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(load.body)) as archive:
        manifest_file = archive.extractfile("manifest.json")
        assert manifest_file is not None
        manifest = json.loads(manifest_file.read())
        # Three layers, the configuration, and the manifest, which an image layout has as a blob as well.
        assert len([name for name in archive.getnames() if "sha256/" in name]) == 5
    assert len(manifest["layers"]) == 3
    assert tag.query == {"repo": "docker.io/myorg/tiny", "tag": "v1"}
    assert tag.path.startswith("/models/sha256:")
    assert outcome.err.splitlines()[0] == f'Adding GGUF file from "{folder}/tiny.gguf"'
    assert outcome.err.splitlines()[-1] == "Model loaded successfully"


def test_an_upload_that_is_refused_half_way_is_one_error(daemon: "Daemon", folder: Path) -> None:
    """What reads the file is closed in order, so nothing complains when the program ends."""
    with (folder / "tiny.gguf").open("ab") as gguf:
        gguf.write(bytes(16 * 1024 * 1024))
    daemon.unread.add("/models/load")
    daemon.refuses("/models/load", "insufficient_storage", "the disk is full", status=507)

    done = subprocess.run(
        [sys.executable, "-m", "modelrunner", "package", "--gguf", "tiny.gguf", "x"],
        env={**os.environ, "MODEL_RUNNER_HOST": daemon.url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "error: " in done.stderr
    assert "generator" not in done.stderr


def test_push_goes_straight_to_the_registry(
    daemon: "Daemon", dmr: "Run", folder: Path, registry: tuple[FakeRegistry, str]
) -> None:
    """No daemon is asked."""
    fake, host = registry

    outcome = dmr("package", "--gguf", str(folder / "tiny.gguf"), "--push", f"{host}/team/tiny:v1")

    assert (outcome.code, daemon.seen) == (0, [])
    assert ("team/tiny", "v1") in fake.manifests
    assert outcome.err.splitlines()[-1] == "Model pushed successfully"


def test_ctrl_c_of_a_push_says_that_it_can_go_on(folder: Path, registry: tuple[FakeRegistry, str]) -> None:
    """As that of `push` does."""
    fake, host = registry
    started: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()

    def interrupt(reply: Reply) -> Reply:
        process = started.get()
        process.send_signal(signal.SIGINT)
        process.wait()
        return reply

    fake.fault("/uploads/", interrupt)
    with subprocess.Popen(
        [BIN / "dmr", "package", "--gguf", "tiny.gguf", "--push", f"{host}/team/tiny:v1"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        started.put(process)
        _, said = process.communicate()

    assert process.returncode == 130
    assert said.splitlines()[-1] == "push interrupted; run it again, and what has arrived is not sent again"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "One of --gguf, --safetensors-dir, --dduf, --whisper, --piper, or --from is required."),
        (["--gguf", "a", "--from", "b", "x"], "Cannot specify more than one of --gguf,"),
        (["--gguf", "a", "--dduf", "b", "x"], "Cannot specify more than one of --gguf,"),
        (["--gguf", "a", "--format", "zip", "x"], 'invalid --format value "zip": must be "docker" or "cncf"'),
        (["--gguf", "a"], "'dmr package' requires 1 argument(s)."),
    ],
)
def test_exactly_one_source_is_needed(
    daemon: "Daemon", dmr: "Run", arguments: list[str], message: str
) -> None:
    """Told with the usage, before anything is done."""
    outcome = dmr("package", *arguments)

    assert (outcome.code, daemon.seen) == (2, [])
    assert outcome.err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("content", "code"), [(b"not a model at all, really", 1), (b"GGUF\x03\x00\x00\x00", 1), (None, 2)]
)
def test_a_file_that_is_no_gguf_is_refused(
    daemon: "Daemon", dmr: "Run", folder: Path, content: bytes | None, code: int
) -> None:
    """Nothing reaches the daemon."""
    if content is not None:
        (folder / "bad.gguf").write_bytes(content)

    outcome = dmr("package", "--gguf", "bad.gguf", "x")

    assert (outcome.code, daemon.seen) == (code, [])
    assert "error: " in outcome.err
    assert "bad.gguf" in outcome.err


def test_an_impossible_name_is_told_before_the_work(daemon: "Daemon", dmr: "Run", folder: Path) -> None:
    """Hashing a large file for nothing is no fun."""
    outcome = dmr("package", "--gguf", "tiny.gguf", "Not A Name!")

    assert (outcome.code, daemon.seen) == (2, [])
    assert outcome.err.startswith("error: invalid model reference")


def test_a_variant_is_made_by_the_daemon(daemon: "Daemon", dmr: "Run") -> None:
    """Only its configuration differs, so no layer moves."""
    daemon.json("POST", "/models/ai/x/repackage", {"target": "y"}, status=201)

    outcome = dmr("package", "--from", "ai/x", "--context-size", "4096", "y")

    assert outcome.code == 0
    assert [request.json for request in daemon.seen] == [{"target": "y", "context_size": 4096}]
    assert outcome.err.splitlines()[:4] == [
        'Reading model from daemon: "ai/x"',
        "Setting context size 4096",
        "Creating lightweight model variant...",
        "Model variant created successfully",
    ]


@pytest.mark.parametrize("source", [["--gguf", "tiny.gguf"], ["--from", "ai/x"]])
def test_hugging_face_is_no_registry_to_push_to(
    daemon: "Daemon", dmr: "Run", folder: Path, source: list[str]
) -> None:
    """Said before the work, with what does it."""
    outcome = dmr("package", *source, "--push", "hf.co/Me/Mine")

    assert (outcome.code, daemon.seen) == (2, [])
    assert "`dmr push hf.co/Me/Mine`" in outcome.err
