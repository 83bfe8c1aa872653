"""Archives as users move them: down a pipe, compressed, as a delta, and into a daemon that dies meanwhile."""

import gzip
import hashlib
import http.client
import json
import os
import signal
import subprocess
import tarfile
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


def _member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """One entry, without the end of an archive."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def _claiming(size: int) -> bytes:
    info = tarfile.TarInfo(f"blobs/sha256/{'a' * 64}")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


NAMED_WRONG = hashlib.sha256(b"other").hexdigest()
EVIL = {
    "absolute": (_member("/tmp/evil", b"x"), "invalid path detected"),
    "upwards": (_member("blobs/../../evil", b"x"), "invalid path detected"),
    "symlink": (_member("blobs/sha256", kind=tarfile.SYMTYPE, link="/tmp"), "a link or a device"),
    "hard link": (_member("manifest.json", kind=tarfile.LNKTYPE, link="/etc/passwd"), "a link or a device"),
    "device": (_member("blobs/zero", kind=tarfile.CHRTYPE), "a link or a device"),
    "pipe": (_member("blobs/pipe", kind=tarfile.FIFOTYPE), "a link or a device"),
    "terminal": (_member("\x1b]0;evil\x07/../x", b"x"), "invalid path detected"),
    "claims a count near 2^63": (_claiming(2**63 - 1), "claims to have"),
    "claims a petabyte": (_claiming(2**49), "ends too early"),
    "wrong digest": (_member(f"blobs/sha256/{NAMED_WRONG}", b"not that"), "blob digest mismatch"),
    "large manifest": (_member("manifest.json", b" " * (5 << 20)), "larger than"),
    "index as manifest": (
        _member("manifest.json", b'{"schemaVersion":2,"manifests":[],"config":{}}'),
        "not an image manifest",
    ),
    "deep manifest": (_member("manifest.json", b"[" * 100_000), "not an image manifest"),
    "no manifest": (_member("notes.txt", b"hello"), "manifest not found"),
    "gzip bomb": (gzip.compress(_member("blobs/x", bytes(200 << 20))), "times as large"),
    "no archive": (b"text" * 1000, "not a tar archive"),
    "nothing": (b"", "manifest not found"),
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_evil_archive_is_refused_in_one_sentence(there: Runner, tmp_path: Path, kind: str) -> None:
    """Nothing is written outside of the store, nothing becomes visible, and the store is as it was."""
    content, sentence = EVIL[kind]
    there.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
    before, listed = _outside(there), there.must("list", "--json")
    (tmp_path / "evil.tar").write_bytes(content)
    outcome = there.run("load", "-i", tmp_path / "evil.tar")

    assert 1 <= outcome.code <= 2
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err + there.log
    assert "\x1b" not in outcome.out + outcome.err
    assert (before, listed) == (_outside(there), there.must("list", "--json"))
    assert not Path("/tmp/evil").exists()
    assert 0 == there.run("verify").code


def _outside(runner: Runner) -> set[Path]:
    """Every file of the home folder that is not in the store."""
    return {path for path in runner.home.rglob("*") if runner.home / ".docker" / "models" not in path.parents}
