"""Which layer becomes which file, and which file plays which part."""

from pathlib import Path, PurePosixPath

import pytest

from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles.placement import effective_config, place_layers, scanned
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import CONFIG_CNCF, CONFIG_V01, CONFIG_V02, Format
from modelrunner.testing.artifacts import Artifacts, Layer

GGUF, FILE, RAW = kinds.GGUF_LAYER, kinds.FILE_LAYER, kinds.CNCF_WEIGHT
SAFETENSORS, TEMPLATE = kinds.SAFETENSORS_LAYER, kinds.TEMPLATE_LAYER
PACK_CONFIG = kinds.CNCF_WEIGHT_CONFIG


def layers(*pairs: tuple[str, str | None]) -> list[Layer]:
    """Layers with different contents."""
    return [(media_type, name, f"content {i}".encode()) for i, (media_type, name) in enumerate(pairs)]


def paths(
    artifacts: Artifacts,
    pairs: list[tuple[str, str | None]],
    config_type: str = CONFIG_V01,
    model_format: Format | None = None,
    artifact_type: str | None = None,
) -> list[str]:
    manifest, config = artifacts.make(
        layers(*pairs),
        config_type=config_type,
        config=ModelConfig(format=model_format) if model_format else b"{}",
        artifact_type=artifact_type,
    )
    return [str(file.path) for file in place_layers(manifest, config).files]


def parts(
    artifacts: Artifacts,
    pairs: list[tuple[str, str | None]],
    config_type: str = CONFIG_V02,
    model_format: Format | None = None,
) -> tuple[list[str], str | None, str | None]:
    manifest, config = artifacts.make(
        layers(*pairs),
        config_type=config_type,
        config=b'{"config":{"format":"%s"}}' % model_format.encode() if model_format else b"{}",
    )
    cast = place_layers(manifest, config).cast(effective_config(manifest, config).format)
    return (
        [str(path) for path in cast.weights],
        str(cast.projector) if cast.projector else None,
        str(cast.template) if cast.template else None,
    )


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(GGUF, "smol.gguf")], ["model.gguf"]),
        ([(GGUF, None)], ["model.gguf"]),
        (
            [(GGUF, "b.gguf"), (GGUF, "a.gguf")],
            ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"],
        ),
        (
            [
                (GGUF, "m.gguf"),
                (kinds.LICENSE_LAYER, "LICENSE"),
                (TEMPLATE, "my.jinja"),
                (kinds.PROJECTOR_LAYER, "mmproj-F16.gguf"),
            ],
            ["model.gguf", "template.jinja", "model.mmproj"],
        ),
        ([(kinds.CNCF_WEIGHT_GGUF, None)], ["model.gguf"]),
        ([(GGUF, None), (kinds.PROJECTOR_LAYER_PUBLIC, None)], ["model.gguf", "model.mmproj"]),
        ([(GGUF, None), (kinds.LORA_LAYER, "l.gguf")], ["model.gguf", "model-00001.lora"]),
        ([(SAFETENSORS, None)], ["model.safetensors"]),
        ([(SAFETENSORS, "sub/x.safetensors")], ["sub/x.safetensors"]),
        (
            [(SAFETENSORS, None), (SAFETENSORS, None)],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        ([(SAFETENSORS, "x.safetensors"), (FILE, "config.json")], ["x.safetensors", "config.json"]),
        ([(GGUF, None), (SAFETENSORS, "x.safetensors")], ["model.gguf"]),
        ([(GGUF, None), (FILE, "model.gguf"), (FILE, None)], ["model.gguf"]),
        ([(GGUF, None), (TEMPLATE, "a.jinja"), (TEMPLATE, "b.jinja")], ["model.gguf", "template.jinja"]),
        ([(GGUF, None), ("application/unknown", "x")], ["model.gguf"]),
    ],
)
def test_docker_s_first_form_has_fixed_names(
    artifacts: Artifacts, pairs: list[tuple[str, str | None]], expected: list[str]
) -> None:
    """One format's weights, the first projector and template, generic files; no licences."""
    assert expected == paths(artifacts, pairs)


def test_a_dduf_file_is_named_by_its_digest(artifacts: Artifacts) -> None:
    """As the reference names it."""
    manifest, config = artifacts.make([(kinds.DDUF_LAYER, "flux.dduf", b"dduf")])

    (file,) = place_layers(manifest, config).files

    assert f"{manifest.layers[0].digest.hex}.dduf" == str(file.path)


TREE: list[tuple[str, str | None]] = [
    (FILE, "config.json"),
    (SAFETENSORS, "model-00001-of-00002.safetensors"),
    (SAFETENSORS, "model-00002-of-00002.safetensors"),
    (SAFETENSORS, "text_encoder/model.safetensors"),
    (kinds.LICENSE_LAYER, "LICENSE"),
    (FILE, "tokenizer.json"),
]


def test_docker_s_second_form_keeps_the_tree(artifacts: Artifacts) -> None:
    """Every layer goes where its annotation says; without one it stays out."""
    expected = [name for _, name in TREE]

    assert expected == paths(artifacts, [*TREE, (FILE, None)], CONFIG_V02)


def test_the_configuration_s_type_decides_and_not_the_artifact_s(artifacts: Artifacts) -> None:
    """A pack whose manifest lacks the artifact type is a pack all the same."""
    pairs: list[tuple[str, str | None]] = [(RAW, "m-Q4.gguf"), (RAW, "mmproj-F16.gguf")]

    assert ["m-Q4.gguf", "mmproj-F16.gguf"] == paths(artifacts, pairs, CONFIG_CNCF)
    assert ["m-Q4.gguf", "mmproj-F16.gguf"] == paths(
        artifacts, pairs, "application/unknown", artifact_type=kinds.CNCF_MANIFEST
    )
    assert ["model.gguf", "model.mmproj"] == paths(
        artifacts, pairs, CONFIG_V01, artifact_type=kinds.CNCF_MANIFEST
    )


@pytest.mark.parametrize(
    ("pairs", "model_format", "expected"),
    [
        (TREE, Format.SAFETENSORS, ([name for kind, name in TREE if kind == SAFETENSORS], None, None)),
        ([(GGUF, "mmproj-BF16.gguf"), (GGUF, "x.gguf")], None, (["x.gguf"], "mmproj-BF16.gguf", None)),
        ([(GGUF, "mmproj-BF16.gguf")], None, (["mmproj-BF16.gguf"], None, None)),
        ([(GGUF, "b.gguf"), (GGUF, "a.gguf")], None, (["a.gguf"], None, None)),
        ([(GGUF, "a/a.gguf"), (GGUF, "z.gguf")], None, (["z.gguf"], None, None)),
        (
            [
                (GGUF, "m-00002-of-00002.gguf"),
                (GGUF, "m-00001-of-00002.gguf"),
                (GGUF, "n-00001-of-00002.gguf"),
                (GGUF, "sub/m-00001-of-00002.gguf"),
            ],
            None,
            (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], None, None),
        ),
        ([(GGUF, "a.gguf"), (SAFETENSORS, "b.safetensors")], None, (["a.gguf"], None, None)),
        (
            [(GGUF, "a.gguf"), (SAFETENSORS, "b.safetensors")],
            Format.SAFETENSORS,
            (["b.safetensors"], None, None),
        ),
        (
            [
                (TEMPLATE, "additional_chat_templates/x.jinja"),
                (TEMPLATE, "chat_template.json"),
                (TEMPLATE, "a.jinja"),
                (TEMPLATE, "chat_template.jinja"),
                (GGUF, "m.gguf"),
            ],
            None,
            (["m.gguf"], None, "chat_template.jinja"),
        ),
        ([(TEMPLATE, "chat_template.json"), (GGUF, "m.gguf")], None, (["m.gguf"], None, None)),
        (
            [(kinds.PROJECTOR_LAYER, "p.gguf"), (kinds.PROJECTOR_LAYER, "o.gguf"), (GGUF, "m.gguf")],
            None,
            (["m.gguf"], "o.gguf", None),
        ),
    ],
)
def test_the_parts_of_a_tree_do_not_depend_on_luck(
    artifacts: Artifacts,
    pairs: list[tuple[str, str | None]],
    model_format: Format | None,
    expected: tuple[list[str], str | None, str | None],
) -> None:
    """The same artifact has the same parts, the first time and later, in any order of layers."""
    assert expected == parts(artifacts, pairs, CONFIG_V02, model_format)
    if model_format is None:
        assert expected == parts(artifacts, pairs[::-1], CONFIG_V02, model_format)


@pytest.mark.parametrize(
    ("pairs", "model_format", "expected"),
    [
        (
            [
                (RAW, "m-Q4.gguf"),
                (kinds.CNCF_DOC, "LICENSE"),
                (PACK_CONFIG, "chat_template.jinja"),
                (PACK_CONFIG, "config.json"),
                (RAW, "MMPROJ-F16.gguf"),
            ],
            Format.GGUF,
            (["m-Q4.gguf"], "MMPROJ-F16.gguf", "chat_template.jinja"),
        ),
        ([(RAW, "m.gguf")], None, (["m.gguf"], None, None)),
        (
            [(RAW, "weights.bin"), (RAW, "m.safetensors")],
            None,
            (["weights.bin", "m.safetensors"], None, None),
        ),
        ([(kinds.CNCF_WEIGHT_SAFETENSORS, "m.gguf")], None, (["m.gguf"], None, None)),
    ],
)
def test_the_parts_of_a_pack_are_told_by_name_and_format(
    artifacts: Artifacts,
    pairs: list[tuple[str, str | None]],
    model_format: Format | None,
    expected: tuple[list[str], str | None, str | None],
) -> None:
    """Its one type for weights says nothing more."""
    assert expected == parts(artifacts, pairs, CONFIG_CNCF, model_format)


@pytest.mark.parametrize(
    ("pairs", "config_type", "expected"),
    [
        ([(GGUF, None)], CONFIG_V01, Format.GGUF),
        ([(kinds.CNCF_WEIGHT_GGUF, "x")], CONFIG_CNCF, Format.GGUF),
        ([(kinds.CNCF_WEIGHT_SAFETENSORS, "x.gguf")], CONFIG_CNCF, Format.SAFETENSORS),
        ([(RAW, "x.txt"), (RAW, "x.gguf")], CONFIG_CNCF, Format.GGUF),
        ([(RAW, "x.bin")], CONFIG_CNCF, None),
        ([(kinds.DDUF_LAYER, None)], CONFIG_V01, Format.DDUF),
    ],
)
def test_the_format_is_told_by_the_layers_where_the_configuration_does_not(
    artifacts: Artifacts, pairs: list[tuple[str, str | None]], config_type: str, expected: Format | None
) -> None:
    """By type, or by the first name of weights."""
    manifest, config = artifacts.make(layers(*pairs), config_type=config_type)

    assert expected is effective_config(manifest, config).format


def test_a_stated_format_is_kept(artifacts: Artifacts) -> None:
    """The configuration knows best."""
    manifest, config = artifacts.make(
        layers((RAW, "x.gguf")), config_type=CONFIG_CNCF, config=b'{"config":{"format":"safetensors"}}'
    )

    assert effective_config(manifest, config).format is Format.SAFETENSORS


@pytest.mark.parametrize(
    ("pairs", "config_type"),
    [
        ([], CONFIG_V01),
        ([(kinds.LICENSE_LAYER, "LICENSE")], CONFIG_V01),
        ([(RAW, "x.bin")], CONFIG_CNCF),
        ([(GGUF, None)], CONFIG_V02),
        ([(kinds.PROJECTOR_LAYER, "p.gguf")], CONFIG_V02),
    ],
)
def test_an_artifact_without_weights_is_refused(
    artifacts: Artifacts, pairs: list[tuple[str, str | None]], config_type: str
) -> None:
    """Nothing could load it."""
    with pytest.raises(UnsupportedModel, match="no supported model weights found"):
        paths(artifacts, pairs, config_type)


def test_two_names_for_one_place_collide(artifacts: Artifacts) -> None:
    """The error names both as they were written."""
    with pytest.raises(UnsupportedModel) as caught:
        paths(artifacts, [(GGUF, "foo/m.gguf"), (GGUF, "../foo/m.gguf")], CONFIG_V02)

    assert "filepath collision" in caught.value.message
    assert "`foo/m.gguf` and `../foo/m.gguf`" in caught.value.message


@pytest.mark.parametrize("names", [("a", "a/b.gguf"), ("a/b.gguf", "a"), ("x/../a", "a/b/c.gguf")])
def test_a_file_and_a_directory_of_one_name_collide(artifacts: Artifacts, names: tuple[str, str]) -> None:
    """Only one of them can exist."""
    with pytest.raises(UnsupportedModel, match="is a file, and"):
        paths(artifacts, [(GGUF, names[0]), (GGUF, names[1])], CONFIG_V02)


def test_the_same_name_twice_is_one_file(artifacts: Artifacts) -> None:
    """The first layer wins."""
    manifest, config = artifacts.make(
        [(GGUF, "m.gguf", b"first"), (GGUF, "m.gguf", b"second")], config_type=CONFIG_V02
    )

    (file,) = place_layers(manifest, config).files

    assert manifest.layers[0] == file.layer


def test_two_weights_of_one_name_in_the_first_form_collide(artifacts: Artifacts) -> None:
    """One of them would be missing."""
    with pytest.raises(UnsupportedModel, match="filepath collision"):
        paths(artifacts, [(SAFETENSORS, "m.safetensors"), (SAFETENSORS, "./m.safetensors")])


def test_names_that_lead_outside_are_cut_or_refused(artifacts: Artifacts) -> None:
    """Where artifacts name their files, a beginning is cut off; where names are ours, none may lead out."""
    outside = "../../home/u/te/m.safetensors"

    assert ["home/u/te/m.safetensors"] == paths(artifacts, [(SAFETENSORS, outside)], CONFIG_V02)
    with pytest.raises(UnsupportedModel, match="unsafe path"):
        paths(artifacts, [(SAFETENSORS, outside)], CONFIG_V01)
    with pytest.raises(UnsupportedModel, match='sanitized as "": empty path is not allowed'):
        paths(artifacts, [(SAFETENSORS, "../../..")], CONFIG_V02)


@pytest.mark.parametrize(
    ("media_type", "compressed"),
    [
        (kinds.VLLM_CONFIG_ARCHIVE, False),
        (kinds.DIRECTORY_ARCHIVE, False),
        ("application/vnd.cncf.model.weight.v1.tar", False),
        ("application/vnd.cncf.model.weight.config.v1.tar+gzip", True),
        ("application/vnd.cncf.model.code.v1.tar", False),
    ],
)
def test_archives_are_set_aside_to_be_unpacked(
    artifacts: Artifacts,
    media_type: str,
    compressed: bool,
) -> None:
    """Older artifacts, and those of CNCF."""
    manifest, config = artifacts.make(
        layers((SAFETENSORS, "m.safetensors"), (media_type, "x.tar")), config_type=CONFIG_CNCF
    )

    placement = place_layers(manifest, config)

    assert [compressed] == [archive.compressed for archive in placement.archives]
    assert ["m.safetensors"] == [str(file.path) for file in placement.files]


def test_a_compression_that_cannot_be_read_is_refused(artifacts: Artifacts) -> None:
    """Rather than leaving out a part of the model."""
    with pytest.raises(UnsupportedModel, match="unsupported compression"):
        paths(artifacts, [(GGUF, "m"), ("application/vnd.cncf.model.weight.v1.tar+zstd", "x")], CONFIG_CNCF)


def test_unpacked_files_are_scanned_by_name(tmp_path: Path) -> None:
    """Top level first; hidden files do not count."""
    for name in ("sub/m.gguf", "m.gguf", "mmproj-F16.gguf", ".hidden.gguf", "t.jinja", "config.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)

    cast = scanned(tmp_path, None)

    assert (PurePosixPath("m.gguf"),) == cast.weights
    assert PurePosixPath("mmproj-F16.gguf") == cast.projector
    assert PurePosixPath("t.jinja") == cast.template


def test_a_scan_without_weights_is_refused(tmp_path: Path) -> None:
    """The archives held everything but a model."""
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(UnsupportedModel, match="no supported model weights found"):
        scanned(tmp_path, None)
