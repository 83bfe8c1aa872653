"""Pictures that come inside of requests: base64 checked, kind and size read from the first bytes.

An engine decodes a picture to its full size in memory, so one that is too large is refused before.
Source: the PNG, JPEG (ITU T.81), GIF89a, WebP and BMP specifications, for where the sizes are.
"""

import base64
import binascii
import struct
from dataclasses import dataclass

from modelrunner.errors import InvalidRequest

MOST_SIDE = 16_384  # pixels wide or high; what engines scale down is a tenth of it
MOST_PIXELS = 64 << 20  # in all; decoded, they take 200 MB, and 8,192 times 8,192 is not too much
_SHOWN = 40  # characters
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Picture:
    """What the first bytes say; `size` is width and height in pixels."""

    media_type: str
    size: tuple[int, int]


def data_url(text: str) -> str:
    """Make a data URL of a picture in base64, with its true media type; a data URL is one already.

    Raises:
        InvalidRequest: an address, no base64, no picture, or one that is too large.
    """
    text = text.strip()
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise _invalid("a data URL has to be `data:image/…;base64,…`")
    elif "://" in text[:_SHOWN]:
        raise InvalidRequest(
            f"invalid image: `{text[:_SHOWN]}` is an address", hint="send the picture itself, as base64"
        )
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise _invalid("it is not base64") from exc
    return f"data:{inspected(data).media_type};base64,{text}"


def inspected(data: bytes) -> Picture:
    """Read what a picture is.

    Raises:
        InvalidRequest: no picture, or one that is too large.
    """
    picture = _recognised(data)
    if picture is None:
        raise _invalid("it is no PNG, JPEG, GIF, WebP or BMP")
    width, height = picture.size
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise InvalidRequest(
            f"image too large: `{width}` x `{height}` pixels",
            hint=f"at most {MOST_SIDE:,} either way, and {MOST_PIXELS:,} in all",
        )
    return picture


def _recognised(data: bytes) -> Picture | None:
    """Say what it is; what does not say its size is none."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return Picture("image/png", struct.unpack(">II", data[16:24]))
    if data.startswith(b"\xff\xd8\xff"):
        size = _jpeg_size(data)
        return None if size is None else Picture("image/jpeg", size)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return Picture("image/gif", struct.unpack("<HH", data[6:10]))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        size = _webp_size(data)
        return None if size is None else Picture("image/webp", size)
    if data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        return Picture("image/bmp", (abs(width), abs(height)))
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk from segment to segment up to the one that has the size."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4])
        if marker == 0xFF:  # bytes to fill up with
            position += 1
            continue
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        position += 2 + max(2, length)
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(f"invalid image: {why}", hint="send a picture as base64")
