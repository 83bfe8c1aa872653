"""Pictures are recognised by their bytes, and refused before an engine unfolds them."""

import base64
import struct

import pytest

from modelrunner.dialects.pictures import MOST_PIXELS, data_url, inspected
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
@pytest.mark.parametrize("size", [(20_000, 10), (10, 20_000)])
def test_a_picture_that_is_too_large_is_refused(make: type, size: tuple[int, int]) -> None:
    """Wide or high; its bytes may be few."""
    with pytest.raises(InvalidRequest, match="image too large"):
        data_url(base64.b64encode(make(*size)).decode())


def test_the_largest_picture_is_one() -> None:
    """The bound itself is allowed."""
    assert inspected(png(MOST_PIXELS, MOST_PIXELS)).size == (MOST_PIXELS, MOST_PIXELS)


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"%PDF-1.7"])
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
