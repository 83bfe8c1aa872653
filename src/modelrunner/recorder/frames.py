"""How the daemon and its recorder speak: messages with their length before them, over pipes."""

import struct
from typing import BinaryIO, TypeVar

import msgspec

from modelrunner.recorder.values import Noted, Report, Told

T = TypeVar("T")
LENGTH = struct.Struct("<I")
_NOTES = struct.Struct(">7sBIBI")  # the beginning of `Notes`, as MessagePack has it: an array of three
_ARRAY, _UINT32, _ARRAY32 = b"\x93\xa5notes", 0xCE, 0xDD
_HEAD = LENGTH.size + _NOTES.size
_encoder = msgspec.msgpack.Encoder()
_told: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)
_reports = msgspec.msgpack.Decoder(Report)


class Batch:
    """Notes that go together, each written down when it comes, so that what it was made of can be let go.

    `held` is how many bytes they are taken for.
    """

    __slots__ = ("_raw", "count", "held")

    def __init__(self) -> None:
        self._raw = bytearray(_HEAD)
        self.count = 0
        self.held = 0

    def add(self, noted: Noted, size: int) -> None:
        """Write a note down.

        Raises:
            UnicodeEncodeError: it has half of a surrogate pair; nothing of it is in the batch.
        """
        before = len(self._raw)
        try:
            _encoder.encode_into(noted, self._raw, -1)
        except UnicodeEncodeError:
            del self._raw[before:]
            raise
        self.count += 1
        self.held += size

    def framed(self, number: int) -> bytearray:
        """The message of all of them: `Notes`, with its number. There is nothing to be added any more."""
        LENGTH.pack_into(self._raw, 0, len(self._raw) - LENGTH.size)
        _NOTES.pack_into(self._raw, LENGTH.size, _ARRAY, _UINT32, number, _ARRAY32, self.count)
        return self._raw


def framed(message: Told | Report) -> bytes:
    """Write a message."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def read_told(pipe: BinaryIO) -> Told | None:
    """Read what the daemon says; None when it says no more."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    [length] = LENGTH.unpack(head)
    body = pipe.read(length)
    return _told.decode(body) if len(body) == length else None


def report_of(body: bytes) -> Report:
    """Read a report without its length."""
    return _reports.decode(body)
