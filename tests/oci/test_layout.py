import io
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelrunner.errors import DigestMismatch, InvalidRequest, UnsupportedModel
from modelrunner.oci import tar
from modelrunner.oci.digest import Digest
from modelrunner.oci.layout import archive, archive_size, load
from modelrunner.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from modelrunner.oci.transfer import Progress
from modelrunner.testing.artifacts import Artifact, make_artifact, stream

ARTIFACT = make_artifact(b"first layer", b"second layer")


async def _archived(artifact: Artifact) -> bytes:
    return b"".join([chunk async for chunk in archive(artifact, artifact.content)])


def _entry(name: str, content: bytes) -> bytes:
    return tar.header(name, len(content)) + content + tar.padding(len(content))


def _blob(content: bytes) -> bytes:
    return _entry(f"blobs/{Digest.of(content).path}", content)


async def test_an_archive_has_directories_layers_configuration_and_manifest() -> None:
    """In this order, with plain names, modes and types."""
    data = await _archived(ARTIFACT)
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        members = [(info.name, oct(info.mode), info.isdir(), info.mtime) for info in opened.getmembers()]

    files = [f"blobs/sha256/{blob.digest.hex}" for blob in (*ARTIFACT.layers, ARTIFACT.config)]
    assert members == [
        ("blobs", "0o755", True, 0),
        ("blobs/sha256", "0o755", True, 0),
        *((name, "0o666", False, 0) for name in [*files, "manifest.json"]),
    ]


async def test_the_manifest_in_an_archive_is_its_raw_bytes() -> None:
    """So the id stays."""
    with tarfile.open(fileobj=io.BytesIO(await _archived(ARTIFACT))) as opened:
        member = opened.extractfile("manifest.json")

        assert member is not None
        assert member.read() == ARTIFACT.content.raw


@pytest.mark.parametrize("layers", [(), (b"",), (b"x" * 512,), (b"a", b"a"), (b"x" * 100_000, b"y")])
async def test_the_size_of_an_archive_is_known_beforehand(layers: tuple[bytes, ...]) -> None:
    """To the byte, so that it can be a `Content-Length`."""
    artifact = make_artifact(*layers)

    assert len(await _archived(artifact)) == archive_size(artifact.content)


@pytest.mark.parametrize("piece", [1, 511, 4096, 10**6])
async def test_what_was_archived_is_loaded_again(memory: Any, piece: int) -> None:
    """Every blob and the manifest, without a name."""
    data = await _archived(ARTIFACT)
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]

    manifest = await load(stream(*pieces), memory)

    assert manifest == ARTIFACT.content
    assert memory.blobs == ARTIFACT.contents
    assert memory.committed == [(ARTIFACT.content, ())]


async def test_the_manifest_may_come_first_and_names_may_begin_with_a_dot(memory: Any) -> None:
    """Archives of other programs are welcome."""
    blobs = [_entry(f"./blobs/{digest.path}", content) for digest, content in ARTIFACT.contents.items()]
    data = _entry("./manifest.json", ARTIFACT.content.raw) + b"".join(blobs) + tar.END

    await load(stream(data), memory)

    assert memory.blobs == ARTIFACT.contents


async def test_blobs_that_the_sink_has_may_be_missing_and_are_skipped(memory: Any) -> None:
    """Whole ones are not written again, and a started one goes on."""
    first, second = ARTIFACT.layers
    memory.blobs[first.digest] = ARTIFACT.contents[first.digest]
    memory.partial[second.digest] = ARTIFACT.contents[second.digest][:3]
    del (contents := dict(ARTIFACT.contents))[first.digest]
    data = b"".join(map(_blob, contents.values())) + _entry("manifest.json", ARTIFACT.content.raw)
    told: list[Progress] = []

    await load(stream(data), memory, tell=told.append)

    assert memory.blobs == ARTIFACT.contents
    assert [each.done for each in told if each.blob.digest == second.digest] == [second.size]


async def test_entries_that_are_no_part_of_the_model_are_ignored(memory: Any) -> None:
    """Other files, deeper ones, and links whatever their name."""
    extra = _entry("README.md", b"x") + _entry("blobs/sha256/a/b", b"x") + _entry("index.json", b"{}")
    link = tarfile.TarInfo("manifest.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"

    await load(stream(extra + link.tobuf() + await _archived(ARTIFACT)), memory)

    assert set(memory.blobs) == set(ARTIFACT.contents)


@pytest.mark.parametrize(
    "name", ["../manifest.json", "blobs/../../x", "/etc/passwd", "blobs\\sha256\\x", ".."]
)
async def test_names_that_lead_out_are_an_error(memory: Any, name: str) -> None:
    """Though nothing would ever be written there."""
    with pytest.raises(InvalidRequest, match="invalid path detected"):
        await load(stream(_entry(name, b"x") + tar.END), memory)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "manifest not found"),
        (tar.END, "manifest not found"),
        (_entry("manifest.json", b"{}"), "not an image manifest"),
        (_entry("manifest.json", b"x" * (MAX_MANIFEST_BYTES + 1)), "larger than"),
        (_entry("manifest.json", ARTIFACT.content.raw) * 2, "more than one"),
        (_entry("manifest.json", ARTIFACT.content.raw), "lacks the blob"),
        (_entry("blobs/sha256/abc", b"x"), "invalid digest"),
        (_blob(b"x" * 2000)[:1000], "ends too early"),
        (b"GGUF" + bytes(1000), "not a tar archive"),
    ],
)
async def test_an_archive_that_is_no_model_is_told_apart(memory: Any, data: bytes, words: str) -> None:
    """Each mistake has its sentence, and nothing is published."""
    with pytest.raises(InvalidRequest, match=words):
        await load(stream(data), memory)

    assert memory.committed == []


async def test_a_blob_under_a_wrong_name_is_an_error(memory: Any) -> None:
    """The sink verifies it."""
    with pytest.raises(DigestMismatch):
        await load(stream(_entry(f"blobs/{Digest.of(b'a').path}", b"b")), memory)


async def test_a_manifest_may_be_refused_before_it_is_published(memory: Any) -> None:
    """By whoever knows what a model is."""

    async def refuse(manifest: Manifest) -> None:
        raise UnsupportedModel(manifest.config.media_type)

    with pytest.raises(UnsupportedModel):
        await load(stream(await _archived(ARTIFACT)), memory, check=refuse)
    assert memory.committed == []


async def test_whoever_refuses_a_manifest_may_read_its_blobs(memory: Any) -> None:
    """The archive has been read by then, whatever its order, and nothing is missing."""
    lacking = _entry("manifest.json", ARTIFACT.content.raw) + tar.END
    asked: list[Manifest] = []

    async def ask(manifest: Manifest) -> None:
        asked.append(manifest)

    with pytest.raises(InvalidRequest, match="lacks the blob"):
        await load(stream(lacking), memory, check=ask)

    assert asked == []


async def test_an_archive_has_a_bounded_number_of_headers(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Extended ones count, too."""
    monkeypatch.setattr("modelrunner.oci.layout._MAX_HEADERS", 3)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number in range(2):
            info = tarfile.TarInfo(f"note-{number}")
            info.pax_headers = {"comment": "hello"}
            made.addfile(info)

    with pytest.raises(InvalidRequest, match="more than 3 entries"):
        await load(stream(buffer.getvalue()), memory)


async def test_a_source_with_too_few_bytes_breaks_the_archive() -> None:
    """Rather than shifting everything after it."""
    (layer, *_) = ARTIFACT.layers
    short = Artifact(ARTIFACT.content, {**ARTIFACT.contents, layer.digest: b"short"})

    with pytest.raises(DigestMismatch):
        await _archived(short)


async def test_a_stream_is_read_only_as_fast_as_the_sink_writes(memory: Any) -> None:
    """No more than a piece is held: the stream is asked when the one before has been taken."""
    data = await _archived(make_artifact(b"x" * 100_000))
    ahead = 0
    most = 0
    write = memory.write

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal ahead, most
        for at in range(0, len(data), 1000):
            ahead += 1
            most = max(most, ahead)
            yield data[at : at + 1000]

    async def count(blob: Any, offset: int, chunks: AsyncIterator[bytes]) -> None:
        async def counted() -> AsyncIterator[bytes]:
            nonlocal ahead
            async for chunk in chunks:
                ahead = 0
                yield chunk

        await write(blob, offset, counted())

    memory.write = count

    await load(pieces(), memory)

    assert most <= 8  # headers and the manifest between the blobs
