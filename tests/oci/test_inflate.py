import gzip
import io
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelrunner.errors import InvalidRequest
from modelrunner.oci import inflate
from modelrunner.oci.inflate import plain
from modelrunner.testing.artifacts import stream


async def _plain(*pieces: bytes) -> bytes:
    return b"".join([piece async for piece in plain(stream(*pieces))])


@given(st.binary(max_size=5000), st.integers(1, 3000), st.booleans())
@settings(max_examples=30, deadline=None)
async def test_what_comes_out_is_what_went_in(data: bytes, size: int, compress: bool) -> None:
    """Whatever pieces it comes in, compressed or not."""
    packed = gzip.compress(data) if compress else b"tar" + data
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]

    assert await _plain(*pieces) == (data if compress else packed)


async def test_an_empty_stream_stays_empty() -> None:
    """And is no error here."""
    assert await _plain() == b""


async def test_several_members_are_one_stream() -> None:
    """As `gzip` itself reads what `cat` put together; zeros after the last one are padding."""
    data = gzip.compress(b"one") + gzip.compress(b"two") + bytes(512)

    assert await _plain(data) == b"onetwo"
    assert await _plain(*(data[at : at + 1] for at in range(len(data)))) == b"onetwo"


@pytest.mark.parametrize("cut", [5, 15, 40])
async def test_a_cut_is_an_error(cut: int) -> None:
    """In the header, in the data, and in the checksum."""
    data = gzip.compress(bytes(range(256)))

    with pytest.raises(InvalidRequest, match="ends too early"):
        await _plain(data[:cut])


@pytest.mark.parametrize("at", [3, 12, -6])
async def test_damage_is_an_error(at: int) -> None:
    """In the header, in the data, and in the checksum."""
    data = bytearray(gzip.compress(bytes(range(256)) * 4))
    data[at] ^= 0xFF

    with pytest.raises(InvalidRequest, match=r"damaged|too early"):
        await _plain(bytes(data))


async def test_a_bomb_is_refused_before_it_has_gone_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of zeros is a megabyte, and only so much of it comes out."""
    monkeypatch.setattr(inflate, "_FREE", 1 << 20)
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    out = plain(stream(bomb))
    sizes: list[int] = []

    async def explode() -> None:
        while True:
            sizes.append(len(await anext(out)))

    with pytest.raises(InvalidRequest, match="grows more than 100 times"):
        await explode()
    assert max(sizes) <= 1 << 20
    assert sum(sizes) <= 100 * len(bomb) + (1 << 20)


@pytest.mark.parametrize(("form", "program"), [("bz2", "bzip2"), ("xz", "xz")])
async def test_other_compression_is_named(form: str, program: str) -> None:
    """With the program that undoes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{form}"):  # type: ignore[call-overload]  # a mode by table
        pass

    with pytest.raises(InvalidRequest, match=f"compressed with {program}") as caught:
        await _plain(buffer.getvalue())

    assert f"{program} -dc" in str(caught.value.hint)


async def test_zstd_is_named_too() -> None:
    """The standard library cannot read it."""
    with pytest.raises(InvalidRequest, match="compressed with zstd"):
        await _plain(b"\x28\xb5\x2f\xfd" + bytes(100))
