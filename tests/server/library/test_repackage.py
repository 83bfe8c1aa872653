"""Variants of stored models share everything but their configuration."""

import json

import pytest

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.description.kinds import CONFIG_CNCF, CONFIG_V02
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Manifest, parse_manifest
from modelrunner.server.library.repackage import variant
from modelrunner.store.snapshot import StoredModel

CONFIG = json.dumps({"config": {"format": "gguf", "context_size": 8}, "rootfs": {"x": 1}}).encode()


def stored(config_type: str = CONFIG_V02) -> StoredModel:
    manifest = parse_manifest(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/x.kept",
                "config": {"mediaType": config_type, "digest": str(Digest.of(CONFIG)), "size": len(CONFIG)},
                "layers": [
                    {"mediaType": "a/b", "digest": str(Digest.of(b"w")), "size": 1, "annotations": {"k": "v"}}
                ],
                "annotations": {"unknown": "kept"},
            }
        ).encode()
    )
    return StoredModel(manifest.digest, (), manifest, CONFIG)


def essence(manifest: Manifest) -> tuple[object, ...]:
    return (
        manifest.layers,
        manifest.media_type,
        manifest.artifact_type,
        manifest.config.media_type,
        dict(manifest.annotations),
        dict(manifest.layers[0].annotations),
    )


def test_a_variant_differs_in_its_context_size_only() -> None:
    """Layers, types, annotations and the rest of the configuration are carried over."""
    model = stored()
    manifest, config = variant(model, 4096)

    assert essence(model.manifest) == essence(manifest)
    assert {"config": {"format": "gguf", "context_size": 4096}, "rootfs": {"x": 1}} == json.loads(config)
    assert (Digest.of(config), len(config)) == (manifest.config.digest, manifest.config.size)
    assert model.id != manifest.digest


@pytest.mark.parametrize("size", [0, -1, 2**31])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    """It would be cut off by readers with 32 bits."""
    with pytest.raises(InvalidRequest, match="out of range"):
        variant(stored(), size)


def test_a_modelpack_configuration_has_no_place_for_it() -> None:
    """It is refused instead of silently ignored."""
    with pytest.raises(UnsupportedModel, match="cannot carry"):
        variant(stored(CONFIG_CNCF), 4096)
