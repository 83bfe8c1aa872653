"""Pictures are recognised by their bytes, and refused before an engine unfolds them."""

import base64
import struct

import pytest

from modelrunner.dialects.pictures import MOST_PIXELS, MOST_SIDE, data_url, inspected
from modelrunner.errors import InvalidRequest


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)


def jpeg(width: int, height: int) -> bytes:
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"\xff\xc0\xff\xc0"
    return b"\xff\xd8" + comment + b"\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width) + b"\0" * 8


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + b"\0" * 16 + struct.pack("<ii", width, -height)


def webp_lossy(width: int, height: int) -> bytes:
    return b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", width, height)


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", bits)


def webp_extended(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + sizes


MAKERS = [
    (png, "image/png"),
    (jpeg, "image/jpeg"),
    (gif, "image/gif"),
    (bmp, "image/bmp"),
    (webp_lossy, "image/webp"),
    (webp_lossless, "image/webp"),
    (webp_extended, "image/webp"),
]


@pytest.mark.parametrize(("make", "media_type"), MAKERS)
def test_a_picture_says_what_it_is(make: type, media_type: str) -> None:
    """Kind and size."""
    picture = inspected(make(640, 480))

    assert (media_type, (640, 480)) == (picture.media_type, picture.size)


@pytest.mark.parametrize("make", [png, jpeg, gif, bmp, webp_extended])
@pytest.mark.parametrize("size", [(20_000, 10), (10, 20_000), (16_384, 16_384), (8_192, 8_193)])
def test_a_picture_that_is_too_large_is_refused(make: type, size: tuple[int, int]) -> None:
    """Wide, or high, or both somewhat; its bytes may be few."""
    with pytest.raises(InvalidRequest, match="image too large"):
        data_url(base64.b64encode(make(*size)).decode())


def test_the_largest_picture_is_one() -> None:
    """The bound itself is allowed."""
    for size in ((MOST_SIDE, MOST_PIXELS // MOST_SIDE), (8_192, 8_192)):
        assert inspected(png(*size)).size == size


def test_a_picture_may_be_filled_up() -> None:
    """Between the segments of a JPEG there may be any number of bytes, which hide no size."""
    assert (20, 10) == inspected(jpeg(20, 10).replace(b"\xff\xc0\0", b"\xff" * 9 + b"\xc0\0")).size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"%PDF-1.7",
        b"\xff\xd8\xff\xd9" + b"\0" * 20,
        b"RIFF\0\0\0\0WEBPVP8?" + b"\0" * 20,
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    """Also the beginning of one."""
    with pytest.raises(InvalidRequest, match="no PNG"):
        inspected(data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("***", "not base64"),
        ("data:image/png,abc", "data URL"),
        ("data:image/png;base64", "data URL"),
        ("http://169.254.169.254/latest", "is an address"),
        ("file:///etc/passwd", "is an address"),
        ("é", "not base64"),
    ],
)
def test_what_is_no_base64_is_refused(text: str, words: str) -> None:
    """And nothing is ever fetched."""
    with pytest.raises(InvalidRequest, match=words):
        data_url(text)
