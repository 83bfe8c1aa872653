"""Models that hear and speak as artifacts: which files, how they are described, how they are laid out."""

import json
from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.artifacts.edit import Changes, Form, edited
from modelrunner.models.artifacts.packages import Extras
from modelrunner.models.artifacts.packaging import Draft
from modelrunner.models.artifacts.speech_packages import package_piper, package_whisper
from modelrunner.models.bundles.placement import place_layers
from modelrunner.models.description import kinds
from modelrunner.models.description.config import parse_config
from modelrunner.models.description.kinds import Format
from modelrunner.testing.speech import ctranslate2_model, write_voice, write_whisper


def _layers(draft: Draft) -> dict[str, str]:
    return {layer.annotations[kinds.FILEPATH]: layer.media_type for layer in draft.manifest_value.layers}


def test_whisper_is_a_folder_of_which_the_engine_reads_some(tmp_path: Path) -> None:
    """Whatever else lies there stays there; a licence goes along."""
    folder = write_whisper(tmp_path / "whisper")
    for name in ("LICENSE", "code.py", "pytorch_model.bin"):
        (folder / name).write_text("x")
    draft = package_whisper(folder)

    assert _layers(draft) == {
        "model.bin": kinds.CTRANSLATE2_LAYER,
        "LICENSE": kinds.LICENSE_LAYER,
        "config.json": kinds.FILE_LAYER,
        "tokenizer.json": kinds.FILE_LAYER,
        "vocabulary.txt": kinds.FILE_LAYER,
    }
    assert draft.config.format is Format.CTRANSLATE2
    assert (draft.config.architecture, draft.config.quantization) == ("whisper", "float16")
    assert draft.config.parameters == "8.19K"


def test_a_voice_is_two_files(tmp_path: Path) -> None:
    """Its JSON says the language, the rate and the speakers."""
    draft = package_piper(write_voice(tmp_path / "joe.onnx"))

    assert _layers(draft) == {"joe.onnx": kinds.ONNX_LAYER, "joe.onnx.json": kinds.FILE_LAYER}
    assert (draft.config.format, draft.config.architecture) == (Format.ONNX, "piper")
    assert draft.config.metadata == {
        "sample_rate": "22050",
        "espeak_voice": "en-us",
        "language": "en_US",
        "quality": "medium",
        "speakers": "ann,joe",
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["whisper", "voice"])
def test_either_form_is_laid_out_alike(tmp_path: Path, kind: str, packed: bool) -> None:
    """In CNCF's form, which has one type for all weights, an annotation says which file is the model."""
    extras = Extras(packed=packed)
    draft, name = (
        (package_whisper(write_whisper(tmp_path / "w"), extras), "model.bin")
        if kind == "whisper"
        else (package_piper(write_voice(tmp_path / "joe.onnx"), extras), "joe.onnx")
    )
    config = parse_config(draft.config_bytes, draft.manifest_value.config.media_type)
    placement = place_layers(draft.manifest_value, config)

    assert [str(path) for path in placement.cast(config.format).weights] == [name]
    assert {str(place.path) for place in placement.files} == set(_layers(draft))
    assert config.architecture == draft.config.architecture


def test_a_model_keeps_its_parts_from_form_to_form(tmp_path: Path) -> None:
    """There and back again, the file of the weights has the type that it had."""
    draft = package_whisper(write_whisper(tmp_path / "w"))
    packed, config = edited(draft.manifest_value, draft.config_bytes, Changes(form=Form.CNCF))
    back, _ = edited(packed, config, Changes(form=Form.DOCKER))

    assert {layer.media_type for layer in packed.layers} == {kinds.CNCF_WEIGHT, kinds.CNCF_WEIGHT_CONFIG}
    assert back.layers[0].media_type == kinds.CTRANSLATE2_LAYER


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A folder without a tokenizer, a voice without its JSON, a path that is no folder."""
    folder = write_whisper(tmp_path / "whisper")
    (folder / "tokenizer.json").unlink()
    voice = write_voice(tmp_path / "joe.onnx")
    voice.with_name("joe.onnx.json").unlink()

    with pytest.raises(UnsupportedModel, match=r"`tokenizer\.json` is missing"):
        package_whisper(folder)
    with pytest.raises(UnsupportedModel, match=r"`joe\.onnx\.json` is missing"):
        package_piper(voice)
    with pytest.raises(UnsupportedModel, match=r"`model\.bin` is missing"):
        package_whisper(tmp_path)
    with pytest.raises(InvalidRequest, match="not a directory"):
        package_whisper(folder / "model.bin")


def test_a_model_for_something_else_is_refused(tmp_path: Path) -> None:
    """One of CTranslate2 that translates, an ONNX file that embeds."""
    folder = write_whisper(tmp_path / "whisper")
    (folder / "model.bin").write_bytes(ctranslate2_model({}, spec="TransformerSpec"))
    voice = write_voice(tmp_path / "joe.onnx")
    voice.with_name("joe.onnx.json").write_text(json.dumps({"audio": {}}))

    with pytest.raises(UnsupportedModel, match="`TransformerSpec`"):
        package_whisper(folder)
    with pytest.raises(UnsupportedModel, match="not a voice of Piper"):
        package_piper(voice)
