"""The store as a whole."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from modelrunner.errors import (
    Conflict,
    InsufficientStorage,
    InvalidReference,
    ModelNotFound,
    StoreError,
)
from modelrunner.models.description.names import as_id, parse_name
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.transfer import Source
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import Artifact, make_artifact, put, put_blobs, stream

MODEL = make_artifact(b"weights", b"license")
OTHER = make_artifact(b"weights", config=b'{"config":{"format":"gguf","context_size":4096}}')
NAME = parse_reference("ai/smollm2:latest")


def _names(store: Store) -> list[list[str]]:
    return [[str(tag) for tag in model.tags] for model in store.snapshot.models]


def _children(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _has_blobs(store: Store, artifact: Artifact) -> list[bool]:
    return [store.blob_path(blob.digest).exists() for blob in artifact.content.blobs]


async def test_what_was_written_is_found(store: Store) -> None:
    """By name and by id, with the same bytes."""
    await put(store, MODEL, "ai/smollm2")

    found = store.snapshot.find("smollm2")
    assert found is not None
    assert found == store.snapshot.find(MODEL.id.short)
    assert (found.id, found.manifest.raw) == (MODEL.id, MODEL.content.raw)
    assert found.config_bytes == MODEL.contents[MODEL.config.digest]


async def test_what_was_written_is_there_after_a_restart(store: Store) -> None:
    """A second store in the same place has the same models."""
    await put(store, MODEL, "ai/smollm2", "ai/smollm2:135m")

    assert Store(store.root).snapshot.models == store.snapshot.models


async def test_a_name_is_given_last(store: Store) -> None:
    """With a blob missing nothing becomes visible, in memory or on the disk."""
    async with store.claim(MODEL.layers[0]) as done:
        await store.write(MODEL.layers[0], done, stream(b"weights"))

    with pytest.raises(StoreError, match="missing blob"):
        await store.commit(MODEL.content, [NAME])
    assert store.snapshot.models == Store(store.root).snapshot.models == ()


async def test_a_damaged_configuration_is_not_committed(store: Store) -> None:
    """What could not be listed afterwards is refused while the caller can still be told."""
    await put_blobs(store, MODEL)
    config = store.blob_path(MODEL.config.digest)
    config.unlink()
    config.write_bytes(bytes(MODEL.config.size))

    with pytest.raises(StoreError, match="not usable"):
        await store.commit(MODEL.content, [NAME])
    await put(store, MODEL, str(NAME))
    assert _names(store) == [[str(NAME)]]


async def test_committing_twice_lists_once(store: Store) -> None:
    """The second commit only adds its name."""
    await put(store, MODEL, "ai/x:1")
    await put(store, MODEL, "ai/x:2")

    assert _names(store) == [["docker.io/ai/x:1", "docker.io/ai/x:2"]]


async def test_a_pull_by_digest_adds_no_name(store: Store) -> None:
    """`latest` does not move because somebody asked for a digest (distribution 10.A2)."""
    await put(store, OTHER, "ai/x:latest")
    await put(store, MODEL, f"ai/x@{MODEL.id}")

    assert _names(store) == [["docker.io/ai/x:latest"], []]
    assert store.snapshot.find(f"ai/x@{MODEL.id}") == store.snapshot.get(MODEL.id)


async def test_a_moved_name_leaves_the_old_model(store: Store) -> None:
    """It stays listed, under its id."""
    await put(store, MODEL, "ai/x")
    await put(store, OTHER, "ai/x")

    assert _names(store) == [[], ["docker.io/ai/x:latest"]]


async def test_the_snapshot_does_not_change_under_its_reader(store: Store) -> None:
    """A list that was begun before an edit ends as it began."""
    before = store.snapshot
    await put(store, MODEL, "ai/x")

    assert (before.models, before.find("ai/x")) == ((), None)


async def test_a_stored_model_can_be_copied_out(store: Store) -> None:
    """The store is a source: manifest and blobs come as they were stored."""
    await put(store, MODEL, "ai/x")

    source: Source = store
    manifest = await source.manifest(parse_reference("ai/x"))
    async with source.open(manifest.layers[0], 3) as (position, chunks):
        rest = b"".join([chunk async for chunk in chunks])

    assert (manifest, position, rest) == (MODEL.content, 3, b"ghts")


async def test_a_manifest_that_is_not_here(store: Store) -> None:
    """The familiar name is in the message."""
    with pytest.raises(ModelNotFound, match="`ai/x:latest`"):
        await store.manifest(parse_reference("ai/x"))


async def test_tagging_and_untagging(store: Store) -> None:
    """A model without names stays."""
    await put(store, MODEL)
    await store.tag(MODEL.id, NAME)
    tagged = _names(store)
    await store.untag(NAME)

    assert (tagged, _names(store)) == ([[str(NAME)]], [[]])


async def test_a_digest_is_no_name(store: Store) -> None:
    """A tag is needed, and a digest beside it must be the model's."""
    await put(store, MODEL)

    for text in (f"ai/x@{MODEL.id}", f"ai/x:1@{OTHER.id}"):
        with pytest.raises(InvalidReference):
            await store.tag(MODEL.id, parse_reference(text))


async def test_names_of_nothing(store: Store) -> None:
    """Neither an unknown model nor an unknown name can be edited."""
    with pytest.raises(ModelNotFound):
        await store.tag(MODEL.id, NAME)
    with pytest.raises(ModelNotFound):
        await store.untag(NAME)
    with pytest.raises(ModelNotFound, match="`nothing`"):
        await store.remove("nothing")
    with pytest.raises(InvalidReference):
        await store.remove("a:b:c")


async def test_removing_the_last_name_removes_the_model(store: Store) -> None:
    """Manifest, blobs and bundle go; the answer says what was done, in order."""
    await put(store, MODEL, "ai/x")
    (store.bundle_path(MODEL.id) / "model").mkdir(parents=True)

    steps = await store.remove("x")

    assert steps == [("untagged", "docker.io/ai/x:latest"), ("deleted", str(MODEL.id))]
    assert (store.snapshot.models, _has_blobs(store, MODEL)) == ((), [False] * 3)
    assert not store.bundle_path(MODEL.id).exists()
    assert not (store.root / "manifests" / MODEL.id.path).exists()


async def test_removing_one_of_two_names_keeps_the_model(store: Store) -> None:
    """The bundle stays, too."""
    await put(store, MODEL, "ai/x:1", "ai/x:2")
    store.bundle_path(MODEL.id).mkdir(parents=True)

    assert await store.remove("x:1") == [("untagged", "docker.io/ai/x:1")]
    assert (_names(store), _has_blobs(store, MODEL)) == ([["docker.io/ai/x:2"]], [True] * 3)
    assert store.bundle_path(MODEL.id).exists()


async def test_removing_by_id(store: Store) -> None:
    """Several names need force; then all go."""
    await put(store, MODEL, "ai/x:1", "ai/x:2")

    with pytest.raises(Conflict):
        await store.remove(MODEL.id.short)
    steps = await store.remove(f"whatever@{MODEL.id}", force=True)

    assert [kind for kind, _ in steps] == ["untagged", "untagged", "deleted"]
    assert store.snapshot.models == ()


async def test_a_bare_name_of_another_organisation_removes_nothing(store: Store) -> None:
    """What is deleted does not depend on what else is here."""
    await put(store, MODEL, "myorg/smollm2:v3")

    with pytest.raises(ModelNotFound):
        await store.remove("smollm2")
    assert store.snapshot.find("smollm2") is None
    assert store.snapshot.find_loosely("smollm2") == store.snapshot.get(MODEL.id)


async def test_a_shared_blob_stays_until_nobody_needs_it(store: Store) -> None:
    """Two models with the same weights have one file."""
    await put(store, MODEL, "ai/x")
    await put(store, OTHER, "ai/y")

    await store.remove("x")
    between = (_has_blobs(store, MODEL), _has_blobs(store, OTHER))
    await store.remove("y")

    assert between == ([True, False, False], [True, True])
    assert _has_blobs(store, OTHER) == [False, False]


async def test_a_blob_that_a_pull_counts_on_is_not_removed(store: Store) -> None:
    """The pull found it complete; removing the model that brought it must not make the pull fail."""
    await put(store, MODEL, "ai/x")
    await put_blobs(store, OTHER)

    await store.remove("x")
    await store.commit(OTHER.content, [NAME])

    assert _has_blobs(store, OTHER) == [True, True]


async def test_garbage_of_a_failed_pull(store: Store) -> None:
    """It is kept for a time, and what a pull has just claimed is kept in any case."""
    await put_blobs(store, MODEL)
    young = await store.collect_garbage()
    claimed = await store.collect_garbage(0)
    later = await Store(store.root).collect_garbage(0)

    assert (young, claimed, later) == (0, 0, MODEL.content.size)
    assert _has_blobs(store, MODEL) == [False] * 3


async def test_collecting_garbage_keeps_models(store: Store) -> None:
    """Whatever is named stays."""
    await put(store, MODEL, "ai/x")

    assert await store.collect_garbage(-1) == 0
    assert Store(store.root).snapshot.models == store.snapshot.models


async def test_purging_empties_the_store(store: Store) -> None:
    """Nothing is left, and it can be used again at once."""
    await put(store, MODEL, "ai/x")
    await store.purge()
    emptied = (store.snapshot.models, sorted(_children(store.root)))
    await put(store, MODEL, "ai/x")

    assert emptied == ((), [".locks", "layout.json", "models.json"])
    assert len(store.snapshot.models) == 1


async def test_purging_leaves_files_of_others(root: Path) -> None:
    """Opening a store makes any directory one, so that the mark alone says nothing."""
    files = [root / "mine.gguf", root / "sub" / "notes.txt"]
    files[1].parent.mkdir(parents=True)
    for file in files:
        file.write_bytes(b"1")
    store = Store(root)
    await put(store, MODEL, "ai/x")

    await store.purge()

    assert ([True, True], False) == ([file.exists() for file in files], (root / "blobs").exists())


async def test_a_foreign_directory_is_not_purged(store: Store) -> None:
    """The mark of a store has to be there."""
    (store.root / "layout.json").unlink()

    with pytest.raises(StoreError, match="refusing to reset"):
        await store.purge()
    assert (store.root / "models.json").exists()


async def test_the_store_survives_the_loss_of_its_directory(store: Store) -> None:
    """It starts again with nothing (distribution 11.26)."""
    await put(store, MODEL, "ai/x")
    for path in sorted(store.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    store.root.rmdir()

    changed = store.refresh()
    await put(store, OTHER, "ai/y")

    assert (changed, _names(store)) == (True, [["docker.io/ai/y:latest"]])


async def test_another_process_changes_the_index(store: Store) -> None:
    """One look at the file tells; without a change nothing is read."""
    other = Store(store.root)
    await put(other, MODEL, "ai/x")

    seen = (store.snapshot.models, store.refresh(), len(store.snapshot.models), store.refresh())

    assert seen == ((), True, 1, False)


async def test_an_index_that_was_damaged_meanwhile(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What was known stays, edits are refused, and the file is not overwritten."""
    await put(store, MODEL, "ai/x")
    index = store.root / "models.json"
    index.write_text("{")

    assert (store.refresh(), store.refresh(), len(store.snapshot.models)) == (False, False, 1)
    assert caplog.text.count("index not read again") == 1
    with pytest.raises(StoreError, match="cannot be read"):
        await store.tag(MODEL.id, NAME)
    assert index.read_text() == "{"


async def test_room_is_made_sure_of_before_the_first_byte(root: Path) -> None:
    """What is here already needs no room."""
    store = Store(root, free=lambda _: 10)
    needed = make_artifact(bytes(20), config=b"").content
    await store.ensure_room(make_artifact(bytes(10), config=b"").content)
    with pytest.raises(InsufficientStorage, match=r"20\.00B needed, 10\.00B free"):
        await store.ensure_room(needed)
    async with store.claim(needed.layers[0]) as done:
        with pytest.raises(StoreError, match="ended after"):
            await store.write(needed.layers[0], done, stream(bytes(15)))

    await store.ensure_room(needed)


async def test_two_pulls_of_one_model_write_it_once(store: Store) -> None:
    """The second waits for the first and finds everything."""
    written: list[int] = []

    async def pull() -> None:
        for blob in MODEL.content.blobs:
            async with store.claim(blob) as done:
                written.append(blob.size - done)
                if done < blob.size:
                    await store.write(blob, done, stream(MODEL.contents[blob.digest]))
        await store.commit(MODEL.content, [NAME])

    await asyncio.gather(pull(), pull())

    assert sum(written) == MODEL.content.size
    assert _names(store) == [[str(NAME)]]


async def test_a_reader_never_sees_a_name_without_its_bytes(store: Store) -> None:
    """Whenever another process looks, every model that is named has all of its files."""
    reader = Store(store.root)
    seen: set[int] = set()
    problems: list[str] = []

    async def write() -> None:
        for _ in range(20):
            await put(store, MODEL, "ai/x")
            await store.remove("x")

    writing = asyncio.create_task(write())
    while not writing.done():
        await asyncio.to_thread(reader.refresh)
        seen.add(len(reader.snapshot.models))
        problems.extend(reader.problems)
    await writing

    assert (seen, problems) == ({0, 1}, [])


async def test_usage_of_a_store(store: Store) -> None:
    """All files together, the small ones of the store itself included."""
    before = await store.disk_usage()
    await put(store, MODEL)

    grown = await store.disk_usage() - before

    assert grown >= MODEL.content.size + len(MODEL.content.raw)


def test_an_unreadable_index_is_refused(root: Path) -> None:
    """Opening would otherwise end in an empty list, and the first pull in the loss of the old one."""
    root.mkdir()
    (root / "models.json").write_text("not JSON")

    with pytest.raises(StoreError, match="index of the store cannot be read") as caught:
        Store(root)
    assert "restore it" in (caught.value.hint or "")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_pipe_is_no_index(root: Path) -> None:
    """It is refused as well; nobody waits for what comes through it."""
    root.mkdir()
    os.mkfifo(root / "models.json")

    with pytest.raises(StoreError, match="it is not a regular file"):
        Store(root)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
async def test_a_model_whose_configuration_is_a_pipe_is_left_out(root: Path) -> None:
    """Of the others nothing is lost."""
    store = Store(root)
    await put(store, MODEL, "ai/smollm2")
    await put(store, OTHER, "ai/other")
    config = store.blob_path(OTHER.config.digest)
    config.unlink()
    os.mkfifo(config)

    assert [["docker.io/ai/smollm2:latest"]] == _names(Store(root))


async def test_the_default_registry_is_part_of_short_names(root: Path) -> None:
    """What was pulled from it is found by the name that was typed."""
    store = Store(
        root,
        parse=lambda text: parse_name(text, default_registry="foo.io"),
        as_id=as_id,
        default_registry="foo.io",
    )
    await put(store, MODEL, "foo.io/ai/gemma3:latest")

    assert store.snapshot.find("gemma3") == store.snapshot.get(MODEL.id)
