"""Whatever order, form and compression it comes in, an archive becomes models or one clear error."""

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelrunner.errors import DigestMismatch, InvalidRequest, RunnerError, UnsupportedModel
from modelrunner.oci import tar
from modelrunner.oci.chunks import Piece
from modelrunner.oci.digest import Digest
from modelrunner.oci.image_layout import Selection, image_layout
from modelrunner.oci.index import LAYOUT, NamedModel
from modelrunner.oci.layout import archive
from modelrunner.oci.load import load
from modelrunner.oci.manifest import MAX_MANIFEST_BYTES, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.oci.transfer import Progress
from modelrunner.testing.artifacts import Artifact, make_artifact, stream

OTHER = make_artifact(b"first layer", b"third layer")
NAME = parse_reference("ai/model:v1")
ARTIFACT = make_artifact(b"first layer", b"second layer")


async def _archived(artifact: Artifact) -> bytes:
    return b"".join([chunk async for chunk in archive(artifact, artifact.content)])


def _entry(name: str, content: bytes) -> bytes:
    return tar.header(name, len(content)) + content + tar.padding(len(content))


def _blob(content: bytes) -> bytes:
    return _entry(f"blobs/{Digest.of(content).path}", content)


@pytest.mark.parametrize("piece", [1, 511, 4096, 10**6])
async def test_what_was_archived_is_loaded_again(memory: Any, piece: int) -> None:
    """Every blob and the manifest, without a name."""
    data = await _archived(ARTIFACT)
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]

    models = await load(stream(*pieces), memory)

    assert models == (NamedModel(ARTIFACT.content),)
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
    """Other files, deeper ones, and folders."""
    extra = _entry("README.md", b"x") + _entry("blobs/sha256/a/b", b"x") + tar.header("x", 0, tar.DIRECTORY)

    await load(stream(extra + await _archived(ARTIFACT)), memory)

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
        (b"text" + bytes(1000), "not a tar archive"),
        (b"GGUF" + bytes(1000), "a GGUF file, not an archive"),
        (b"GGUF\3", "a GGUF file, not an archive"),
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
    monkeypatch.setattr("modelrunner.oci.load._MAX_HEADERS", 3)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number in range(2):
            info = tarfile.TarInfo(f"note-{number}")
            info.pax_headers = {"comment": "hello"}
            made.addfile(info)

    with pytest.raises(InvalidRequest, match="more than 3 entries"):
        await load(stream(buffer.getvalue()), memory)


async def test_a_stream_is_read_only_as_fast_as_the_sink_writes(memory: Any) -> None:
    """No more than a piece is held: the stream is asked when the one before has been taken."""
    data = await _archived(make_artifact(b"x" * (5 << 20)))
    ahead = 0
    most = 0
    write = memory.write

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal ahead, most
        for at in range(0, len(data), 50_000):
            ahead += 1
            most = max(most, ahead)
            yield data[at : at + 50_000]

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


# An OCI image layout


async def _laid_out(*models: NamedModel, source: Artifact | None = None, **options: Any) -> bytes:
    artifacts = source or Artifact(ARTIFACT.content, {**ARTIFACT.contents, **OTHER.contents})
    return b"".join([piece async for piece in image_layout(artifacts, Selection(models, **options))])


class Kept:
    """A sink for tests that need a new one for each example."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.committed: list[Manifest] = []

    @contextlib.asynccontextmanager
    async def claim(self, blob: Descriptor) -> AsyncIterator[int]:
        yield len(self.blobs.get(blob.digest, b""))

    async def write(self, blob: Descriptor, offset: int, chunks: AsyncIterator[Piece]) -> None:
        content = b"".join([chunk async for chunk in chunks])
        verifier = blob.digest.verifier()
        verifier.update(content)
        if not verifier.matches:
            raise DigestMismatch(f"blob `{blob.digest}`")
        self.blobs[blob.digest] = content

    async def commit(self, manifest: Manifest, tags: Sequence[Reference]) -> None:
        self.committed.append(manifest)


def _tar(*entries: tuple[str, bytes]) -> bytes:
    return b"".join(_entry(name, content) for name, content in entries) + tar.END


def _index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def _listing(artifact: Artifact, name: str | None = None, **more: Any) -> dict[str, Any]:
    annotations = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
    raw = artifact.content.raw
    return {"mediaType": OCI_MANIFEST, "digest": str(artifact.id), "size": len(raw), **annotations, **more}


def _contents(*artifacts: Artifact) -> Iterable[tuple[str, bytes]]:
    for artifact in artifacts:
        yield f"blobs/{artifact.id.path}", artifact.content.raw
        for digest, content in artifact.contents.items():
            yield f"blobs/{digest.path}", content


async def test_every_model_of_an_index_is_loaded_under_its_names(memory: Any) -> None:
    """Shared blobs come once; a manifest is none of the blobs."""
    models = (
        NamedModel(ARTIFACT.content, (NAME, parse_reference("registry.example.com/a/b:c"))),
        NamedModel(OTHER.content),
    )

    loaded = await load(stream(await _laid_out(*models)), memory)

    assert loaded == models
    assert memory.committed == [(model.manifest, model.names) for model in models]
    assert memory.blobs == {**ARTIFACT.contents, **OTHER.contents}


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("backwards", [False, True])
async def test_an_index_may_come_first_or_last(memory: Any, prefix: str, backwards: bool) -> None:
    """And each name may begin with a dot."""
    entries = [("oci-layout", LAYOUT), ("index.json", _index(_listing(ARTIFACT))), *_contents(ARTIFACT)]
    if backwards:
        entries.reverse()

    loaded = await load(stream(_tar(*((prefix + name, content) for name, content in entries))), memory)

    assert loaded == (NamedModel(ARTIFACT.content),)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker.io/ai/model:v1", (NAME,)),
        ("ai/model:v1", (NAME,)),
        ("v1", ()),
        ("not a name/at all", ()),
        (f"ai/model@{ARTIFACT.id}", ()),
        (f"ai/model:v1@{ARTIFACT.id}", (NAME,)),
    ],
)
async def test_a_name_is_one_that_can_be_read_as_a_whole(
    memory: Any, name: str, expected: tuple[Any, ...]
) -> None:
    """What `skopeo copy … oci:dir:v1` writes is a tag of nobody."""
    data = _tar(("index.json", _index(_listing(ARTIFACT, name))), *_contents(ARTIFACT))

    [model] = await load(stream(data), memory)

    assert model.names == expected


async def test_containerd_s_name_goes_before_the_specification_s(memory: Any) -> None:
    """Docker writes the tag alone into the other."""
    annotations = {"io.containerd.image.name": str(NAME), "org.opencontainers.image.ref.name": "a/b:c"}
    data = _tar(("index.json", _index(_listing(ARTIFACT, annotations=annotations))), *_contents(ARTIFACT))

    [model] = await load(stream(data), memory)

    assert model.names == (NAME,)


async def test_docker_s_own_manifest_beside_an_index_is_passed_over(memory: Any) -> None:
    """`docker save` writes both; its `manifest.json` is a list."""
    docker = json.dumps([{"Config": "blobs/sha256/x", "RepoTags": [], "Layers": []}]).encode()
    data = _tar(("manifest.json", docker), ("index.json", _index(_listing(ARTIFACT))), *_contents(ARTIFACT))

    assert await load(stream(data), memory) == (NamedModel(ARTIFACT.content),)


async def test_a_layer_that_looks_like_a_manifest_is_a_layer(memory: Any) -> None:
    """What a blob is, only the manifests say."""
    odd = make_artifact(b'{"schemaVersion": 2, "layers": []}')
    data = _tar(("index.json", _index(_listing(odd))), *_contents(odd))

    await load(stream(data), memory)

    assert memory.blobs == odd.contents


async def test_a_blob_of_a_model_file_tree_of_the_reference_is_read(memory: Any) -> None:
    """Its manifests may be in a folder of their own, as in its store."""
    entries = [*_contents(ARTIFACT)][1:]
    data = _tar(
        (f"manifests/{ARTIFACT.id.path}", ARTIFACT.content.raw),
        ("index.json", _index(_listing(ARTIFACT))),
        *entries,
    )

    assert await load(stream(data), memory) == (NamedModel(ARTIFACT.content),)


async def test_blobs_of_both_algorithms_are_read(memory: Any) -> None:
    """SHA-512 is a registered one, too; its blob is verified by it."""
    digest = Digest("sha512", hashlib.sha512(b"x").hexdigest())
    with pytest.raises(DigestMismatch):
        await load(stream(_tar((f"blobs/{digest.path}", b"x"))), memory)

    assert memory.claims == [digest]  # memory.write knows SHA-256 only


def _changed(**fields: Any) -> bytes:
    return _index({**_listing(ARTIFACT), **fields})


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("index.json", _index(_listing(ARTIFACT)))] * 2, "more than one `index.json`"),
        ([("oci-layout", LAYOUT)] * 2, "more than one `oci-layout`"),
        ([("oci-layout", b'{"imageLayoutVersion":"2.0.0"}')], "unknown version: `2.0.0`"),
        ([("oci-layout", b"x" * 5000)], "larger than 4096"),
        ([("index.json", b"x" * (5 << 20))], "larger than"),
        ([("index.json", b"[]")], "not an image index"),
        ([("index.json", _index())], "lists 0 manifests"),
        ([("index.json", _index(*[_listing(ARTIFACT)] * 1001))], "lists 1001 manifests"),
        ([("index.json", _changed(size=1))], "but `index.json` says 1"),
        ([("index.json", _changed(size=-1))], "negative size"),
        ([("index.json", _changed(size=2**63))], "not an image index|but `index.json` says"),
        ([("index.json", _changed(digest="sha256:../../x"))], "invalid digest"),
        ([("index.json", _changed(mediaType=OCI_INDEX))], "is no manifest but"),
        ([("index.json", _index(_listing(OTHER)))], "that `index.json` lists is missing"),
        ([("index.json", _index(_listing(ARTIFACT, f"a/b@{OTHER.id}")))], "by another digest"),
        (
            [
                ("index.json", _index(_listing(ARTIFACT, "a/b:c"), _listing(OTHER, "a/b:c"))),
                *_contents(OTHER),
            ],
            "two models the name `a/b:c`",
        ),
        ([("index.json", _index(_listing(ARTIFACT))), ("manifest.json", OTHER.content.raw)], "another model"),
    ],
)
async def test_a_layout_that_is_wrong_is_told_apart(
    memory: Any, entries: list[tuple[str, bytes]], words: str
) -> None:
    """Each mistake has its sentence, and nothing is published."""
    with pytest.raises(InvalidRequest, match=words):
        await load(stream(_tar(*_contents(ARTIFACT), *entries)), memory)

    assert memory.committed == []


async def test_a_document_that_is_index_and_manifest_in_one_is_refused(memory: Any) -> None:
    """CVE-2021-41190: two readers must not see two things."""
    both = {**json.loads(_index(_listing(ARTIFACT))), "layers": [], "config": {}}

    with pytest.raises(InvalidRequest, match="not an image index"):
        await load(stream(_tar(("index.json", json.dumps(both).encode()), *_contents(ARTIFACT))), memory)


async def test_a_manifest_under_a_wrong_name_is_an_error(memory: Any) -> None:
    """The archive's own word is not taken for it."""
    wrong = (f"blobs/{OTHER.id.path}", ARTIFACT.content.raw)

    with pytest.raises(DigestMismatch):
        await load(stream(_tar(wrong)), memory)


async def test_manifests_that_are_kept_are_bounded(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of nothing but manifests does not fill the memory."""
    monkeypatch.setattr("modelrunner.oci.load._MAX_DOCUMENTS", len(ARTIFACT.content.raw) + 1)

    with pytest.raises(InvalidRequest, match="bytes of manifests"):
        await load(stream(_tar(*_contents(ARTIFACT, OTHER))), memory)


async def test_one_bad_model_keeps_the_others_out(memory: Any) -> None:
    """Everything of an archive becomes visible, or nothing does."""
    lacking = next(iter(set(OTHER.contents) - set(ARTIFACT.contents)))
    models = (NamedModel(ARTIFACT.content, (NAME,)), NamedModel(OTHER.content))
    data = await _laid_out(*models, left_out=frozenset({lacking}))

    with pytest.raises(InvalidRequest, match=f"lacks the blob `{lacking}`"):
        await load(stream(data), memory)

    assert memory.committed == []
    assert set(memory.blobs) == {*ARTIFACT.contents, *OTHER.contents} - {lacking}


@pytest.mark.parametrize("part", [0.3, 0.6, 0.8])
async def test_a_cut_leaves_nothing_visible_and_keeps_what_came(memory: Any, part: float) -> None:
    """The next try of the same archive writes only the rest."""
    data = await _laid_out(NamedModel(ARTIFACT.content))
    with pytest.raises(InvalidRequest, match=r"too early|is missing|not found|lacks"):
        await load(stream(data[: int(len(data) * part)]), memory)
    assert memory.committed == []
    kept = dict(memory.blobs)

    await load(stream(data), memory)

    assert memory.committed == [(ARTIFACT.content, ())]
    assert kept.items() <= memory.blobs.items()


async def test_a_delta_is_loaded_where_the_rest_is(memory: Any) -> None:
    """Blobs that are here need not be in the archive."""
    shared = frozenset(ARTIFACT.contents)
    memory.blobs.update(ARTIFACT.contents)
    data = await _laid_out(NamedModel(OTHER.content, (NAME,)), left_out=shared)

    await load(stream(data), memory)

    assert memory.committed == [(OTHER.content, (NAME,))]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
async def test_links_and_devices_are_refused(memory: Any, kind: bytes) -> None:
    """Whatever they are called: no model needs them."""
    info = tarfile.TarInfo(f"blobs/{ARTIFACT.layers[0].digest.path}")
    info.type, info.linkname = kind, "/etc/passwd"

    with pytest.raises(InvalidRequest, match="link or a device"):
        await load(stream(info.tobuf() + await _archived(ARTIFACT)), memory)

    assert memory.committed == []


async def test_a_compressed_archive_is_read_as_it_comes(memory: Any) -> None:
    """Gzip is told by its first bytes."""
    data = gzip.compress(await _laid_out(NamedModel(ARTIFACT.content, (NAME,))))

    loaded = await load(stream(*(data[at : at + 7] for at in range(0, len(data), 7))), memory)

    assert loaded == (NamedModel(ARTIFACT.content, (NAME,)),)


@given(st.data())
@settings(max_examples=150, deadline=None)
async def test_a_damaged_archive_is_loaded_right_or_refused(data: st.DataObject) -> None:
    """Whatever bytes change, what becomes visible is what its digest says, and errors are our own."""
    raw = bytearray(await _laid_out(NamedModel(ARTIFACT.content, (NAME,)), NamedModel(OTHER.content)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    sink = Kept()

    with contextlib.suppress(RunnerError):
        await load(stream(bytes(raw)), sink)

    assert {manifest.digest for manifest in sink.committed} <= {ARTIFACT.id, OTHER.id}
    assert all(Digest.of(content) == digest for digest, content in sink.blobs.items())
