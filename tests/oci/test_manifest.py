import json
from typing import Any

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import (
    DOCKER_MANIFEST,
    MAX_LAYERS,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    parse_manifest,
)

HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
CONFIG = "sha256:f78cb46c25ce1cb048fd948de85fd18cbc841fd886c9b4bda62271502371e3c4"
# A manifest of Docker Model Runner: `model.gguf` with the content `hello`.
GOLDEN = (
    '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    f'"application/vnd.docker.ai.model.config.v0.1+json","size":190,"digest":"{CONFIG}"}},"layers":'
    f'[{{"mediaType":"application/vnd.docker.ai.gguf.v3","size":5,"digest":"{HELLO}","annotations":'
    '{"org.cncf.model.file.mediatype.untested":"false","org.cncf.model.file.metadata+json":'
    '"{\\"name\\":\\"model.gguf\\",\\"mode\\":420,\\"uid\\":0,\\"gid\\":0,\\"size\\":5,\\"mtime\\":'
    '\\"2025-06-15T12:00:00Z\\",\\"typeflag\\":0}","org.cncf.model.filepath":"model.gguf"}}]}'
).encode()


def _document(**changes: Any) -> bytes:
    layer = {"mediaType": "application/octet-stream", "digest": HELLO, "size": 5}
    config = {"mediaType": "application/json", "digest": CONFIG, "size": 190}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    return json.dumps({key: value for key, value in (document | changes).items() if value != "-"}).encode()


def test_the_digest_of_a_manifest_is_that_of_the_bytes_it_came_in() -> None:
    """Nothing is serialised again: the reference's id comes out."""
    manifest = parse_manifest(GOLDEN, OCI_MANIFEST)

    assert len(manifest.raw) == 659
    assert manifest.digest.hex == "fdec7deabab2a65596c4c43b14c1f87cc978032f06bed53d3a1da48e2e82f2d9"


def test_descriptors_keep_type_size_digest_and_annotations() -> None:
    """A layer is all that the document says of it."""
    (layer,) = parse_manifest(GOLDEN).layers

    assert (layer.media_type, layer.size, layer.digest) == (
        "application/vnd.docker.ai.gguf.v3",
        5,
        Digest.parse(HELLO),
    )
    assert layer.annotations["org.cncf.model.filepath"] == "model.gguf"


def test_blobs_come_once_with_the_configuration_last() -> None:
    """Two equal files are one blob."""
    layer = {"mediaType": "application/octet-stream", "digest": HELLO, "size": 5}

    manifest = parse_manifest(_document(layers=[layer, layer]))

    assert [str(blob.digest) for blob in manifest.blobs] == [HELLO, CONFIG]
    assert manifest.size == 195


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (_document(), None),
        (_document(), f"{OCI_MANIFEST}; charset=utf-8"),
        (_document(mediaType="-"), OCI_MANIFEST),
        (_document(mediaType="-"), None),
        (_document(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST),
        (_document(layers=None), None),
        (_document(unknown={"kept": True}), None),
        (_document(), "application/json"),
    ],
)
def test_image_manifests_of_both_families_are_read(raw: bytes, media_type: str | None) -> None:
    """OCI's and Docker's, announced or not."""
    assert parse_manifest(raw, media_type).raw == raw


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (b"", None),
        (b"[]", None),
        (b"{}", None),
        (b"<html>", None),
        (b'{"schemaVersion":2,"mediaType":"\xff"}', None),
        (b'{"x":' + b"[" * 100_000, None),
        (_document(schemaVersion=1), None),
        (_document(mediaType=OCI_INDEX, manifests=[]), None),
        (_document(manifests=[]), None),  # both at once, CVE-2021-41190
        (_document(mediaType="-"), OCI_INDEX),
        (_document(), DOCKER_MANIFEST),
        (_document(config={"mediaType": "x", "digest": "sha256:../../x", "size": 1}), None),
        (_document(config={"mediaType": "x", "digest": CONFIG, "size": -1}), None),
        (_document(config={"mediaType": "x", "digest": CONFIG, "size": 1.5}), None),
        (_document(config={"mediaType": "x", "digest": HELLO, "size": 6}), None),  # the layer says 5
        (_document(layers=[{"mediaType": "x", "digest": HELLO, "size": 5}] * (MAX_LAYERS + 1)), None),
        (b" " * (MAX_MANIFEST_BYTES + 1), None),
    ],
)
def test_anything_but_a_single_sound_manifest_is_refused(raw: bytes, media_type: str | None) -> None:
    """Indexes, contradictions, paths for digests, negative sizes and floods are errors."""
    with pytest.raises(InvalidRequest):
        parse_manifest(raw, media_type)
