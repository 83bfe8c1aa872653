import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelrunner.errors import DigestMismatch, InvalidRequest, ModelNotFound
from modelrunner.oci.digest import Digest
from modelrunner.oci.image_layout import Directory, Selection, image_layout
from modelrunner.oci.index import NamedModel
from modelrunner.oci.load import load
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.transfer import copy
from modelrunner.testing.artifacts import Artifact, make_artifact

ONE = make_artifact(b"first layer", b"second layer")
TWO = make_artifact(b"first layer", b"third layer")
BOTH = Artifact(ONE.content, {**ONE.contents, **TWO.contents})
NAME = parse_reference("ai/model:v1")
SELECTION = Selection((NamedModel(ONE.content, (NAME,)), NamedModel(TWO.content)))


async def _archive(selection: Selection) -> bytes:
    return b"".join([piece async for piece in image_layout(BOTH, selection)])


def _names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return opened.getnames()


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.path}"


async def _unpacked(folder: Path, selection: Selection = SELECTION) -> Path:
    with tarfile.open(fileobj=io.BytesIO(await _archive(selection))) as opened:
        opened.extractall(folder, filter="data")
    return folder


async def test_models_share_their_blobs() -> None:
    """Each is in the archive once, and so is each manifest, with the two documents of a layout."""
    names = _names(await _archive(SELECTION))

    assert len(names) == len(set(names))
    assert set(names) == {
        "blobs",
        "blobs/sha256",
        "oci-layout",
        "index.json",
        *map(_blob, {*BOTH.contents, ONE.id, TWO.id}),
    }


async def test_a_single_model_is_in_the_reference_s_form_too() -> None:
    """Unless nothing but a layout is wanted; its names do not make it several."""
    model = NamedModel(ONE.content, (NAME, parse_reference("ai/model:v2")))

    assert _names(await _archive(Selection((model,))))[-1] == "manifest.json"
    assert "manifest.json" not in _names(await _archive(Selection((model,), strict=True)))


@pytest.mark.parametrize(
    "selection",
    [
        SELECTION,
        Selection(SELECTION.models[:1]),
        Selection(SELECTION.models, left_out=frozenset(ONE.contents)),
        Selection(SELECTION.models[:1], strict=True),
    ],
)
async def test_the_size_is_known_beforehand(selection: Selection) -> None:
    """To the byte, so that it can be a `Content-Length`."""
    assert len(await _archive(selection)) == selection.size


async def test_what_is_left_out_is_not_there() -> None:
    """Blobs only: the manifests say what belongs together."""
    names = _names(await _archive(Selection(SELECTION.models, left_out=frozenset({*ONE.contents, ONE.id}))))

    assert not {*map(_blob, ONE.contents)} & set(names)
    assert {_blob(ONE.id), _blob(TWO.id)} <= set(names)


async def test_a_source_with_other_bytes_breaks_the_archive() -> None:
    """Rather than shifting everything after it."""
    short = Artifact(ONE.content, {**BOTH.contents, ONE.layers[0].digest: b"short"})

    with pytest.raises(DigestMismatch):
        async for _ in image_layout(short, SELECTION):
            pass


async def test_a_folder_is_a_source(memory: Any, tmp_path: Path) -> None:
    """Of each of its models, by name or digest."""
    folder = Directory(await _unpacked(tmp_path))
    manifest = await folder.manifest(NAME)
    await copy(folder, memory, manifest, [NAME])

    assert folder.models == SELECTION.models
    assert manifest == ONE.content
    assert await folder.manifest(parse_reference(f"a/b@{TWO.id}")) == TWO.content
    assert memory.blobs == ONE.contents
    with pytest.raises(ModelNotFound):
        await folder.manifest(parse_reference("ai/absent"))


async def test_a_range_of_a_blob_is_read_from_a_folder(tmp_path: Path) -> None:
    """From the byte that was asked for."""
    folder = Directory(await _unpacked(tmp_path))

    async with folder.open(ONE.layers[0], 2, 5) as (start, chunks):
        assert (start, b"".join([chunk async for chunk in chunks])) == (2, b"rst")


async def test_a_folder_becomes_an_archive_again(memory: Any, tmp_path: Path) -> None:
    """Without its file `manifest.json` being asked."""
    folder = Directory(await _unpacked(tmp_path))

    loaded = await load(image_layout(folder, Selection(folder.models)), memory)

    assert loaded == SELECTION.models


async def test_a_folder_that_is_no_layout_is_said_so(tmp_path: Path) -> None:
    """By the file that it lacks."""
    with pytest.raises(InvalidRequest, match=r"cannot read .*oci-layout"):
        Directory(tmp_path)


async def test_a_folder_with_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    """As its name says what it has to be."""
    folder = await _unpacked(tmp_path)
    (folder / _blob(ONE.id)).write_bytes(TWO.content.raw)

    with pytest.raises(DigestMismatch):
        Directory(folder)


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
async def test_documents_of_a_folder_are_bounded(tmp_path: Path, name: str) -> None:
    """Nobody reads a gigabyte to find that it is nonsense."""
    folder = await _unpacked(tmp_path)
    with (folder / name).open("wb") as file:
        file.truncate(1 << 30)

    with pytest.raises(InvalidRequest, match="is larger than"):
        Directory(folder)


async def test_a_folder_with_a_pipe_does_not_hang(tmp_path: Path) -> None:
    """Only files are opened."""
    folder = await _unpacked(tmp_path)
    (folder / "index.json").unlink()
    os.mkfifo(folder / "index.json")

    with pytest.raises(InvalidRequest, match="not a file"):
        Directory(folder)


async def test_a_folder_without_a_blob_breaks_the_archive(tmp_path: Path) -> None:
    """With the path of what is missing."""
    folder = await _unpacked(tmp_path)
    layer = ONE.layers[0].digest
    (folder / _blob(layer)).unlink()
    source = Directory(folder)

    with pytest.raises(InvalidRequest, match=layer.hex):
        async for _ in image_layout(source, Selection(source.models)):
            pass


async def test_an_index_of_a_folder_may_be_nested_nowhere(tmp_path: Path) -> None:
    """A list of lists is no list of models."""
    folder = await _unpacked(tmp_path)
    index = json.loads((folder / "index.json").read_text())
    index["manifests"][0]["mediaType"] = "application/vnd.oci.image.index.v1+json"
    (folder / "index.json").write_text(json.dumps(index))

    with pytest.raises(InvalidRequest, match="is no manifest"):
        Directory(folder)
