import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelrunner.errors import InvalidRequest
from modelrunner.oci import tar

NAME = "blobs/sha256/" + "ab" * 32


async def _in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def _entries(data: bytes, size: int = 1000) -> list[tuple[str, bytes, bool]]:
    reader = tar.Reader(_in_pieces(data, size))
    found = []
    while entry := await reader.next_entry():
        found.append((entry.name, await reader.read_entry(), entry.is_file))
    return found


def _made_by_tarfile(*entries: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_file_header_is_byte_for_byte_the_ustar_one() -> None:
    """Mode 0666, no owner, no time: as Go's archive/tar writes it for the reference."""
    block = tar.header(NAME, 5)

    assert block[:77] == NAME.encode()
    assert block[100:148] == b"0000666\0" + b"0000000\0" * 2 + b"00000000005\0" + b"00000000000\0"
    assert block[156:157] == b"0"
    assert block[257:265] == b"ustar\x0000"
    assert block[329:345] == b"0000000\0" * 2
    assert block[148:156] == b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])


def test_a_directory_has_no_slash_at_its_end() -> None:
    """Mode 0755 and the type of a directory."""
    block = tar.header("blobs", 0, tar.DIRECTORY)

    assert block[:100].rstrip(b"\0") == b"blobs"
    assert (block[100:108], block[156:157]) == (b"0000755\0", b"5")


@pytest.mark.parametrize("size", [5, 8 * 1024**3])
def test_names_of_sha_512_are_read_back(size: int) -> None:
    """They are too long for the old header; the standard library reads the extended one."""
    name = "blobs/sha512/" + "ab" * 64
    with tarfile.open(fileobj=io.BytesIO(tar.header(name, size) + tar.END)) as archive:
        info = archive.next()

    assert info is not None
    assert (info.name, info.size) == (name, size)
    assert tar.entry_size(size, name) == len(tar.header(name, size)) + size + len(tar.padding(size))


@pytest.mark.parametrize("size", [8 * 1024**3 - 1, 8 * 1024**3, 10**14])
def test_sizes_of_any_magnitude_are_read_back(size: int) -> None:
    """From 8 GiB on an extended header says the size; the standard library reads it."""
    with tarfile.open(fileobj=io.BytesIO(tar.header(NAME, size) + tar.END)) as archive:
        info = archive.next()

    assert info is not None
    assert (info.name, info.size) == (NAME, size)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8 * 1024**3])
def test_the_size_of_an_entry_is_known_beforehand(size: int) -> None:
    """Headers, content and padding."""
    assert tar.entry_size(size) == len(tar.header(NAME, size)) + size + len(tar.padding(size))
    assert tar.entry_size(size) % 512 == 0


@given(st.lists(st.binary(max_size=2000), max_size=4), st.integers(1, 3000))
@settings(max_examples=50)
async def test_content_survives_whatever_pieces_it_comes_in(contents: list[bytes], size: int) -> None:
    """Writing and reading are inverse for every cutting of the stream."""
    data = b"".join(
        tar.header(f"f{number}", len(content)) + content + tar.padding(len(content))
        for number, content in enumerate(contents)
    )

    found = await _entries(data + tar.END, size)

    assert found == [(f"f{number}", content, True) for number, content in enumerate(contents)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
async def test_archives_of_other_programs_are_read(form: int) -> None:
    """All three formats of the standard library."""
    data = _made_by_tarfile(("a", b"1"), ("dir/b", b"2" * 600), form=form)

    assert await _entries(data) == [("a", b"1", True), ("dir/b", b"2" * 600, True)]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
async def test_long_names_are_read(form: int) -> None:
    """By an extended header, or by the older way of GNU."""
    name = "ä" * 150 + "/end"

    assert await _entries(_made_by_tarfile((name, b"x"), form=form)) == [(name, b"x", True)]


async def test_links_and_devices_are_no_files() -> None:
    """They are named, and have no content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("x")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)

    assert {(content, is_file) for _, content, is_file in await _entries(buffer.getvalue())} == {(b"", False)}


def _sized(field: bytes) -> bytes:
    """A header whose size field has these bytes."""
    block = bytearray(tar.header("a", 0))
    block[124:136] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "data",
    [
        _sized(b"\x80" + (2**63 - 1).to_bytes(11, "big")),
        _sized(b"\x80" + (2**87).to_bytes(11, "big")),
        _sized(b"\xff" * 12),
        _sized(b"\x80" + (2**50 + 1).to_bytes(11, "big")),
    ],
)
async def test_sizes_that_no_disk_holds_are_an_error(data: bytes) -> None:
    """Nobody is to make room for 2 ** 63 bytes, or for less than none."""
    with pytest.raises(InvalidRequest, match=r"claims to have|negative size"):
        await tar.Reader(_in_pieces(data, 512)).next_entry()


async def test_folders_are_told_from_links() -> None:
    """One is a part of every archive, the other is not."""
    reader = tar.Reader(_in_pieces(tar.header("blobs", 0, tar.DIRECTORY) + tar.END, 512))

    assert await reader.next_entry() == tar.Entry("blobs", 0, is_file=False, is_directory=True)


async def test_content_that_nobody_reads_is_skipped() -> None:
    """Going on to the next entry is enough."""
    reader = tar.Reader(_in_pieces(_made_by_tarfile(("a", b"1" * 5000), ("b", b"2")), 700))

    names = [entry.name for entry in [await reader.next_entry(), await reader.next_entry()] if entry]

    assert names == ["a", "b"]


async def test_empty_pieces_do_not_end_a_stream() -> None:
    """A stream may give nothing for a while."""

    async def stream() -> AsyncIterator[bytes]:
        yield b""
        yield _made_by_tarfile(("a", b"1"))[:1000]
        yield b""
        yield _made_by_tarfile(("a", b"1"))[1000:]

    entry = await tar.Reader(stream()).next_entry()

    assert entry == tar.Entry("a", 1, is_file=True)


@pytest.mark.parametrize("length", [1, 511, 513, 600])
async def test_a_stream_that_ends_inside_of_an_entry_is_an_error(length: int) -> None:
    """In the header, or in the content."""
    with pytest.raises(InvalidRequest, match="ends too early"):
        await _entries(_made_by_tarfile(("a", b"1" * 600))[:length])


async def test_an_archive_may_end_without_its_two_blocks_of_zeros() -> None:
    """Some programs leave them out."""
    assert await _entries(_made_by_tarfile(("a", b"1"))[:1024]) == [("a", b"1", True)]


def _extended(content: bytes, kind: bytes = b"x") -> bytes:
    block = bytearray(tar.header("h", len(content)))
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + tar.padding(len(content)) + tar.header("a", 0) + tar.END


async def test_extended_headers_before_one_entry_are_few() -> None:
    """However many come, little of them is kept: an archive cannot fill the memory."""
    one = _extended(b"11 a=1234\n\n"[:10].replace(b"11", b"10"))[:1024]

    assert await _entries(one * 8 + tar.header("a", 0) + tar.END) == [("a", b"", True)]
    with pytest.raises(InvalidRequest, match="more than 8 extended headers"):
        await _entries(one * 9 + tar.header("a", 0) + tar.END)


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8b" + b"x" * 600,
        b"PK\x03\x04" + b"x" * 600,
        _extended(b"nonsense\n"),
        _extended(b"99 size=5\n"),
        _extended(b"9 size=x\n"),
        _extended(b"10 size=-5\n"),
        _extended(b"25 GNU.sparse.realsize=1\n"),
        _extended(b"0 a=b\n"),
        _extended(b"6008 size=" + b"9" * 5997 + b"\n"),
        _extended(b"27 size=9223372036854775807"[:2] + b" size=999999999999999999\n"),
        _extended(b"x" * 70_000),
        _extended(b"x" * 70_000, b"L"),
    ],
)
async def test_damage_and_tricks_are_an_error(data: bytes) -> None:
    """Compressed archives, broken and huge extended headers, sparse files."""
    with pytest.raises(InvalidRequest):
        await _entries(data)


@given(st.binary(min_size=512, max_size=2000))
@settings(max_examples=100)
async def test_any_bytes_are_an_archive_or_a_clear_error(data: bytes) -> None:
    """Nothing but our own error comes out."""
    try:
        await _entries(data)
    except InvalidRequest:
        return
