import io
import tarfile

import pytest

from modelrunner.errors import DigestMismatch
from modelrunner.oci.layout import archive, archive_size
from modelrunner.testing.artifacts import Artifact, make_artifact

ARTIFACT = make_artifact(b"first layer", b"second layer")


async def _archived(artifact: Artifact) -> bytes:
    return b"".join([chunk async for chunk in archive(artifact, artifact.content)])


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


async def test_a_source_with_too_few_bytes_breaks_the_archive() -> None:
    """Rather than shifting everything after it."""
    (layer, *_) = ARTIFACT.layers
    short = Artifact(ARTIFACT.content, {**ARTIFACT.contents, layer.digest: b"short"})

    with pytest.raises(DigestMismatch):
        await _archived(short)
