"""Files become artifacts, with the same bytes as the reference makes."""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest, ModelNotFound, UnsupportedModel
from modelrunner.models.artifacts.packages import Extras, package_gguf
from modelrunner.models.artifacts.packaging import File, assemble
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig, parse_config
from modelrunner.models.description.kinds import Format
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.transfer import Source
from modelrunner.testing.gguf import Tensor, tiny_gguf, write_gguf

CREATED = datetime(2025, 6, 15, 12, tzinfo=UTC)
GGUF = ModelConfig(format=Format.GGUF)


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"hello")
    return path


async def read(source: Source, blob: Descriptor, start: int = 0, stop: int | None = None) -> bytes:
    async with source.open(blob, start, stop) as (_, chunks):
        return b"".join([chunk async for chunk in chunks])


def change(path: Path, data: bytes | None) -> None:
    path.unlink()
    if data is not None:
        path.write_bytes(data)


def set_time(path: Path, moment: datetime) -> None:
    os.utime(path, (moment.timestamp(), moment.timestamp()))


def test_a_gguf_artifact_has_the_reference_s_bytes(hello: Path) -> None:
    """Golden vector 1: configuration, manifest and id."""
    draft = assemble([File(hello, kinds.GGUF_LAYER, "model.gguf")], GGUF, created=CREATED)

    assert draft.config_bytes == (
        b'{"config":{"format":"gguf"},"descriptor":{"created":"2025-06-15T12:00:00Z"},'
        b'"rootfs":{"type":"rootfs","diff_ids":'
        b'["sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"]}}'
    )
    assert draft.manifest_value.raw == (
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        b'"config":{"mediaType":"application/vnd.docker.ai.model.config.v0.1+json","size":190,'
        b'"digest":"sha256:f78cb46c25ce1cb048fd948de85fd18cbc841fd886c9b4bda62271502371e3c4"},'
        b'"layers":[{"mediaType":"application/vnd.docker.ai.gguf.v3","size":5,'
        b'"digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",'
        b'"annotations":{"org.cncf.model.file.mediatype.untested":"false",'
        b'"org.cncf.model.file.metadata+json":"{\\"name\\":\\"model.gguf\\",\\"mode\\":420,\\"uid\\":0,'
        b'\\"gid\\":0,\\"size\\":5,\\"mtime\\":\\"2025-06-15T12:00:00Z\\",\\"typeflag\\":0}",'
        b'"org.cncf.model.filepath":"model.gguf"}}]}'
    )
    assert str(draft.manifest_value.digest) == (
        "sha256:fdec7deabab2a65596c4c43b14c1f87cc978032f06bed53d3a1da48e2e82f2d9"
    )


def test_a_context_size_changes_the_configuration_and_the_id(hello: Path) -> None:
    """Golden vector 2."""
    config = ModelConfig(format=Format.GGUF, context_size=4096)

    draft = assemble([File(hello, kinds.GGUF_LAYER, "model.gguf")], config, created=CREATED)

    assert len(draft.config_bytes) == 210
    assert str(draft.manifest_value.config.digest) == (
        "sha256:043b08ebc1630ce97a51e2c02900a611a8dfa9bf70122de273ad460e51388881"
    )
    assert str(draft.manifest_value.digest) == (
        "sha256:7966055787cb4b80dcd77c4a1cc7de9db0d53800a7e40c57ee16b2d7f8fd0284"
    )


def test_a_directory_s_artifact_has_the_reference_s_bytes(tmp_path: Path) -> None:
    """Golden vector 3, in Docker's form 0.2."""
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.safetensors").write_bytes(b"hello")
    files = [
        File(tmp_path / "config.json", kinds.FILE_LAYER, "config.json"),
        File(tmp_path / "model.safetensors", kinds.SAFETENSORS_LAYER, "model.safetensors"),
    ]

    config = ModelConfig(format=Format.SAFETENSORS)
    draft = assemble(files, config, config_type=kinds.CONFIG_V02, created=CREATED)

    assert (len(draft.config_bytes), len(draft.manifest_value.raw)) == (271, 1086)
    assert str(draft.manifest_value.config.digest) == (
        "sha256:42c9ce092b3dadc95b7b263cf9c182e56d20278e696f41650b4c563216617e12"
    )
    assert str(draft.manifest_value.digest) == (
        "sha256:f44198d54b0488b389df8eea1a1455dd911a2cbe5c37fe17eaba231b83fbfb2a"
    )


def test_a_pack_has_the_reference_s_bytes(hello: Path) -> None:
    """Golden vector 4, in the form of CNCF."""
    draft = assemble(
        [File(hello, kinds.GGUF_LAYER, "model.gguf")], GGUF, config_type=kinds.CONFIG_CNCF, created=CREATED
    )

    assert (len(draft.config_bytes), len(draft.manifest_value.raw)) == (192, 720)
    assert str(draft.manifest_value.config.digest) == (
        "sha256:1d9981a9847d94b137e40be49dd9f2055f447ae5372fbe9a0575cf6c1429c819"
    )
    assert str(draft.manifest_value.digest) == (
        "sha256:b10df146349adc1e74345c544b3cd9e22c49e827e1d17baedfc2b89cebed5552"
    )
    assert draft.manifest_value.artifact_type == kinds.CNCF_MANIFEST


def test_a_gguf_file_is_packaged_with_its_header(tmp_path: Path) -> None:
    """What lists show comes from the weights."""
    path = tiny_gguf(tmp_path / "m.gguf")
    set_time(path, CREATED)

    draft = package_gguf(path)

    assert draft.config.context_size == 2048
    assert draft.config.quantization == "MOSTLY_F16"
    assert draft.config.metadata["general.name"] == "tiny"
    assert draft.config == parse_config(draft.config_bytes, kinds.CONFIG_V01)
    assert draft.manifest_value.config.media_type == kinds.CONFIG_V01
    assert draft.manifest_value.artifact_type is None


def test_layers_are_weights_licences_template_and_projector_in_that_order(tmp_path: Path) -> None:
    """Each is the plain file, under its base name."""
    names = ["LICENSE", "NOTICE", "t.jinja"]
    for name in names:
        (tmp_path / name).write_text(name)

    draft = package_gguf(
        tiny_gguf(tmp_path / "m.gguf"),
        Extras(
            licenses=[tmp_path / "LICENSE", tmp_path / "NOTICE"],
            template=tmp_path / "t.jinja",
            projector=tiny_gguf(tmp_path / "p.gguf", **{"general.architecture": "clip"}),
            context_size=4096,
        ),
    )

    assert [
        (kinds.GGUF_LAYER, "m.gguf"),
        (kinds.LICENSE_LAYER, "LICENSE"),
        (kinds.LICENSE_LAYER, "NOTICE"),
        (kinds.TEMPLATE_LAYER, "t.jinja"),
        (kinds.PROJECTOR_LAYER, "p.gguf"),
    ] == [(layer.media_type, layer.annotations[kinds.FILEPATH]) for layer in draft.manifest_value.layers]
    assert draft.config.context_size == 4096
    assert json.loads(draft.config_bytes)["rootfs"]["diff_ids"] == [
        str(layer.digest) for layer in draft.manifest_value.layers
    ]


def test_shards_become_layers_in_their_order(tmp_path: Path) -> None:
    """Whichever of them was named; the description covers all."""
    paths = [
        write_gguf(tmp_path / f"m-{i:05d}-of-00002.gguf", {"split.no": i - 1}, [Tensor(f"t{i}", (100,))])
        for i in (1, 2)
    ]

    draft = package_gguf(paths[1])

    assert [path.name for path in paths] == [
        layer.annotations[kinds.FILEPATH] for layer in draft.manifest_value.layers
    ]
    assert draft.config.parameters == "200"


def test_a_copy_gives_the_same_id(tmp_path: Path) -> None:
    """In another folder, with another mode, after any part of a second."""
    path = tiny_gguf(tmp_path / "m.gguf")
    set_time(path, CREATED.replace(microsecond=1000))
    (tmp_path / "copy").mkdir()
    copy = Path(shutil.copy(path, tmp_path / "copy"))
    set_time(copy, CREATED.replace(microsecond=900000))
    copy.chmod(0o400)

    assert package_gguf(path).manifest_value.raw == package_gguf(copy).manifest_value.raw


def test_a_stated_time_of_creation_makes_the_files_times_irrelevant(tmp_path: Path) -> None:
    """Two packagers agree on a time, and so on the id."""
    path = tiny_gguf(tmp_path / "m.gguf")
    first = package_gguf(path, Extras(created=CREATED))
    set_time(path, datetime(2001, 2, 3, tzinfo=UTC))

    assert first.manifest_value.raw == package_gguf(path, Extras(created=CREATED)).manifest_value.raw
    assert first.manifest_value.raw != package_gguf(path).manifest_value.raw


def test_the_newest_file_dates_the_artifact(tmp_path: Path) -> None:
    """A licence that is added later makes a later artifact."""
    path, licence = tiny_gguf(tmp_path / "m.gguf"), tmp_path / "LICENSE"
    licence.write_text("MIT")
    set_time(path, datetime(2001, 2, 3, tzinfo=UTC))
    set_time(licence, CREATED)

    assert package_gguf(path, Extras(licenses=[licence])).config.created == CREATED


async def test_a_draft_gives_its_manifest_and_all_blobs(tmp_path: Path) -> None:
    """It is a Source: what is read has the digests that the manifest says."""
    draft = package_gguf(tiny_gguf(tmp_path / "m.gguf"))

    manifest = await draft.manifest(parse_reference("ai/anything"))

    for blob in manifest.blobs:
        data = await read(draft, blob)
        assert (blob.digest, blob.size) == (Digest.of(data), len(data))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (5, None), (0, 10), (100, 250), (416, None), (500, 9)]
)
async def test_a_range_of_a_blob_is_read(tmp_path: Path, start: int, stop: int | None) -> None:
    """Of files and of the configuration alike, and never past the end."""
    draft = package_gguf(tiny_gguf(tmp_path / "m.gguf"))
    (layer,) = draft.manifest_value.layers

    assert (tmp_path / "m.gguf").read_bytes()[start:stop] == await read(draft, layer, start, stop)
    assert draft.config_bytes[start:stop] == await read(draft, draft.manifest_value.config, start, stop)


async def test_large_files_come_in_pieces(tmp_path: Path) -> None:
    """No blob is in memory as a whole."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(3 << 20) + b"end")
    draft = assemble([File(path, kinds.FILE_LAYER, "large.bin")], GGUF)
    async with draft.open(draft.manifest_value.layers[0], 5) as (start, chunks):
        pieces = [chunk async for chunk in chunks]

    assert start == 5
    assert path.read_bytes()[5:] == b"".join(pieces)
    assert max(map(len, pieces)) <= 1 << 20


async def test_a_reader_may_stop_early(tmp_path: Path) -> None:
    """The file is closed when the block ends."""
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(3 << 20))
    draft = assemble([File(path, kinds.FILE_LAYER, "large.bin")], GGUF)
    async with draft.open(draft.manifest_value.layers[0]) as (_, chunks):
        first = await anext(chunks)

    assert len(first) == 1 << 20


async def test_a_file_that_became_shorter_is_noticed(hello: Path) -> None:
    """What was hashed is gone; the reader is told, not left with less."""
    draft = assemble([File(hello, kinds.GGUF_LAYER, "model.gguf")], GGUF)
    change(hello, b"hell")

    with pytest.raises(InvalidRequest, match="became shorter"):
        await read(draft, draft.manifest_value.layers[0])


async def test_a_file_that_vanished_is_named(hello: Path) -> None:
    """Between packaging and reading, it was removed."""
    draft = assemble([File(hello, kinds.GGUF_LAYER, "model.gguf")], GGUF)
    change(hello, None)

    with pytest.raises(InvalidRequest, match=r"cannot read `.*model\.gguf`: No such file"):
        await read(draft, draft.manifest_value.layers[0])


async def test_a_foreign_blob_is_not_found(hello: Path) -> None:
    """A draft has its own blobs only."""
    draft = assemble([File(hello, kinds.GGUF_LAYER, "model.gguf")], GGUF)

    with pytest.raises(ModelNotFound, match="blob is not of this model"):
        await read(draft, Descriptor("x", Digest.of(b"other"), 5))


def test_a_file_given_twice_is_hashed_once(hello: Path) -> None:
    """It makes two layers of one blob."""
    told: list[tuple[int, int]] = []

    draft = assemble(
        [File(hello, kinds.LICENSE_LAYER, "a"), File(hello, kinds.LICENSE_LAYER, "b")],
        GGUF,
        tell=lambda done, total: told.append((done, total)),
    )

    assert told == [(5, 5)]
    assert len(draft.manifest_value.layers) == 2
    assert len(list(draft.manifest_value.blobs)) == 2  # with the configuration


@pytest.mark.parametrize("content", [b"hello", b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_gguf_is_not_packaged(tmp_path: Path, content: bytes) -> None:
    """Neither as weights nor as a projector."""
    good, bad = tiny_gguf(tmp_path / "good.gguf"), tmp_path / "bad.gguf"
    bad.write_bytes(content)

    with pytest.raises(UnsupportedModel, match="not a GGUF file"):
        package_gguf(bad)
    with pytest.raises(UnsupportedModel, match="not a GGUF file"):
        package_gguf(good, Extras(projector=bad))


def test_a_truncated_file_is_not_packaged(tmp_path: Path) -> None:
    """It would fail only when somebody runs it."""
    path = tiny_gguf(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(UnsupportedModel, match="truncated GGUF file"):
        package_gguf(path)


@pytest.mark.parametrize("part", ["licenses", "template", "projector"])
def test_a_missing_part_is_named(tmp_path: Path, part: str) -> None:
    """The error says which file cannot be read."""
    gone = tmp_path / "gone"
    path = tiny_gguf(tmp_path / "m.gguf")

    with pytest.raises(InvalidRequest, match=r"cannot read `.*gone`"):
        package_gguf(
            path,
            Extras(
                licenses=[gone] if part == "licenses" else [],
                template=gone if part == "template" else None,
                projector=gone if part == "projector" else None,
            ),
        )


@pytest.mark.parametrize("tokens", [0, -1, 2**31])
def test_a_context_size_out_of_range_is_refused(tmp_path: Path, tokens: int) -> None:
    """The field has 32 bits, and other readers would wrap it."""
    with pytest.raises(InvalidRequest, match="context size out of range"):
        package_gguf(tiny_gguf(tmp_path / "m.gguf"), Extras(context_size=tokens))


def test_a_name_that_json_escapes_survives(tmp_path: Path) -> None:
    """It stands in a JSON text within a JSON text."""
    name = 'a<"\\ü>&.gguf'
    draft = package_gguf(tiny_gguf(tmp_path / name))
    (layer,) = draft.manifest_value.layers

    assert name == layer.annotations[kinds.FILEPATH]
    assert name == json.loads(layer.annotations[kinds.FILE_METADATA])["name"]
    assert b"<" not in draft.manifest_value.raw


def test_the_real_model_is_packaged(smollm2: Path) -> None:
    """98 MB, hashed once."""
    draft = package_gguf(smollm2, Extras(created=CREATED))

    (layer,) = draft.manifest_value.layers
    assert layer.size == 98_362_432
    assert layer.digest.hex == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert (draft.config.parameters, draft.config.context_size) == ("134.52M", 8192)
