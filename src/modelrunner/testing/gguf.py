"""Small GGUF files for tests: valid ones, and such that are wrong in one chosen way."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelrunner.models.weights.ggml import TENSOR_TYPES

ALIGNMENT = 32  # bytes; what a file without `general.alignment` has

_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class Typed:
    """A value with its GGUF type number said outright: `Typed(2, 4660)` is a uint16."""

    type: int
    value: bool | float | str


Scalar = bool | int | float | str | Typed
Value = Scalar | Sequence["Value"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written, filled with zeros; `type` is a number of `TENSOR_TYPES`."""

    name: str
    dims: tuple[int, ...]
    type: int = 0

    @property
    def bytes(self) -> int:
        """The length of the data."""
        kind = TENSOR_TYPES[self.type]
        elements = 1
        for dim in self.dims:
            elements *= dim
        return elements // kind.elements * kind.bytes if kind.elements else 0


def tiny_gguf(path: Path, **metadata: Value) -> Path:
    """Write a valid GGUF file of about 400 bytes and return its path.

    It says `general.architecture` is `llama`; `metadata` adds to the header or replaces what is there:
    `tiny_gguf(path, **{"llama.context_length": 512})`. Files with different metadata have different digests.
    """
    values: dict[str, Value] = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "general.file_type": 1,
        "llama.context_length": 2048,
        **metadata,
    }
    return write_gguf(
        path, values, [Tensor("token_embd.weight", (8, 4), 1), Tensor("output.weight", (8, 4), 1)]
    )


def write_gguf(
    path: Path,
    metadata: Mapping[str, Value],
    tensors: Sequence[Tensor] = (),
    *,
    version: int = 3,
    big_endian: bool = False,
) -> Path:
    """Write a GGUF file with this header, and zeros as the tensors' data; return its path."""
    path.write_bytes(gguf_bytes(metadata, tensors, version=version, big_endian=big_endian))
    return path


def gguf_bytes(
    metadata: Mapping[str, Value],
    tensors: Sequence[Tensor] = (),
    *,
    version: int = 3,
    big_endian: bool = False,
) -> bytes:
    """Make the bytes of a GGUF file; see `write_gguf`."""
    writer = _Writer(">" if big_endian else "<", version)
    out = bytearray(b"GGUF" + writer.number("I", version))
    out += writer.length(len(tensors)) + writer.length(len(metadata))
    for key, value in metadata.items():
        out += writer.string(key) + writer.value(value)
    stated = metadata.get("general.alignment")
    alignment = stated if isinstance(stated, int) and 0 < stated < 1 << 16 else ALIGNMENT
    offset = 0
    for tensor in tensors:
        out += writer.string(tensor.name) + writer.number("I", len(tensor.dims))
        out += b"".join(writer.length(dim) for dim in tensor.dims)
        out += writer.number("I", tensor.type) + writer.number("Q", offset)
        offset += _padded(tensor.bytes, alignment)
    out += bytes(_padded(len(out), alignment) - len(out) + offset)
    return bytes(out)


def _padded(count: int, alignment: int) -> int:
    return -(-count // alignment) * alignment


class _Writer:
    """Encodes values in one byte order; lengths have four bytes in version 1, eight later."""

    def __init__(self, order: str, version: int) -> None:
        self._order = order
        self._length = "I" if version == 1 else "Q"

    def number(self, code: str, value: float) -> bytes:
        return struct.pack(self._order + code, value)

    def length(self, value: int) -> bytes:
        return self.number(self._length, value)

    def string(self, text: str) -> bytes:
        data = text.encode()
        return self.length(len(data)) + data

    def value(self, value: Value) -> bytes:
        kind = _kind(value)
        return self.number("I", kind) + self._payload(kind, value)

    def _payload(self, kind: int, value: Value) -> bytes:
        bare = value.value if isinstance(value, Typed) else value
        if isinstance(bare, str):
            return self.string(bare)
        if isinstance(bare, bool | int | float):
            return self.number(_CODES[kind], bare)
        inner = _kind(bare[0]) if bare else 4
        head = self.number("I", inner) + self.length(len(bare))
        return head + b"".join(self._payload(inner, item) for item in bare)


def _kind(value: Value) -> int:
    """Choose the type as converters do: uint32 for whole numbers, float32 for the others."""
    match value:
        case Typed():
            return value.type
        case bool():
            return 7
        case int():
            return 5 if value < 0 else 4
        case float():
            return 6
        case str():
            return _STRING
        case _:
            return _ARRAY
