"""Stores as the reference writes them, and damaged ones."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelrunner.models.description.names import as_id, parse_name
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import Artifact, make_artifact, put

SMALL = make_artifact(b"small weights", config=b'{"n":1}')
LARGE = make_artifact(b"large weights", b"license", config=b'{"n":2}')
THIRD = make_artifact(b"third weights")


def _write(root: Path, models: Sequence[tuple[Artifact, Sequence[str] | None]]) -> None:
    """Lay out a store by hand, as distribution 6.1 has it."""
    entries = []
    for artifact, tags in models:
        files = {Path("blobs", digest.path): data for digest, data in artifact.contents.items()}
        files[Path("manifests", artifact.id.path)] = artifact.content.raw
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        digests = [str(blob.digest) for blob in (*artifact.layers, artifact.config)]
        entries.append({"id": str(artifact.id), "tags": tags, "files": digests})
    (root / "layout.json").write_text('{\n  "version": "1.0.0"\n}')
    (root / "models.json").write_text(json.dumps({"models": entries}, indent=2))


def _open(root: Path) -> Store:
    return Store(root, parse=parse_name, as_id=as_id)


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def _names(store: Store) -> list[list[str]]:
    return [[str(tag) for tag in model.tags] for model in store.snapshot.models]


def test_a_store_of_the_reference_is_read(root: Path) -> None:
    """With null for tags, and names in forms that it no longer writes."""
    _write(root, [(SMALL, None), (LARGE, ["ai/x:latest", "hf.co/org/m:latest"]), (THIRD, ["y"])])

    store = _open(root)

    assert store.problems == ()
    assert _names(store) == [
        [],
        ["docker.io/ai/x:latest", "huggingface.co/org/m:latest"],
        ["docker.io/ai/y:latest"],
    ]


@pytest.mark.parametrize("text", ["x", "hf.co/org/m", "huggingface.co/Org/M:latest", LARGE.id.short])
def test_its_models_are_found(root: Path, text: str) -> None:
    """By every spelling of their names."""
    _write(root, [(SMALL, None), (LARGE, ["ai/x:latest", "hf.co/org/m:latest"])])

    found = _open(root).snapshot.find(text)

    assert found is not None
    assert found.id == LARGE.id


def test_old_hugging_face_names_are_rewritten_once(root: Path) -> None:
    """Opening again changes nothing (distribution 11.34)."""
    _write(root, [(LARGE, ["hf.co/org/m:latest", "ai/x"])])
    _open(root)
    once = (root / "models.json").read_bytes()
    _open(root)

    assert json.loads(once)["models"][0]["tags"] == ["huggingface.co/org/m:latest", "ai/x"]
    assert (root / "models.json").read_bytes() == once


def test_opening_changes_nothing_else(root: Path) -> None:
    """A store without old names is only read."""
    _write(root, [(LARGE, ["ai/x:latest"]), (SMALL, None)])
    before = (root / "models.json").read_bytes()

    _open(root)

    assert (root / "models.json").read_bytes() == before


async def test_the_reference_can_read_what_we_wrote(root: Path) -> None:
    """After our edits the tree has exactly the reference's files."""
    _write(root, [(LARGE, ["ai/x:latest"])])
    store = _open(root)
    await put(store, SMALL, "ai/small")
    await store.remove("x")

    document = json.loads((root / "models.json").read_bytes())

    assert _files(root) == {
        "layout.json",
        "models.json",
        f"manifests/{SMALL.id.path}",
        *(f"blobs/{digest.path}" for digest in SMALL.contents),
    }
    assert document == {
        "models": [
            {
                "id": str(SMALL.id),
                "tags": ["docker.io/ai/small:latest"],
                "files": [str(SMALL.layers[0].digest), str(SMALL.config.digest)],
            }
        ]
    }


@pytest.mark.parametrize("victim", ["manifest", "config", "layer"])
@pytest.mark.parametrize("how", ["missing", "damaged"])
async def test_a_damaged_model_is_left_out(
    root: Path, caplog: pytest.LogCaptureFixture, victim: str, how: str
) -> None:
    """The others are there, the log and `problems` say why, and pulling it again repairs it."""
    _write(root, [(SMALL, ["ai/small"]), (LARGE, ["ai/large:latest"])])
    path = {
        "manifest": root / "manifests" / LARGE.id.path,
        "config": root / "blobs" / LARGE.config.digest.path,
        "layer": root / "blobs" / LARGE.layers[0].digest.path,
    }[victim]
    path.unlink() if how == "missing" else path.write_bytes(b"{}")

    store = _open(root)
    damaged = (_names(store), len(store.problems), caplog.text.count(str(LARGE.id)) > 0)
    await put(store, LARGE)

    assert damaged == ([["docker.io/ai/small:latest"]], 1, True)
    assert (_names(store)[1], store.problems) == (["docker.io/ai/large:latest"], ())


async def test_a_damaged_model_can_be_removed(root: Path) -> None:
    """By its name, though it is not listed."""
    _write(root, [(LARGE, ["ai/large:latest"])])
    (root / "manifests" / LARGE.id.path).unlink()
    store = _open(root)

    steps = await store.remove("large")

    assert steps == [("untagged", "docker.io/ai/large:latest"), ("deleted", str(LARGE.id))]
    assert store.problems == ()


async def test_an_entry_without_an_id_hurts_nobody(root: Path) -> None:
    """It is a problem, and stays in the file as it is."""
    _write(root, [(SMALL, ["ai/small:latest"])])
    index = root / "models.json"
    document = json.loads(index.read_bytes())
    document["models"].insert(0, {"id": "md5:../../x", "tags": ["ai/odd"], "files": ["nonsense"]})
    index.write_text(json.dumps(document))
    store = _open(root)

    await store.tag(SMALL.id, parse_name("other"))

    assert (_names(store)[0], len(store.problems)) == (
        ["docker.io/ai/small:latest", "docker.io/ai/other:latest"],
        1,
    )
    assert json.loads(index.read_bytes())["models"][0]["id"] == "md5:../../x"
