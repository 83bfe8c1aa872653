"""The header of a GGUF file: its metadata and its tensors, read without trusting a count or a length in it.

What the header means for a model is the job of `gguf_config.py`.
Source: the GGUF specification (ggml, docs/gguf.md), versions 1 to 3.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelrunner.errors import DamagedWeights, UnsupportedModel
from modelrunner.models.weights.foreign import HEAD_BYTES, recognise
from modelrunner.models.weights.ggml import TENSOR_TYPES
from modelrunner.models.weights.headers import HeaderIncomplete, read_growing

MAX_HEADER_BYTES = 128 << 20  # a vocabulary of a million words takes a quarter of it
MAX_STRING_BYTES = 16 << 20  # the longest that occur are chat templates, of some 100 KiB
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_DIMENSIONS = 8  # ggml itself stops at 4
MAX_ELEMENTS = 1 << 63  # of one tensor; ggml counts them in a signed 64-bit integer
MAX_NESTING = 4  # arrays within arrays
MAX_NESTED = 1 << 16
MAX_ALIGNMENT = 1 << 20  # bytes
MAX_FILE_BYTES = 1 << 50
KEPT_ITEMS = 50  # longer arrays of texts are vocabularies and the like: counted, not kept
KEPT_NUMBERS = 1 << 10  # of an array with one for each layer; the scores of a vocabulary are more
DEFAULT_ALIGNMENT = 32  # bytes
# The name of one file of several: prefix, number, count. Source: llama.cpp `llama_split_path`.
SHARD_NAME = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)

_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array that is too long to be kept: how many items it has."""

    count: int


Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...] | LongArray


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's place: `type` is a number of ggml's, `offset` is in bytes from the start of the data."""

    name: str
    dims: tuple[int, ...]
    type: int
    offset: int

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """The length of its data; 0 when the type is unknown or retired, and nothing can be said."""
        kind = TENSOR_TYPES.get(self.type)
        return -(-self.elements // kind.elements) * kind.bytes if kind and kind.elements else 0


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What stands before the data. `header_bytes`, `data_start` and `file_bytes` are in bytes.

    The data begins at `data_start`, the first multiple of `alignment` at or after `header_bytes`.
    """

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    header_bytes: int
    alignment: int
    file_bytes: int

    @property
    def data_start(self) -> int:
        """Where the tensors' data begins."""
        return -(-self.header_bytes // self.alignment) * self.alignment


def read_header(path: Path) -> GGUFHeader:
    """Read the header and check that the file is long enough for every tensor in it.

    Raises:
        UnsupportedModel: no GGUF file, a truncated one, or one whose header makes no sense.
        InvalidRequest: the file cannot be read at all.
    """
    return read_growing(path, parse_header)


def parse_header(head: bytes, file_bytes: int, name: str) -> GGUFHeader:
    """Read the header from the first bytes of a file of `file_bytes`; `name` is for messages.

    Raises:
        HeaderIncomplete: more bytes are needed.
        UnsupportedModel: see `read_header`.
    """
    return _Reader(head, file_bytes, name).header()


def shards(path: Path) -> tuple[Path, ...]:
    """List all files of a model, the first shard first, given any of them; a single file is its own list.

    Raises:
        UnsupportedModel: a shard is missing.
    """
    match = SHARD_NAME.fullmatch(path.name)
    if match is None:
        return (path,)
    prefix, number, count = match[1], int(match[2]), int(match[3])
    if not 1 <= number <= count:
        raise UnsupportedModel(f"no such shard: `{path}`", hint=f"a set of {count} is numbered from 00001")
    found: list[Path] = []
    for index in range(1, count + 1):
        shard = path.with_name(f"{prefix}-{index:05d}-of-{count:05d}.gguf")
        if not shard.is_file():
            raise UnsupportedModel(
                f"missing shard: `{shard}`", hint=f"put all {count} shards into the same directory"
            )
        found.append(shard)
    return tuple(found)


class _Reader:
    """Walks through a header once; `_need` knows where the bytes that are here end, and the file."""

    def __init__(self, head: bytes, size: int, name: str) -> None:
        self._path = name
        self._size = size
        self._buffer = head
        self._position = 0
        self._nested = 0
        self._set_layout("<", 3)

    def header(self) -> GGUFHeader:
        version = self._version()
        tensor_count = self._count("tensors", MAX_TENSORS)
        key_count = self._count("keys", MAX_KEYS)
        metadata: dict[str, Value] = {}
        for _ in range(key_count):
            key = self._string()
            metadata[key] = self._value()
        tensors = tuple(self._tensor() for _ in range(tensor_count))
        alignment = self._alignment(metadata)
        header = GGUFHeader(version, metadata, tensors, self._position, alignment, self._size)
        self._check_end(header)
        return header

    def _set_layout(self, order: str, version: int) -> None:
        """Set the byte order, and the width of lengths: four bytes in version 1, eight later."""
        self._order = order
        self._u32 = struct.Struct(f"{order}I")
        self._u64 = struct.Struct(f"{order}Q")
        self._length = self._u32 if version == 1 else self._u64

    def _version(self) -> int:
        if len(self._buffer) < min(self._size, HEAD_BYTES):
            raise HeaderIncomplete(min(self._size, HEAD_BYTES))
        start = self._buffer[:HEAD_BYTES]
        if start[:4] not in {b"GGUF", b"FUGG"}:
            meaning = recognise(start)
            raise UnsupportedModel(f"not a GGUF file: `{self._path}` ({meaning.what})", hint=meaning.hint)
        self._take(4)
        version = self._integer(self._u32)
        order = "<"
        # A big-endian file has the four letters in either order; its version tells for certain.
        if version & 0xFFFF == 0:
            version, order = int.from_bytes(version.to_bytes(4, "little"), "big"), ">"
        if not 1 <= version <= 3:
            raise UnsupportedModel(
                f"unsupported version {version} of GGUF: `{self._path}`", hint="versions 1 to 3 can be read"
            )
        self._set_layout(order, version)
        return version

    def _tensor(self) -> Tensor:
        name = self._string()
        count = self._integer(self._u32)
        if count > MAX_DIMENSIONS:
            raise self._broken(f"a tensor with {count} dimensions")
        dims = tuple(self._integer(self._length) for _ in range(count))
        if math.prod(dims) > MAX_ELEMENTS:
            raise self._broken("a tensor with more numbers than can be counted")
        return Tensor(name, dims, self._integer(self._u32), self._integer(self._u64))

    def _value(self) -> Value:
        kind = self._integer(self._u32)
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(1)
        return self._numbers(kind, 1)[0]

    def _array(self, depth: int) -> tuple[Scalar, ...] | LongArray:
        """Read an array, or step over a long one. Arrays within arrays leave nothing, as in the reference."""
        kind = self._integer(self._u32)
        count = self._count("items", MAX_HEADER_BYTES)
        if kind == _ARRAY:
            self._skip_arrays(count, depth + 1)
            return () if count <= KEPT_ITEMS else LongArray(count)
        if kind == _STRING and count > KEPT_ITEMS:
            self._skip_strings(count)
            return LongArray(count)
        if kind == _STRING:
            return tuple(self._string() for _ in range(count))
        if count > KEPT_NUMBERS:
            self._take(count * self._width(kind))
            return LongArray(count)
        return self._numbers(kind, count)

    def _numbers(self, kind: int, count: int) -> tuple[Scalar, ...]:
        start = self._take(count * self._width(kind))
        return struct.unpack_from(f"{self._order}{count}{_CODES[kind]}", self._buffer, start)

    def _width(self, kind: int) -> int:
        code = _CODES.get(kind)
        if code is None:
            raise self._broken(f"a value of type {kind}")
        return struct.calcsize(f"={code}")

    def _skip_arrays(self, count: int, depth: int) -> None:
        self._nested += count
        if depth > MAX_NESTING or self._nested > MAX_NESTED:
            raise self._broken("arrays within arrays without end")
        for _ in range(count):
            self._array(depth)

    def _skip_strings(self, count: int) -> None:
        """Step over strings without making them; a vocabulary has up to a million."""
        unpack, width, buffer = self._length.unpack_from, self._length.size, self._buffer
        position = self._position
        for _ in range(count):
            if position + width > len(buffer):
                self._need(position + width)
            (length,) = unpack(buffer, position)
            if length > MAX_STRING_BYTES:
                raise self._broken(f"a string of {length} bytes")
            position += width + length
        self._take(position - self._position)

    def _string(self) -> str:
        length = self._count("bytes in a string", MAX_STRING_BYTES)
        start = self._take(length)
        return self._buffer[start : start + length].decode("utf-8", "replace")

    def _count(self, what: str, most: int) -> int:
        count = self._integer(self._length)
        if count > most:
            raise self._broken(f"{count} {what}")
        return count

    def _integer(self, layout: struct.Struct) -> int:
        value: int = layout.unpack_from(self._buffer, self._take(layout.size))[0]
        return value

    def _take(self, count: int) -> int:
        """Step over the next `count` bytes, which must be here; return where they begin."""
        start = self._position
        end = start + count
        if end > len(self._buffer):
            self._need(end)
        self._position = end
        return start

    def _need(self, end: int) -> None:
        """Ask for the file's bytes up to `end`."""
        if end > self._size:
            raise self._truncated(f"at least {_missing(end - self._size)}")
        if end > MAX_HEADER_BYTES:
            raise self._broken(f"more than {MAX_HEADER_BYTES >> 20} MiB")
        if end > len(self._buffer):
            raise HeaderIncomplete(end)

    def _alignment(self, metadata: Mapping[str, Value]) -> int:
        value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(value, int) or not 0 < value <= MAX_ALIGNMENT:
            raise self._broken("a senseless alignment")
        return value

    def _check_end(self, header: GGUFHeader) -> None:
        """Refuse a file whose data ends before its last tensor does."""
        ends = (header.data_start + tensor.offset + tensor.bytes for tensor in header.tensors)
        missing = max(ends, default=0) - self._size
        if missing > MAX_FILE_BYTES:
            raise self._broken("a tensor that no file has room for")
        if missing > 0:
            raise self._truncated(_missing(missing))

    def _truncated(self, how: str) -> DamagedWeights:
        return DamagedWeights(
            f"truncated GGUF file: `{self._path}` ({how})", hint="the file is incomplete; download it again"
        )

    def _broken(self, claim: str) -> DamagedWeights:
        return DamagedWeights(
            f"broken GGUF file: `{self._path}` (its header has {claim})",
            hint="the file is damaged; download it again",
        )


def _missing(count: int) -> str:
    return "1 byte is missing" if count == 1 else f"{count} bytes are missing"
