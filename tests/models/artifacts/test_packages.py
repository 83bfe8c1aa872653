import contextlib
import json
import os
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.artifacts.packages import (
    Extras,
    package_dduf,
    package_directory,
    package_gguf,
    package_safetensors,
)
from modelrunner.models.artifacts.packaging import Draft
from modelrunner.models.bundles.placement import place_layers
from modelrunner.models.description import kinds
from modelrunner.models.description.config import parse_config
from modelrunner.models.description.kinds import Format
from modelrunner.testing.gguf import tiny_gguf, write_gguf

CREATED = datetime(2025, 6, 15, 12, tzinfo=UTC)


def _weights(path: Path, rows: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"w{rows}": np.zeros((rows, 8), np.float16)}, path, metadata={"format": "pt"})
    return path


def _directory(root: Path) -> Path:
    _weights(root / "model-00001-of-00002.safetensors", 4)
    _weights(root / "model-00002-of-00002.safetensors", 2)
    _weights(root / "text_encoder" / "model.safetensors", 1)
    (root / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
    (root / "tokenizer.json").write_text("{}")
    return root


def _layers(draft: Draft) -> list[tuple[str, str]]:
    return [
        (layer.annotations[kinds.FILEPATH], layer.media_type.rpartition(".ai.")[2] or layer.media_type)
        for layer in draft.manifest_value.layers
    ]


def test_a_directory_keeps_its_files_and_folders(tmp_path: Path) -> None:
    """In form 0.2, described by all of its weights."""
    draft = package_directory(_directory(tmp_path))

    assert kinds.CONFIG_V02 == draft.manifest_value.config.media_type
    assert [
        ("config.json", "model.file"),
        ("model-00001-of-00002.safetensors", "safetensors"),
        ("model-00002-of-00002.safetensors", "safetensors"),
        ("text_encoder/model.safetensors", "safetensors"),
        ("tokenizer.json", "model.file"),
    ] == _layers(draft)
    config = parse_config(draft.config_bytes, kinds.CONFIG_V02)
    assert (Format.SAFETENSORS, "56.00", "F16", 4096) == (
        config.format,
        config.parameters,
        config.quantization,
        config.context_size,
    )
    assert {"format": "pt", "tensor_count": "3"} == config.metadata


def test_packaging_twice_gives_the_same_id(tmp_path: Path) -> None:
    """Also from a copy whose files were made in another order."""
    first = package_directory(_directory(tmp_path / "a"), Extras(created=CREATED))
    again = package_directory(_directory(tmp_path / "b"), Extras(created=CREATED))

    assert first.manifest_value.digest == again.manifest_value.digest


def test_shards_alone_are_packaged_in_form_01(tmp_path: Path) -> None:
    """Any of them names all; what lies beside them is not taken along, but for the context it gives."""
    draft = package_safetensors(_directory(tmp_path) / "model-00002-of-00002.safetensors")

    assert kinds.CONFIG_V01 == draft.manifest_value.config.media_type
    assert ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] == [
        name for name, _ in _layers(draft)
    ]
    assert 4096 == draft.config.context_size


def test_a_dduf_file_is_one_layer(tmp_path: Path) -> None:
    """With the description that the reference gives it."""
    path = tmp_path / "flux.dduf"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model_index.json", "{}")
    draft = package_dduf(path, Extras(created=CREATED))

    assert [("flux.dduf", "dduf")] == _layers(draft)
    assert {
        "format": "dduf",
        "architecture": "diffusers",
        "size": f"{path.stat().st_size}.00B",
        "diffusers": {"dduf_file": "flux.dduf", "layout": "dduf"},
    } == json.loads(draft.config_bytes)["config"]


def test_a_dduf_file_is_an_archive_without_compression(tmp_path: Path) -> None:
    """Anything else would fail only when it is loaded."""
    compressed, other = tmp_path / "a.dduf", tmp_path / "b.dduf"
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", "a" * 1000)
    other.write_bytes(b"nothing of that kind")

    for path in (compressed, other):
        with pytest.raises(UnsupportedModel, match="not a DDUF file: `"):
            package_dduf(path)


def test_an_adapter_goes_along(tmp_path: Path) -> None:
    """As a layer of its own type, behind everything else."""
    weights = tiny_gguf(tmp_path / "m.gguf")
    adapter = tmp_path / "lora.gguf"
    write_gguf(adapter, {"general.architecture": "llama", "general.type": "adapter"}, [])
    licence = tmp_path / "LICENSE"
    licence.write_text("free")
    draft = package_gguf(weights, Extras(adapters=[adapter], licenses=[licence]))

    assert [("m.gguf", "gguf.v3"), ("LICENSE", "license"), ("lora.gguf", "gguf.v3.lora")] == _layers(draft)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    """Such as another model's weights."""
    weights = tiny_gguf(tmp_path / "m.gguf")

    with pytest.raises(UnsupportedModel, match="not a LoRA adapter"):
        package_gguf(weights, Extras(adapters=[weights]))


def test_modelpack_has_its_own_types_and_no_context(tmp_path: Path) -> None:
    """Every layer's type is CNCF's; a context size is refused with the reference's words."""
    draft = package_directory(_directory(tmp_path), Extras(packed=True))

    assert kinds.CNCF_MANIFEST == draft.manifest_value.artifact_type
    assert {kinds.CNCF_WEIGHT, kinds.CNCF_WEIGHT_CONFIG} == {
        layer.media_type for layer in draft.manifest_value.layers
    }
    with pytest.raises(InvalidRequest, match="--context-size is not supported with --format cncf"):
        package_directory(tmp_path, Extras(packed=True, context_size=1))


def test_truncated_weights_are_not_packaged(tmp_path: Path) -> None:
    """Said before anything is hashed."""
    path = _weights(tmp_path / "model.safetensors")
    os.truncate(path, path.stat().st_size - 1)

    with pytest.raises(UnsupportedModel, match="truncated safetensors file"):
        package_directory(tmp_path)


def test_a_named_template_takes_the_place_of_the_directory_s(tmp_path: Path) -> None:
    """Only one is used, and somebody chose this one; those in folders are for other uses."""
    root = _directory(tmp_path / "model")
    for name in ("chat_template.jinja", "additional_chat_templates/tools.jinja"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("theirs")
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    draft = package_directory(root, Extras(template=mine))
    cast = place_layers(draft.manifest_value, draft.config).cast(Format.SAFETENSORS)

    names = [name for name, _ in _layers(draft)]
    assert "chat_template.jinja" not in names
    assert "additional_chat_templates/tools.jinja" in names
    assert "mine.txt" == str(cast.template)


def test_a_named_projector_takes_the_place_of_the_directory_s(tmp_path: Path) -> None:
    """As a template does."""
    root = tmp_path / "model"
    root.mkdir()
    tiny_gguf(root / "model.gguf")
    tiny_gguf(root / "mmproj-BF16.gguf", **{"general.architecture": "clip"})
    mine = tiny_gguf(tmp_path / "vision.gguf", **{"general.architecture": "clip", "general.name": "mine"})
    draft = package_directory(root, Extras(projector=mine))

    assert [("model.gguf", "gguf.v3"), ("vision.gguf", "mmproj")] == _layers(draft)


def test_a_modelpack_s_adapter_is_no_weights(tmp_path: Path) -> None:
    """Though its type is the same, and its name comes first."""
    weights = tiny_gguf(tmp_path / "model.gguf")
    adapter = tiny_gguf(tmp_path / "adapter.gguf", **{"general.type": "adapter"})
    draft = package_gguf(weights, Extras(adapters=[adapter], packed=True))
    cast = place_layers(draft.manifest_value, draft.config).cast(Format.GGUF)

    assert (["model.gguf"], ["adapter.gguf"]) == ([*map(str, cast.weights)], [*map(str, cast.adapters)])


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_dduf_file_or_refused(content: bytes) -> None:
    """Whatever stands in the directory of the archive."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.dduf"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model_index.json", "{}")
        whole = path.read_bytes()
        path.write_bytes(content + whole[len(content) :])
        with contextlib.suppress(UnsupportedModel):
            package_dduf(path)
        path.write_bytes(whole[: -len(content) or None] + content)
        with contextlib.suppress(UnsupportedModel):
            package_dduf(path)
