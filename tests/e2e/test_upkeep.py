"""Import, verify, repair and prune, as a user does."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelrunner.testing.daemon import Runner, running
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.gguf import tiny_gguf


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with running(tmp_path / "home") as started:
        yield started


def _ollama(home: Path, weights: bytes, name: str = "tiny") -> Path:
    """Lay a model out as Ollama keeps it; the file of its weights."""
    root = home / ".ollama" / "models"
    folder = root / "manifests" / "registry.ollama.ai" / "library" / name
    folder.mkdir(parents=True)
    (root / "blobs").mkdir(exist_ok=True)
    digest = hashlib.sha256(weights).hexdigest()
    blob = root / "blobs" / f"sha256-{digest}"
    blob.write_bytes(weights)
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{digest}",
        "size": len(weights),
    }
    manifest = {"schemaVersion": 2, "config": layer, "layers": [layer]}
    (folder / "latest").write_text(json.dumps(manifest))
    return blob


def _blob(runner: Runner, content: bytes) -> Path:
    return runner.home / ".docker/models/blobs/sha256" / hashlib.sha256(content).hexdigest()


def test_a_model_of_another_program_is_shared_and_not_moved(runner: Runner, tmp_path: Path) -> None:
    """The same file under two names, whose mode stays its owner's; the second time there is nothing to do."""
    weights = tiny_gguf(tmp_path / "m.gguf").read_bytes()
    theirs = _ollama(runner.home, weights)
    theirs.chmod(0o640)
    looked = runner.must("import", "--dry-run")
    imported = runner.must("import", "--from", "ollama")
    again = runner.must("import", "--from", "ollama")

    assert "Would import registry.ollama.ai/library/tiny:latest" in looked
    assert "1 model imported" in imported
    assert "is here already" in again
    assert theirs.samefile(_blob(runner, weights))
    assert 0o640 == theirs.stat().st_mode & 0o777
    assert "registry.ollama.ai/library/tiny" in runner.must("list")


def test_a_loose_file_is_never_shared_unless_asked(runner: Runner, tmp_path: Path) -> None:
    """Its owner may write to it, and the store must not change with it."""
    path = tiny_gguf(tmp_path / "Tiny-Q8_0.gguf")
    runner.must("import", "--from", path)

    assert not path.samefile(_blob(runner, path.read_bytes()))


def test_what_is_no_model_is_not_imported(runner: Runner, tmp_path: Path) -> None:
    """A daemon is no way to read other people's files."""
    (tmp_path / "secret.gguf").write_text("password")
    outcome = runner.run("import", "--from", tmp_path / "secret.gguf")

    assert "is left out" in outcome.out + outcome.err
    assert "password" not in outcome.out + outcome.err
    assert [] == json.loads(runner.must("list", "--json"))


def test_a_damaged_ollama_blob_is_left_out_and_the_rest_goes_on(runner: Runner, tmp_path: Path) -> None:
    """Nothing of it comes into the store."""
    good = tiny_gguf(tmp_path / "m.gguf").read_bytes()
    other = good + bytes(32)
    _ollama(runner.home, good, "good")
    _ollama(runner.home, other, "bad").write_bytes(other[:-1] + b"x")
    outcome = runner.run("import", "--from", "ollama")

    assert "1 model imported" in outcome.out
    assert "registry.ollama.ai/library/bad:latest is left out" in outcome.out + outcome.err
    assert not _blob(runner, other).exists()


@pytest.mark.registry
def test_a_damaged_model_is_found_set_aside_and_repaired(runner: Runner, tmp_path: Path) -> None:
    """Nothing is deleted before somebody says so."""
    weights = tiny_gguf(tmp_path / "m.gguf")
    with docker_registry(tmp_path) as address:
        name = f"{address}/team/tiny:v1"
        runner.must("package", "--gguf", weights, name)
        runner.must("push", name)
        fine = runner.run("verify")
        blob = _blob(runner, weights.read_bytes())
        blob.chmod(0o644)
        blob.write_bytes(bytes(weights.stat().st_size))
        found = runner.run("verify", name)
        aside = list((runner.home / ".docker/models/quarantine/sha256").iterdir())
        repaired = runner.run("pull", name)
        again = runner.run("verify")

    assert (0, 1, 0, 0) == (fine.code, found.code, repaired.code, again.code)
    assert "wrong content" in found.out + found.err
    assert "dmr verify --repair" in found.err
    assert [blob.name] == [path.name for path in aside]
    assert weights.read_bytes() == blob.read_bytes()


@pytest.mark.registry
@pytest.mark.parametrize("looked_before", [False, True])
def test_repair_pulls_again_what_is_damaged(runner: Runner, tmp_path: Path, *, looked_before: bool) -> None:
    """In one command, or in the second, as the first one says; quarantine stays until it is pruned."""
    weights = tiny_gguf(tmp_path / "m.gguf")
    with docker_registry(tmp_path) as address:
        name = f"{address}/team/tiny:v1"
        runner.must("package", "--gguf", weights, name)
        runner.must("push", name)
        blob = _blob(runner, weights.read_bytes())
        blob.chmod(0o644)
        blob.write_bytes(b"short")
        if looked_before:
            assert 1 == runner.run("verify").code
        outcome = runner.run("verify", "--repair")
    pruned = runner.must("prune", "--damaged", "--all")

    assert 0 == outcome.code
    assert weights.read_bytes() == blob.read_bytes()
    assert "damaged file in quarantine" in pruned


def test_prune_shows_before_it_deletes(runner: Runner) -> None:
    """What belongs to no model, such as what a broken download left."""
    partial = runner.home / ".docker/models/blobs/sha256" / f"{'a' * 64}.incomplete"
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(bytes(1000))
    young = runner.must("prune")
    shown = runner.must("prune", "--all", "--dry-run")
    there = partial.exists()
    runner.must("prune", "--all")

    assert ("", True, False) == (young, there, partial.exists())
    assert "unfinished download" in shown
