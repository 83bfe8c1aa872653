"""Models that hear and speak, as small as they can be: right in form, and without anything in them."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

VOICE = {
    "audio": {"sample_rate": 22050, "quality": "medium"},
    "espeak": {"voice": "en-us"},
    "language": {"code": "en_US"},
    "speaker_id_map": {"joe": 0, "ann": 1},
    "phoneme_id_map": {"_": [0]},
}


def ctranslate2_model(
    variables: Mapping[str, tuple[tuple[int, ...], int, int]], *, spec: str = "WhisperSpec", version: int = 6
) -> bytes:
    """Write a model; a variable has dimensions, the number of its type, and the bytes of each of its numbers.

    Source: OpenNMT/CTranslate2, `python/ctranslate2/specs/model_spec.py`, `_serialize`.
    """
    whole = struct.pack("<I", version) + _text(spec) + struct.pack("<II", 3, len(variables))
    for name, (shape, kind, width) in variables.items():
        count = 1
        for length in shape:
            count *= length
        whole += _text(name) + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, count * width)
        whole += bytes(count * width)
    return whole + struct.pack("<I", 0)


def write_whisper(folder: Path) -> Path:
    """Write a folder with the files of a Whisper model: 8,192 numbers in 16 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = {"decoder/weight": ((64, 128), 4, 2), "decoder/scale": ((), 1, 1)}
    (folder / "model.bin").write_bytes(ctranslate2_model(variables))
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "vocabulary.txt").write_text("a\n")
    return folder


def write_voice(path: Path) -> Path:
    """Write an ONNX file with an empty graph, and the JSON of a voice beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x08\x09" + b"\x12\x04test" + b"\x3a\x80\x01" + bytes(128))
    path.with_name(f"{path.name}.json").write_text(json.dumps(VOICE))
    return path


def _text(text: str) -> bytes:
    raw = text.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw
