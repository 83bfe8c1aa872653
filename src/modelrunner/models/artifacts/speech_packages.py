"""The sources of models that hear and speak: Whisper for CTranslate2, and voices of Piper.

Of a folder only the files go along that the engine reads, so that nothing else gets into an artifact.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.artifacts.packages import NOTHING_ELSE, Extras, assembled, plain
from modelrunner.models.artifacts.packaging import Draft, File, Hashing, Tell, hash_files, ignore
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import FileKind, Format, classify
from modelrunner.models.description.safetensors_config import parameters_text, size_text
from modelrunner.models.weights import ctranslate2, onnx
from modelrunner.models.weights.ctranslate2 import READ_BY_WHISPER, VOCABULARIES, WEIGHTS, WHISPER
from modelrunner.oci.manifest import UNREADABLE

_MOST_JSON = 16 << 20  # bytes


def package_whisper(
    root: Path, extras: Extras = NOTHING_ELSE, *, tell: Tell = ignore, hashing: Hashing = hash_files
) -> Draft:
    """Package a folder with a Whisper model for CTranslate2, in Docker's form 0.2.

    Raises:
        UnsupportedModel: it is none, or a file is missing or damaged.
        InvalidRequest: it cannot be read.
    """
    extras.check()
    if not root.is_dir():
        raise InvalidRequest(f"not a directory: `{root}`", hint=f"name the folder that has `{WEIGHTS}` in it")
    weights = root / WEIGHTS
    if not weights.is_file():
        raise UnsupportedModel(
            f"no Whisper model for CTranslate2: `{WEIGHTS}` is missing in `{root}`",
            hint="`ct2-transformers-converter` makes one of a model in safetensors",
        )
    header = ctranslate2.read_header(weights)
    if header.spec != WHISPER:
        raise UnsupportedModel(f"not a Whisper model: `{weights}` is a `{header.spec[:60]}`")
    _document(root / "config.json")
    names = {path.name for path in root.iterdir() if path.is_file()}
    missing = "tokenizer.json" if "tokenizer.json" not in names else None
    if not names & VOCABULARIES:
        missing = "vocabulary.json"
    if missing:
        raise UnsupportedModel(
            f"incomplete Whisper model: `{missing}` is missing in `{root}`",
            hint="convert it with `ct2-transformers-converter --copy_files tokenizer.json`",
        )
    config = ModelConfig(
        format=Format.CTRANSLATE2,
        architecture="whisper",
        parameters=parameters_text(header.parameters),
        quantization=header.type,
        size=size_text(header.file_bytes),
        metadata={"spec": header.spec},
    )
    others = [root / name for name in sorted(names) if name in READ_BY_WHISPER or _is_license(name)]
    files = [plain(weights, kinds.CTRANSLATE2_LAYER), *map(_beside, others)]
    return assembled(files, config, extras, tell, hashing, config_type=kinds.CONFIG_V02)


def package_piper(
    path: Path, extras: Extras = NOTHING_ELSE, *, tell: Tell = ignore, hashing: Hashing = hash_files
) -> Draft:
    """Package a voice of Piper: an ONNX file, and the JSON of the same name beside it.

    Raises:
        UnsupportedModel: it is no ONNX file or no voice, or its JSON is missing.
        InvalidRequest: it cannot be read.
    Source: OHF-Voice/piper1-gpl, `docs/TRAINING.md` and `src/piper/config.py`.
    """
    extras.check()
    size = onnx.check(path)
    beside = path.with_name(f"{path.name}.json")
    described = _document(beside)
    audio, ids = described.get("audio"), described.get("phoneme_id_map")
    rate = audio.get("sample_rate") if isinstance(audio, dict) else None
    if not isinstance(rate, int) or not isinstance(ids, dict):
        raise UnsupportedModel(
            f"not a voice of Piper: `{beside}` has no `audio.sample_rate` or no `phoneme_id_map`",
            hint="take the JSON that was published with the voice",
        )
    config = ModelConfig(
        format=Format.ONNX,
        architecture="piper",
        size=size_text(size),
        metadata={"sample_rate": str(rate), **_voice(described)},
    )
    files = [plain(path, kinds.ONNX_LAYER), plain(beside, kinds.FILE_LAYER)]
    files += [_beside(each) for each in sorted(path.parent.glob("MODEL_CARD*")) if each.is_file()]
    return assembled(files, config, extras, tell, hashing, config_type=kinds.CONFIG_V02)


def _voice(described: Mapping[str, Any]) -> dict[str, str]:
    """What lists show of a voice, as far as its JSON says it."""
    espeak, language, audio = (described.get(key) for key in ("espeak", "language", "audio"))
    speakers = described.get("speaker_id_map")
    found = {
        "language": language.get("code") if isinstance(language, dict) else None,
        "espeak_voice": espeak.get("voice") if isinstance(espeak, dict) else None,
        "quality": audio.get("quality") if isinstance(audio, dict) else None,
        "speakers": ",".join(sorted(map(str, speakers))[:100]) if isinstance(speakers, dict) else None,
    }
    return {key: text for key, text in found.items() if isinstance(text, str) and text}


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_JSON:
            raise UnsupportedModel(f"`{path}` is larger than {_MOST_JSON >> 20} MiB")
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError as exc:
        raise UnsupportedModel(
            f"incomplete model: `{path.name}` is missing in `{path.parent}`",
            hint="both files of the model have to be in one folder",
        ) from exc
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{path}`: {exc.strerror or exc}") from exc
    except UNREADABLE as exc:
        raise UnsupportedModel(f"not a JSON object: `{path}`") from exc


def _beside(path: Path) -> File:
    return plain(path, kinds.LICENSE_LAYER if _is_license(path.name) else kinds.FILE_LAYER)


def _is_license(name: str) -> bool:
    return classify(name) is FileKind.LICENSE
