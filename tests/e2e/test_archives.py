"""Archives as users move them: down a pipe, compressed, as a delta, and into a daemon that dies meanwhile."""

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modelrunner.testing.daemon import BIN, Runner, running
from modelrunner.testing.gguf import tiny_gguf

NAMES = ["ai/one:latest", "ai/two:latest"]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Runner]:
    """A daemon with two models that share a license."""
    (tmp_path / "LICENSE").write_text("Do as you like.\n" * 1000)
    with running(tmp_path / "here") as runner:
        for name in NAMES:
            path = tiny_gguf(tmp_path / "weights.gguf", **{"general.name": name})
            runner.must("package", "--gguf", path, "-l", tmp_path / "LICENSE", name)
        yield runner


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Runner]:
    """A daemon with nothing."""
    with running(tmp_path / "there") as runner:
        yield runner


def _models(runner: Runner) -> dict[str, str]:
    models = json.loads(runner.must("list", "--json"))
    return {tag: model["id"] for model in models for tag in model.get("tags", []) if tag in NAMES}


def _blobs(runner: Runner) -> list[Path]:
    return [path for path in (runner.home / ".docker" / "models" / "blobs").glob("*/*") if path.suffix == ""]


@pytest.mark.parametrize("filters", ["", "gzip |"])
def test_models_go_down_a_pipe(here: Runner, there: Runner, filters: str) -> None:
    """Nobody knows how long the stream will be; compressed or not."""
    line = f"{BIN}/dmr export {' '.join(NAMES)} | {filters} MODEL_RUNNER_HOST={there.url} {BIN}/dmr load"
    done = subprocess.run(
        line, shell=True, env=here.environ, check=True, capture_output=True, text=True, timeout=30
    )

    assert _models(there) == _models(here)
    assert sorted(done.stdout.splitlines()) == sorted(
        f"Loaded {digest} as {name}" for name, digest in _models(here).items()
    )


def test_a_delta_needs_what_it_leaves_out(here: Runner, there: Runner, tmp_path: Path) -> None:
    """It is small, is refused where the rest is not, and loaded where it is."""
    one, delta, have = tmp_path / "one.tar", tmp_path / "delta.tar", tmp_path / "have"
    here.must("export", NAMES[0], "-o", one)
    here.must("tag", NAMES[0], NAMES[1])  # the same blobs under another name
    have.write_text(here.must("export", "--list-blobs"))
    here.must("export", NAMES[1], "--except", have, "-o", delta)
    refused = there.run("load", delta)
    there.must("load", one)

    assert refused.code == 2
    assert "the archive lacks the blob `sha256:" in refused.err
    assert there.must("load", delta).endswith(f" as {NAMES[1]}\n")
    assert delta.stat().st_size < one.stat().st_size - 10_000
    assert _models(there) == _models(here)


def test_a_daemon_that_dies_in_mid_load_keeps_what_came(here: Runner, there: Runner, tmp_path: Path) -> None:
    """Nothing is visible after it, whole blobs are there, and the next try ends well."""
    archive = tmp_path / "models.tar"
    here.must("export", *NAMES, "-o", archive)
    data = archive.read_bytes()
    with closing(http.client.HTTPConnection("127.0.0.1", there.port, timeout=30)) as connection:
        connection.putrequest("POST", "/models/load")
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        connection.send(data[: len(data) // 2])
        while not _blobs(there):  # the daemon has nothing to say before it has everything
            os.sched_yield()
        there.stop(signal.SIGKILL)
    there.start()
    after, kept = _models(there), {path.name for path in _blobs(there)}
    there.must("load", archive)

    assert after == {}
    assert kept
    assert _models(there) == _models(here)


def test_an_archive_that_nobody_reads_to_its_end_is_no_error(here: Runner) -> None:
    """The command ends as any other whose pipe is closed, without a word about the daemon."""
    line = f"{BIN}/dmr export {NAMES[0]} 2>{here.home}/err | head -c 100 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], env=here.environ, check=True, capture_output=True, text=True, timeout=30
    )

    assert done.stdout.strip() in {"141", "0"}  # a small archive may be in the pipe before it closes
    assert "error" not in (here.home / "err").read_text()
