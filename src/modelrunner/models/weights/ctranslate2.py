"""A model file of CTranslate2, read for its variables without their data and without trusting a length in it.

Source: OpenNMT/CTranslate2, `python/ctranslate2/specs/model_spec.py`, `_serialize`, binary version 6.
"""

import io
import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelrunner.errors import DamagedWeights, InvalidRequest, UnsupportedModel
from modelrunner.models.weights.headers import HeaderIncomplete

WEIGHTS = "model.bin"
WHISPER = "WhisperSpec"
# What is read of a folder with a Whisper model; one of the two vocabularies.
# Source: SYSTRAN/faster-whisper, `faster_whisper/utils.py`, what `download_model` asks for.
READ_BY_WHISPER = frozenset(
    {"config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt"}
)
VOCABULARIES = frozenset({"vocabulary.json", "vocabulary.txt"})

_VERSIONS = (4, 5, 6)  # those that say of each variable how long it is
_TYPES = {0: "float32", 1: "int8", 2: "int16", 3: "int32", 4: "float16", 5: "bfloat16"}
_MOST_VARIABLES, _MOST_DIMENSIONS = 1 << 16, 8
_HEAD = 1 << 12  # bytes; what stands before the first variable has a few dozen
_FEW = 1 << 10  # numbers; a variable of fewer is a setting, whose type says nothing of the weights'


@dataclass(frozen=True, slots=True)
class CTranslate2Header:
    """What a model says of itself. `spec` is its kind, such as `WhisperSpec`.

    `types` counts the numbers of each type, and `shapes` says how those are laid out, by variable, settings
    aside; `file_bytes` is the file's own length.
    """

    spec: str
    types: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    file_bytes: int

    @property
    def parameters(self) -> int:
        """How many numbers the model has."""
        return sum(self.types.values())

    @property
    def type(self) -> str:
        """The type that most of them have."""
        return max(self.types, key=lambda name: self.types[name], default="")


def read_header(path: Path) -> CTranslate2Header:
    """Read what stands before each variable's data, which is skipped.

    Raises:
        UnsupportedModel: it is no model of CTranslate2, or of a version that is not known here.
        DamagedWeights: it is cut short.
        InvalidRequest: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            return _read(_Reader(file, size, path))
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{path}`: {exc.strerror or exc}") from exc


def parse_spec(head: bytes, size: int, name: str) -> CTranslate2Header:
    """Read the kind of a model from the first bytes of a file of `size`; nothing is known of its variables.

    Raises:
        UnsupportedModel: it is no model of CTranslate2, or of a version that is not known here.
        HeaderIncomplete: there are too few bytes.
    """
    if len(head) < min(size, _HEAD):
        raise HeaderIncomplete(min(size, _HEAD))
    reader = _Reader(io.BytesIO(head), size, Path(name))
    return CTranslate2Header(_spec(reader), {}, {}, size)


class _Reader:
    """Takes numbers and texts from a file, and notices when it is too short for them."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self._file = file
        self.size = size
        self.path = path

    def numbers(self, layout: str) -> tuple[int, ...]:
        """Read unsigned numbers, laid out as `struct` says, low byte first."""
        return struct.unpack(f"<{layout}", self._take(struct.calcsize(f"<{layout}")))

    def text(self) -> str:
        """Read a text, which ends with a zero."""
        (length,) = self.numbers("H")
        return self._take(length).rstrip(b"\0").decode("utf-8", "replace")

    def skip(self, length: int) -> None:
        """Pass over that many bytes."""
        if self._file.tell() + length > self.size:
            raise self._short()
        self._file.seek(length, 1)

    def _take(self, length: int) -> bytes:
        found = self._file.read(length)
        if len(found) < length:
            raise self._short()
        return found

    def _short(self) -> DamagedWeights:
        return DamagedWeights(f"truncated: `{self.path}` ends in the middle", hint="download it again")


def _none(reader: _Reader) -> UnsupportedModel:
    return UnsupportedModel(
        f"not a model of CTranslate2: `{reader.path}`",
        hint="`ct2-transformers-converter` makes one; a `pytorch_model.bin` is none",
    )


def _spec(reader: _Reader) -> str:
    if reader.size < 8 or reader.numbers("I")[0] not in _VERSIONS:
        raise _none(reader)
    spec = reader.text()
    if not spec.isidentifier():
        raise _none(reader)
    return spec


def _read(reader: _Reader) -> CTranslate2Header:
    spec = _spec(reader)
    _revision, count = reader.numbers("II")
    if count > _MOST_VARIABLES:
        raise _none(reader)
    types: Counter[str] = Counter()
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(count):
        name = reader.text()
        (rank,) = reader.numbers("B")
        if rank > _MOST_DIMENSIONS:
            raise _none(reader)
        shape = reader.numbers(f"{rank}I")
        elements = math.prod(shape)
        kind, length = reader.numbers("BI")
        reader.skip(length)
        if elements >= _FEW:
            types[_TYPES.get(kind, "unknown")] += elements
            shapes[name] = shape
    return CTranslate2Header(spec, types, shapes, reader.size)
