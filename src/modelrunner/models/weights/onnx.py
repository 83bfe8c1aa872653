"""Whether a file is a whole ONNX model; what is in its graph is the engine's business.

Source: onnx/onnx, `onnx/onnx.proto`, `ModelProto`; Protocol Buffers, "Encoding".
"""

from pathlib import Path
from typing import BinaryIO

from modelrunner.errors import DamagedWeights, InvalidRequest, UnsupportedModel

_GRAPH = 7  # the number of the field that has the model
_FIELDS = range(1, 64)  # today the last is 26
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check(path: Path) -> int:
    """Walk the outermost fields of a model to the end of its file; its size in bytes.

    Raises:
        UnsupportedModel: it is no ONNX model.
        DamagedWeights: it is cut short.
        InvalidRequest: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            _walk(file, size, path)
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{path}`: {exc.strerror or exc}") from exc
    return size


def _walk(file: BinaryIO, size: int, path: Path) -> None:
    none = UnsupportedModel(f"not an ONNX model: `{path}`", hint="a voice of Piper has a file in ONNX")
    found = False
    while file.tell() < size:
        tag = _varint(file)
        kind, number = tag & 7, tag >> 3
        if tag < 0 or number not in _FIELDS or kind not in {_VARINT, _FIXED64, _BYTES, _FIXED32}:
            raise none
        found = found or (number == _GRAPH and kind == _BYTES)
        length = {_VARINT: 0, _FIXED64: 8, _FIXED32: 4}.get(kind)
        if length is None or kind == _VARINT:
            value = _varint(file)
            if value < 0:
                raise none
            length = value if kind == _BYTES else 0
        if file.tell() + length > size:
            if found:
                raise DamagedWeights(f"truncated: `{path}` ends in the middle", hint="download it again")
            raise none
        file.seek(length, 1)
    if not found:
        raise none


def _varint(file: BinaryIO) -> int:
    """Read a number of seven bits a byte, low ones first; -1 where there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return -1
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    return -1
