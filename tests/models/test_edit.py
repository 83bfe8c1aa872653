import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models import kinds
from modelrunner.models.config import ModelConfig, parse_config
from modelrunner.models.edit import Changes, Form, draft_variant, edited
from modelrunner.models.kinds import Format
from modelrunner.models.packages import Extras
from modelrunner.models.packaging import Described, compose, layer_of
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest, parse_manifest

CREATED = datetime(2025, 6, 15, 12, tzinfo=UTC)
CONFIG = ModelConfig(format=Format.GGUF, architecture="llama", parameters="361.82M", context_size=2048)


def _described(name: str, media_type: str) -> Described:
    return Described(name, media_type, Digest.of(name.encode()), len(name))


def _layer(name: str, media_type: str) -> Descriptor:
    return layer_of(_described(name, media_type), CREATED, kinds.CONFIG_V01)


WEIGHTS = _described("m-Q4_K_M.gguf", kinds.GGUF_LAYER)
LICENSE = _described("LICENSE", kinds.LICENSE_LAYER)
TEMPLATE = _described("old.jinja", kinds.TEMPLATE_LAYER)
PROJECTOR = _described("mmproj-F16.gguf", kinds.PROJECTOR_LAYER)
README = _described("docs/README.md", kinds.FILE_LAYER)
ALL = [WEIGHTS, LICENSE, TEMPLATE, PROJECTOR, README]


def _names(manifest: Manifest) -> list[str]:
    return [layer.annotations[kinds.FILEPATH] for layer in manifest.layers]


@pytest.mark.parametrize("kind", [kinds.CONFIG_V01, kinds.CONFIG_V02])
def test_a_context_size_changes_nothing_else(kind: str) -> None:
    """Neither the type of the configuration nor a layer."""
    manifest, config = compose(ALL, CONFIG, created=CREATED, config_type=kind)
    variant, changed = edited(manifest, config, Changes(context_size=4096))

    assert kind == variant.config.media_type
    assert manifest.layers == variant.layers
    assert {**json.loads(config)["config"], "context_size": 4096} == json.loads(changed)["config"]


def test_what_we_do_not_know_stays() -> None:
    """Fields and annotations of programs that are newer, or others."""
    manifest, config = compose([WEIGHTS], CONFIG, created=CREATED)
    document = json.loads(manifest.raw) | {"annotations": {"a": "b"}, "subject": {"x": 1}}
    document["layers"][0]["urls"] = ["https://example.com"]
    description = json.loads(config) | {"future": True}
    raw_config = json.dumps(description).encode()
    document["config"] |= {"digest": str(Digest.of(raw_config)), "size": len(raw_config)}
    manifest = parse_manifest(json.dumps(document).encode())

    variant, changed = edited(manifest, raw_config, Changes(layers=[_layer("LICENSE", kinds.LICENSE_LAYER)]))

    after = json.loads(variant.raw)
    assert ({"a": "b"}, {"x": 1}, ["https://example.com"]) == (
        after["annotations"],
        after["subject"],
        after["layers"][0]["urls"],
    )
    assert json.loads(changed)["future"]


def test_added_layers_come_last_with_their_diff_ids() -> None:
    """One for each layer, in the same order."""
    manifest, config = compose([WEIGHTS, LICENSE], CONFIG, created=CREATED)
    added = [_layer("LICENSE.2", kinds.LICENSE_LAYER), _layer("mmproj.gguf", kinds.PROJECTOR_LAYER)]
    variant, changed = edited(manifest, config, Changes(layers=added))

    assert ["m-Q4_K_M.gguf", "LICENSE", "LICENSE.2", "mmproj.gguf"] == _names(variant)
    assert [str(layer.digest) for layer in variant.layers] == json.loads(changed)["rootfs"]["diff_ids"]


@pytest.mark.parametrize("form", [None, Form.CNCF])
def test_a_new_template_takes_the_place_of_the_old(form: Form | None) -> None:
    """Since only one is used; the same with a projector, in either form."""
    manifest, config = compose(ALL, CONFIG, created=CREATED)
    added = [_layer("new.jinja", kinds.TEMPLATE_LAYER), _layer("mmproj-BF16.gguf", kinds.PROJECTOR_LAYER)]
    variant, _ = edited(manifest, config, Changes(layers=added, form=form))

    assert ["m-Q4_K_M.gguf", "LICENSE", "docs/README.md", "new.jinja", "mmproj-BF16.gguf"] == _names(variant)


def test_docker_s_form_becomes_modelpack() -> None:
    """The same blobs under CNCF's types, as the reference maps them."""
    manifest, config = compose(ALL, CONFIG, created=CREATED)
    variant, changed = edited(manifest, config, Changes(form=Form.CNCF))

    assert [layer.digest for layer in manifest.layers] == [layer.digest for layer in variant.layers]
    assert [
        kinds.CNCF_WEIGHT,
        kinds.CNCF_DOC,
        kinds.CNCF_WEIGHT_CONFIG,
        kinds.CNCF_WEIGHT,
        kinds.CNCF_WEIGHT_CONFIG,
    ] == [layer.media_type for layer in variant.layers]
    assert (kinds.CNCF_MANIFEST, kinds.CONFIG_CNCF) == (variant.artifact_type, variant.config.media_type)
    assert {
        "descriptor": {"createdAt": "2025-06-15T12:00:00Z", "family": "llama"},
        "modelfs": {"type": "layers", "diffIds": [str(layer.digest) for layer in variant.layers]},
        "config": {"architecture": "llama", "format": "gguf", "paramSize": "361.8M"},
    } == json.loads(changed)
    assert ["schemaVersion", "mediaType", "artifactType", "config", "layers"] == list(json.loads(variant.raw))


def test_modelpack_becomes_docker_s_form() -> None:
    """Version 0.2, which keeps the paths; types by what the files are called."""
    packed, config = compose(ALL, CONFIG, created=CREATED, config_type=kinds.CONFIG_CNCF)
    variant, changed = edited(packed, config, Changes(form=Form.DOCKER, context_size=4096))

    assert [
        kinds.GGUF_LAYER,
        kinds.LICENSE_LAYER,
        kinds.TEMPLATE_LAYER,
        kinds.PROJECTOR_LAYER,
        kinds.FILE_LAYER,
    ] == [layer.media_type for layer in variant.layers]
    assert (None, kinds.CONFIG_V02) == (variant.artifact_type, variant.config.media_type)
    read = parse_config(changed, kinds.CONFIG_V02)
    assert (Format.GGUF, "llama", "361.8M", 4096, CREATED) == (
        read.format,
        read.architecture,
        read.parameters,
        read.context_size,
        read.created,
    )
    assert [str(layer.digest) for layer in variant.layers] == json.loads(changed)["rootfs"]["diff_ids"]


def test_modelpack_has_no_place_for_a_context_size() -> None:
    """It is refused, not ignored."""
    packed, config = compose(ALL, CONFIG, created=CREATED, config_type=kinds.CONFIG_CNCF)

    with pytest.raises(UnsupportedModel, match="cannot carry a context size"):
        edited(packed, config, Changes(context_size=1))


@pytest.mark.parametrize("tokens", [0, 2**31])
def test_a_context_size_out_of_range_is_refused(tokens: int) -> None:
    """Other readers have 32 bits for it."""
    manifest, config = compose([WEIGHTS], CONFIG, created=CREATED)

    with pytest.raises(InvalidRequest, match="out of range"):
        edited(manifest, config, Changes(context_size=tokens))


def test_a_draft_of_a_variant_has_only_what_is_new(tmp_path: Path) -> None:
    """The other layers are where the model came from."""
    manifest, config = compose(ALL, CONFIG, created=CREATED)
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}")
    draft = draft_variant(manifest, config, Extras(template=template, context_size=512), None)

    assert [template] == list(draft.paths.values())
    assert template.read_bytes() == b"{{ messages }}"
    assert 512 == draft.config.context_size
    assert Digest.of(template.read_bytes()) == draft.manifest_value.layers[-1].digest
