"""How the daemon and its recorder speak: messages with their length before them, over pipes."""

import struct
from typing import BinaryIO, TypeVar

import msgspec

from modelrunner.recorder.values import Report, Told

T = TypeVar("T")
LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()
_told: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)
_reports = msgspec.msgpack.Decoder(Report)


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
