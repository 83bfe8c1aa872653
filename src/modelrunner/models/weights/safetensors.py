"""The header of a safetensors file, read without trusting a length or an offset in it.

Source: huggingface/safetensors, README, "Format", and the checks of its own reader: eight bytes with the
length of a JSON object, that object, then the tensors one behind the other to the end of the file.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelrunner.errors import DamagedWeights, UnsupportedModel
from modelrunner.models.weights.foreign import HEAD_BYTES, recognise
from modelrunner.models.weights.headers import HeaderIncomplete, read_growing
from modelrunner.oci.manifest import UNREADABLE

MAX_HEADER_BYTES = 100_000_000  # the official reader's
MAX_DIMENSIONS = 64
MAX_ELEMENTS = 1 << 63  # of one tensor; the official reader counts them in 64 bits, too
# The name of one file of several. Source: the names that `transformers` saves under.
SHARD_NAME = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.safetensors", re.DOTALL)
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 8),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

_LENGTH = 8  # bytes of the number that says how long the object is
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class SafetensorsTensor:
    """One tensor; its data is from `start` to `stop`, in bytes from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What stands before the data; the tensors in the order of their data. Sizes are in bytes."""

    metadata: Mapping[str, str]
    tensors: tuple[SafetensorsTensor, ...]
    header_bytes: int
    file_bytes: int


class _Entry(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_header(path: Path) -> SafetensorsHeader:
    """Read the header and check that the file is as long as its tensors.

    Raises:
        UnsupportedModel: no safetensors file, a truncated one, or one whose header makes no sense.
        InvalidRequest: the file cannot be read at all.
    """
    return read_growing(path, parse_header)


def parse_header(head: bytes, file_bytes: int, name: str) -> SafetensorsHeader:
    """Read the header from the first bytes of a file of `file_bytes`; `name` is for messages.

    Raises:
        HeaderIncomplete: more bytes are needed.
        UnsupportedModel: see `read_header`.
    """
    if file_bytes < _LENGTH:
        raise _truncated(name, _LENGTH - file_bytes)
    if len(head) < _LENGTH:
        raise HeaderIncomplete(_LENGTH)
    length = int.from_bytes(head[:_LENGTH], "little")
    if length > MAX_HEADER_BYTES or length < 2 or head[_LENGTH : _LENGTH + 1] not in {b"{", b""}:
        meaning = recognise(head[:HEAD_BYTES])
        raise UnsupportedModel(f"not a safetensors file: `{name}` ({meaning.what})", hint=meaning.hint)
    end = _LENGTH + length
    if end > file_bytes:
        raise _truncated(name, end - file_bytes)
    if end > len(head):
        raise HeaderIncomplete(end)
    try:
        document = msgspec.json.decode(head[_LENGTH:end], type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(document.pop(_METADATA, b"{}"), type=dict[str, str])
        tensors = [_tensor(key, msgspec.json.decode(raw, type=_Entry)) for key, raw in document.items()]
    except UNREADABLE as exc:
        raise _broken(name, f"no usable description of its tensors: {exc}") from exc
    tensors.sort(key=lambda tensor: (tensor.start, tensor.stop))
    _check(tensors, file_bytes - end, name)
    return SafetensorsHeader(metadata, tuple(tensors), end, file_bytes)


def shards(path: Path) -> tuple[Path, ...]:
    """List all files of a model, the first shard first, given any of them; a single file is its own list.

    Raises:
        UnsupportedModel: a shard is missing.
    """
    match = SHARD_NAME.fullmatch(path.name)
    if match is None:
        return (path,)
    count = int(match[3])
    names = (f"{match[1]}-{index:05d}-of-{count:05d}.safetensors" for index in range(1, count + 1))
    found = [shard for name in names if (shard := path.with_name(name)).is_file()]
    if not found or len(found) < count:
        raise UnsupportedModel(
            f"incomplete shard set: found {len(found)} of {count} shards for `{match[1]}`",
            hint="put all of them into the same directory",
        )
    return tuple(found)


def _tensor(name: str, entry: _Entry) -> SafetensorsTensor:
    return SafetensorsTensor(name, entry.dtype, tuple(entry.shape), *entry.data_offsets)


def _check(tensors: list[SafetensorsTensor], data_bytes: int, name: str) -> None:
    """Refuse tensors that overlap, leave gaps, end elsewhere than the file, or have another length."""
    position = 0
    for tensor in tensors:
        shown = tensor.name[:100]
        if tensor.start != position or tensor.stop < tensor.start:
            raise _broken(name, f"tensor `{shown}` at byte {tensor.start} instead of {position}")
        shape = tensor.shape
        if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape) or tensor.elements > MAX_ELEMENTS:
            raise _broken(name, f"tensor `{shown}` with a shape that cannot be")
        bits = BITS.get(tensor.dtype)
        if bits is not None and tensor.elements * bits != 8 * (tensor.stop - tensor.start):
            raise _broken(name, f"tensor `{shown}` with other than the bytes of its shape")
        position = tensor.stop
    if position > data_bytes:
        raise _truncated(name, position - data_bytes)
    if position < data_bytes:
        raise _broken(name, f"{data_bytes - position} bytes that belong to no tensor")


def _truncated(name: str, missing: int) -> DamagedWeights:
    return DamagedWeights(
        f"truncated safetensors file: `{name}` ({missing} bytes are missing)",
        hint="the file is incomplete; download it again",
    )


def _broken(name: str, claim: str) -> DamagedWeights:
    return DamagedWeights(
        f"broken safetensors file: `{name}` (its header has {claim})",
        hint="the file is damaged; download it again",
    )
