"""How the daemon and its recorder speak: messages with their length before them, over pipes."""

import struct
from typing import BinaryIO

import msgspec

from modelrunner.recorder.values import Notes, Report, Seen, Told

LENGTH = struct.Struct("<I")
_NOTES = b"\x94\xa5notes"  # how `Notes` begins, as MessagePack has it: an array of four, the first its tag
_encoder = msgspec.msgpack.Encoder()
_told: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)
_notes = msgspec.msgpack.Decoder(Notes)
_reports = msgspec.msgpack.Decoder(Report)


def framed(message: Told | Report) -> bytearray:
    """Write a message.

    Raises:
        UnicodeEncodeError: a text in it has half of a surrogate pair.
    """
    raw = bytearray(LENGTH.size)
    _encoder.encode_into(message, raw, LENGTH.size)
    LENGTH.pack_into(raw, 0, len(raw) - LENGTH.size)
    return raw


def can_be_written(seen: Seen) -> bool:
    """Whether `framed` can write it."""
    try:
        _encoder.encode(seen)
    except UnicodeEncodeError:
        return False
    return True


def read_told(pipe: BinaryIO) -> bytes | None:
    """Read a message without its length, as it was written; None when the daemon says no more."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    [length] = LENGTH.unpack(head)
    body = pipe.read(length)
    return body if len(body) == length else None


def is_notes(body: bytes) -> bool:
    """Whether a message is `Notes`, which `notes_of` reads."""
    return body.startswith(_NOTES)


def notes_of(body: bytes) -> Notes:
    """Read requests without their length."""
    return _notes.decode(body)


def told_of(body: bytes) -> Told:
    """Read what the daemon says without its length."""
    return _told.decode(body)


def report_of(body: bytes) -> Report:
    """Read a report without its length."""
    return _reports.decode(body)
