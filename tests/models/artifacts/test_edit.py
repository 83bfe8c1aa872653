import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.artifacts.edit import Changes, Form, draft_variant, edited
from modelrunner.models.artifacts.packages import Extras
from modelrunner.models.artifacts.packaging import Described, compose, layer_of
from modelrunner.models.bundles.placement import place_layers
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig, parse_config
from modelrunner.models.description.kinds import Format
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest, parse_manifest
from modelrunner.testing.artifacts import Artifacts

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


def test_a_licence_with_the_bytes_of_another_layer_takes_nothing_away() -> None:
    """What a file is for is more than its bytes; the same file for the same purpose comes once."""
    manifest, config = compose(ALL, CONFIG, created=CREATED)
    same = Descriptor(
        kinds.LICENSE_LAYER, TEMPLATE.digest, TEMPLATE.size, {kinds.FILEPATH: "template as licence"}
    )
    variant, _ = edited(manifest, config, Changes(layers=[same]))
    again, _ = edited(variant, config, Changes(layers=[same]))

    assert [*_names(manifest), "template as licence"] == _names(variant)
    assert _names(variant) == _names(again)


def test_a_template_in_a_folder_is_kept_beside_a_new_one() -> None:
    """It is for tools or documents, and the new one for conversations."""
    nested = _described("additional_chat_templates/tool_use.jinja", kinds.TEMPLATE_LAYER)
    manifest, config = compose(
        [WEIGHTS, nested, TEMPLATE], CONFIG, created=CREATED, config_type=kinds.CONFIG_V02
    )
    variant, _ = edited(manifest, config, Changes(layers=[_layer("new.jinja", kinds.TEMPLATE_LAYER)]))

    assert ["m-Q4_K_M.gguf", nested.name, "new.jinja"] == _names(variant)


def test_what_names_do_not_say_goes_to_modelpack_and_comes_back() -> None:
    """CNCF has one type for all weights, so that a part with another name than usual says what it is for."""
    files = [
        WEIGHTS,
        _described("vision.gguf", kinds.PROJECTOR_LAYER),
        _described("chat.txt", kinds.TEMPLATE_LAYER),
        _described("a-lora.gguf", kinds.LORA_LAYER),
    ]
    manifest, config = compose(files, CONFIG, created=CREATED, config_type=kinds.CONFIG_V02)
    packed, packed_config = edited(manifest, config, Changes(form=Form.CNCF))
    back, _ = edited(packed, packed_config, Changes(form=Form.DOCKER))

    assert [None, "mmproj", "template", "lora"] == [
        layer.annotations.get(kinds.ROLE) for layer in packed.layers
    ]
    assert [(layer.media_type, layer.annotations) for layer in manifest.layers] == [
        (layer.media_type, layer.annotations) for layer in back.layers
    ]
    for each in (manifest, packed, back):
        cast = place_layers(each, CONFIG).cast(Format.GGUF)
        assert ("m-Q4_K_M.gguf", "vision.gguf", "chat.txt", "a-lora.gguf") == (
            *map(str, cast.weights),
            str(cast.projector),
            str(cast.template),
            *map(str, cast.adapters),
        )


def test_a_projector_that_says_what_it_is_is_replaced_in_modelpack() -> None:
    """As one whose name says it."""
    files = [WEIGHTS, _described("vision.gguf", kinds.PROJECTOR_LAYER)]
    packed, config = compose(files, CONFIG, created=CREATED, config_type=kinds.CONFIG_CNCF)
    variant, _ = edited(packed, config, Changes(layers=[_layer("mmproj-F16.gguf", kinds.PROJECTOR_LAYER)]))

    assert ["m-Q4_K_M.gguf", "mmproj-F16.gguf"] == _names(variant)


def test_layers_of_older_artifacts_get_names_and_keep_their_archives(tmp_path: Path) -> None:
    """CNCF's form has files only by name, and archives only by type; nothing of the model is lost."""
    layers: list[tuple[str, str | None, bytes]] = [
        (kinds.SAFETENSORS_LAYER, None, b"one"),
        (kinds.SAFETENSORS_LAYER, None, b"two"),
        (kinds.VLLM_CONFIG_ARCHIVE, None, b"tar"),
        (kinds.DIRECTORY_ARCHIVE, None, b"more"),
    ]
    manifest, _ = Artifacts(tmp_path).make(layers, config=b'{"config":{"format":"safetensors"}}')
    packed, _ = edited(manifest, b'{"config":{"format":"safetensors"}}', Changes(form=Form.CNCF))
    placement = place_layers(packed, ModelConfig(format=Format.SAFETENSORS))

    assert ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] == [
        str(place.path) for place in placement.files
    ]
    assert [Digest.of(b"tar"), Digest.of(b"more")] == [each.layer.digest for each in placement.archives]


def test_modelpack_becomes_docker_s_form_with_what_the_weights_say() -> None:
    """Context, header and size are not in CNCF's form; its own words go before theirs."""
    packed, config = compose(ALL, CONFIG, created=CREATED, config_type=kinds.CONFIG_CNCF)
    said = ModelConfig(
        architecture="other", quantization="MOSTLY_Q4_0", size="1GiB", context_size=77, metadata={"a": "b"}
    )
    _, changed = edited(packed, config, Changes(form=Form.DOCKER, described=said))

    read = parse_config(changed, kinds.CONFIG_V02)
    assert ("llama", "361.8M", "MOSTLY_Q4_0", "1GiB", 77, {"a": "b"}) == (
        read.architecture,
        read.parameters,
        read.quantization,
        read.size,
        read.context_size,
        read.metadata,
    )


@pytest.mark.parametrize(
    "config",
    [
        b'{"rootfs":5}',
        b'{"rootfs":{"diff_ids":5}}',
        b'{"rootfs":{"diff_ids":[{"a":1}]}}',
        b'{"modelfs":[1]}',
        b'{"config":[]}',
        b'{"config":{"gguf":{"a":1e999}}}',
        b"[]",
        b"",
    ],
)
@pytest.mark.parametrize("form", [None, Form.CNCF])
def test_a_configuration_of_another_shape_is_refused(config: bytes, form: Form | None) -> None:
    """It may come from anywhere."""
    manifest, _ = compose([WEIGHTS], CONFIG, created=CREATED)

    with pytest.raises(UnsupportedModel, match="unreadable model configuration"):
        edited(manifest, config, Changes(context_size=None if form else 4, form=form))


def test_a_deeply_nested_configuration_is_edited_or_refused() -> None:
    """At any depth, also where reading still works and writing does not."""
    manifest, _ = compose([WEIGHTS], CONFIG, created=CREATED)
    outcomes = set()
    for depth in (10, *range(800, 1100, 5), 100_000):
        config = b'{"config":{"gguf":{"x":' + b"[" * depth + b"]" * depth + b"}}}"
        try:
            edited(manifest, config, Changes(context_size=4))
            outcomes.add("edited")
        except UnsupportedModel:
            outcomes.add("refused")

    assert {"edited", "refused"} == outcomes
