"""Files that are not what their names say: found, set aside, never deleted."""

import os
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from modelrunner.oci.digest import Digest
from modelrunner.store.index import Index
from modelrunner.store.layout import Layout
from modelrunner.store.locks import Turns
from modelrunner.store.store import Store
from modelrunner.store.verify import Check, Damage, Finding, examine, has_other_bundle, set_aside, survey
from modelrunner.testing.artifacts import Artifact, make_artifact, put

WEIGHTS = b"weights" * 1000
FIRST = make_artifact(WEIGHTS, b"license", config=b'{"n":1}')
SECOND = make_artifact(WEIGHTS, config=b'{"n":2}')


def _writable(path: Path) -> Path:
    path.chmod(0o644)
    return path


def _blob(store: Store, content: bytes) -> Path:
    return store.blob_path(Digest.of(content))


def _examined(store: Store) -> list[tuple[str, Damage]]:
    layout = Layout(store.root)
    index = Index().add(FIRST.id, [blob.digest for blob in FIRST.content.blobs])
    found = examine(survey(index, layout).checks, stop=threading.Event())
    return [(finding.check.digest.hex, finding.damage) for finding in found]


@pytest.fixture
async def filled(store: Store) -> Store:
    await put(store, FIRST, "docker.io/ai/first:latest")
    await put(store, SECOND, "docker.io/ai/second:latest")
    return store


async def test_a_shared_file_is_read_once_for_all_models_that_need_it(filled: Store) -> None:
    """And every manifest, whose size nothing says."""
    found = await filled.upkeep.survey()
    weights = [check for check in found.checks if check.digest == Digest.of(WEIGHTS)]

    assert 6 == len(found.checks)
    assert [{FIRST.id, SECOND.id}] == [set(check.models) for check in weights]
    assert [True, True] == [check.is_manifest for check in found.checks if check.size is None]
    assert found.total == sum(check.path.stat().st_size for check in found.checks)


async def test_some_models_can_be_checked_alone(filled: Store) -> None:
    """With their own files only."""
    found = await filled.upkeep.survey({SECOND.id})

    assert {SECOND.id} == {model for check in found.checks for model in check.models}
    assert 3 == len(found.checks)


async def test_files_that_are_right_are_not_found(filled: Store) -> None:
    """All bytes are read for that."""
    counted: list[int] = []
    found = await filled.upkeep.survey()

    assert () == await filled.upkeep.examine(found, count=counted.append)
    assert found.total == sum(counted)


@pytest.mark.parametrize("at", [0, len(WEIGHTS) // 2, len(WEIGHTS) - 1])
async def test_one_flipped_bit_anywhere_is_found(filled: Store, at: int) -> None:
    """The size says nothing about it."""
    path = _writable(_blob(filled, WEIGHTS))
    content = bytearray(WEIGHTS)
    content[at] ^= 1
    path.write_bytes(content)

    assert [(Digest.of(WEIGHTS).hex, Damage.CONTENT)] == _examined(filled)


async def test_each_kind_of_damage_is_told(filled: Store) -> None:
    """What is missing, cut short, or no file any more."""
    _blob(filled, WEIGHTS).unlink()
    _writable(_blob(filled, b"license")).write_bytes(b"lic")
    config = filled.blob_path(FIRST.config.digest)
    config.unlink()
    config.mkdir()

    assert {
        (Digest.of(WEIGHTS).hex, Damage.MISSING),
        (Digest.of(b"license").hex, Damage.SIZE),
        (FIRST.config.digest.hex, Damage.SIZE),
    } == set(_examined(filled))


async def test_a_folder_in_a_file_s_place_cannot_be_read(filled: Store) -> None:
    """It is said like any other damage."""
    manifest = Layout(filled.root).manifest(FIRST.id)
    manifest.unlink()
    manifest.mkdir()

    assert [(FIRST.id.hex, Damage.UNREADABLE)] == _examined(filled)


async def test_a_damaged_manifest_is_found_and_its_files_are_known_from_the_index(filled: Store) -> None:
    """So that nothing of the model goes unchecked."""
    manifest = Layout(filled.root).manifest(FIRST.id)
    manifest.write_bytes(b"{}")
    _writable(_blob(filled, b"license")).write_bytes(b"licensX")

    assert {
        (FIRST.id.hex, Damage.CONTENT),
        (Digest.of(b"license").hex, Damage.CONTENT),
    } == set(_examined(filled))


async def test_what_is_wrong_is_set_aside_and_the_model_is_not_listed(filled: Store) -> None:
    """With every byte that it has; what else needs it counts as damaged, too, and pulling mends both."""
    _writable(_blob(filled, WEIGHTS)).write_bytes(bytes(len(WEIGHTS)))
    (filled.bundle_path(FIRST.id) / "model").mkdir(parents=True)
    findings = await filled.upkeep.examine(await filled.upkeep.survey())
    moved = await filled.upkeep.set_aside(findings)
    gone = filled.snapshot.models
    await put(filled, FIRST, "docker.io/ai/first:latest")

    (aside,) = moved.values()
    assert bytes(len(WEIGHTS)) == aside.read_bytes()
    assert filled.root / "quarantine" in aside.parents
    assert not filled.bundle_path(FIRST.id).exists()
    assert () == gone
    assert WEIGHTS == _blob(filled, WEIGHTS).read_bytes()
    assert {FIRST.id, SECOND.id} == {model.id for model in Store(filled.root).snapshot.models}


async def test_two_damaged_files_of_one_name_are_both_kept(filled: Store) -> None:
    """Neither takes the other's place."""
    for content in (b"one", b"two"):
        _blob(filled, WEIGHTS).unlink(missing_ok=True)
        _blob(filled, WEIGHTS).write_bytes(content)
        await filled.upkeep.set_aside(await filled.upkeep.examine(await filled.upkeep.survey()))

    aside = sorted((filled.root / "quarantine" / "sha256").iterdir())
    assert [b"one", b"two"] == [path.read_bytes() for path in aside]


def _finding(path: Path, damage: Damage = Damage.CONTENT) -> Finding:
    return Finding(Check(Digest.of(WEIGHTS), path, None, ()), damage, path.stat().st_ino)


async def test_a_file_that_was_replaced_meanwhile_stays(filled: Store) -> None:
    """Somebody pulled it again between reading and moving."""
    layout, path = Layout(filled.root), _blob(filled, WEIGHTS)
    finding = _finding(path)
    (path.parent / "new").write_bytes(WEIGHTS)
    (path.parent / "new").replace(path)

    assert set_aside(layout, Turns(layout.locks), finding) is None
    assert path.exists()


async def test_a_file_that_is_being_written_stays(filled: Store) -> None:
    """It is about to be right."""
    layout, path = Layout(filled.root), _blob(filled, WEIGHTS)
    turns = Turns(layout.locks)
    async with turns.turn(Digest.of(WEIGHTS)):
        moved = set_aside(layout, Turns(layout.locks), _finding(path))

    assert moved is None
    assert path.exists()


@pytest.mark.parametrize("damage", [Damage.MISSING, Damage.UNREADABLE])
async def test_what_cannot_be_read_is_not_moved(filled: Store, damage: Damage) -> None:
    """A disk that fails for a moment is no reason to take a model apart."""
    layout, path = Layout(filled.root), _blob(filled, WEIGHTS)

    assert set_aside(layout, Turns(layout.locks), _finding(path, damage)) is None
    assert path.exists()


async def test_a_model_that_is_removed_meanwhile_is_not_missing(filled: Store) -> None:
    """Nobody needs its files any more."""
    found = await filled.upkeep.survey({FIRST.id})
    await filled.remove("ai/first")

    assert () == await filled.upkeep.examine(found)


async def test_checking_stops_when_it_is_told_to(filled: Store) -> None:
    """Before the next file."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(CancelledError):
        examine((await filled.upkeep.survey()).checks, stop=stop)


def _bundle(store: Store, artifact: Artifact, content: bytes, *, linked: bool = False) -> Path:
    path = store.bundle_path(artifact.id) / "model" / "model.gguf"
    path.parent.mkdir(parents=True)
    if linked:
        os.link(_blob(store, content), path)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "linked", "other"),
    [(WEIGHTS, True, False), (WEIGHTS, False, False), (bytes(len(WEIGHTS)), False, True)],
)
async def test_a_model_laid_out_with_other_weights_is_found(
    filled: Store, content: bytes, *, linked: bool, other: bool
) -> None:
    """A copy is read; a link is right when the blob is."""
    _bundle(filled, FIRST, content, linked=linked)
    layout = Layout(filled.root)
    others = await filled.upkeep.other_bundles(await filled.upkeep.survey())
    await filled.upkeep.drop_bundles(others)

    assert other == (others == (FIRST.id,))
    assert not has_other_bundle(layout, FIRST.id, FIRST.content)
    assert other != filled.bundle_path(FIRST.id).exists()
