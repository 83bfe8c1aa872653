"""The tar format, as much of it as archives of models need, on asynchronous streams.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange Format". The standard library's
`tarfile` reads from files only; its parser of header blocks is used here.
"""

import re
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from modelrunner.errors import InvalidArchive

BLOCK = 512
END = bytes(2 * BLOCK)
FILE = b"0"
DIRECTORY = b"5"

_NAME = 100  # bytes for the last part of a name
_OCTAL_LIMIT = 8**11  # bytes; a size from here on needs an extended header
_EXTENDED = b"x"
_GLOBAL = b"g"
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_MAX_EXTENSION = 64 * 1024  # bytes of an extended header; ours have 30
_MAX_EXTENSIONS = 8  # extended headers before one entry; programs write one or two
_MAX_TRAILER = 1024 * 1024  # bytes of padding after the end that are read and thrown away
_MAX_ENTRY = 1 << 50  # bytes; a header can claim 2 ** 87, which would be nonsense to make room for
_LENGTH = re.compile(rb"([0-9]{1,6}) ")  # of a record in an extended header
_SIZE = re.compile(r"[0-9]{1,18}", re.ASCII)
_SHORT = "make or send the archive again"


@dataclass(frozen=True, slots=True)
class Entry:
    """The header of one entry; its size is in bytes. Links and devices are neither file nor directory."""

    name: str
    size: int
    is_file: bool
    is_directory: bool = False


def header(name: str, size: int, kind: bytes = FILE) -> bytes:
    """The header of an entry without owner and time: mode 0666 for a file, 0755 for a directory.

    A size of 8 GiB and more and a long name, as SHA-512 makes it, are in an extended header before it.
    """
    directory, _, base = name.rpartition("/")
    long_name, large = len(base.encode()) > _NAME, size >= _OCTAL_LIMIT
    block = _block(name, 0o755 if kind == DIRECTORY else 0o666, 0 if large else size, kind)
    if not long_name and not large:
        return block
    records = (_record("path", name) if long_name else b"") + (_record("size", str(size)) if large else b"")
    extended = _block(f"{directory}/PaxHeaders.0/{base}", 0, len(records), _EXTENDED)
    return extended + records + padding(len(records)) + block


def padding(size: int) -> bytes:
    """The zeros that follow content of this size."""
    return bytes(-size % BLOCK)


def entry_size(size: int, name: str = "") -> int:
    """The bytes that an entry with this much content takes, headers and padding included."""
    return len(header(name, size)) + size + -size % BLOCK


class Reader:
    """Entries of a tar stream, one after the other; content that is not asked for is skipped."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._piece = b""  # what came last,
        self._at = 0  # and how much of it is used
        self._left = 0  # bytes of the current entry's content that are not used
        self._pad = 0  # zeros that follow it
        self.headers = 0  # of entries, and extended ones, that were read so far

    async def next_entry(self) -> Entry | None:
        """Go on to the next entry; None at the end of the archive.

        Raises:
            InvalidArchive: not a tar archive, or one that is cut short.
        """
        extended: dict[str, str] = {}
        for _ in range(_MAX_EXTENSIONS + 1):
            await self.skip(self._left)
            await self._drop(self._pad)
            info = await self._header()
            if info is None:
                return None
            self.headers += 1
            if info.type in {_EXTENDED, _GLOBAL, *_LONG}:
                self._begin(info.size)
                extended |= _extension(info.type, await self._read_extension())
                continue
            size = int(extended.get("size", info.size))
            self._begin(size if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES else 0)
            is_file = info.isreg() and not info.issparse()
            name = extended.get("path", info.name)
            return Entry(name, self._left, is_file=is_file, is_directory=info.isdir())
        raise InvalidArchive(f"the archive has more than {_MAX_EXTENSIONS} extended headers for one entry")

    async def entry_chunks(self) -> AsyncGenerator[bytes, None]:
        """What was not used yet of the current entry's content, in pieces as they come.

        Raises:
            InvalidArchive: the archive is cut short.
        """
        while self._left:
            piece = await self._some(self._left)
            self._left -= len(piece)
            yield piece

    async def read_entry(self) -> bytes:
        """The content of the current entry as one; the caller has seen that it is small."""
        return b"".join([piece async for piece in self.entry_chunks()])

    async def skip(self, count: int) -> None:
        """Throw away the next `count` bytes of the current entry's content."""
        await self._drop(count)
        self._left -= count

    def _begin(self, size: int) -> None:
        if size < 0:
            raise InvalidArchive("the archive has an entry of a negative size")
        if size > _MAX_ENTRY:
            raise InvalidArchive(f"the archive has an entry that claims to have {size} bytes")
        self._left, self._pad = size, -size % BLOCK

    async def _header(self) -> tarfile.TarInfo | None:
        """The next header block; None for zeros, which mark the end, or when the stream ends before it."""
        block = bytearray()
        while len(block) < BLOCK:
            piece = await self._some(BLOCK - len(block), may_end=not block)
            if not piece:
                return None
            block += piece
        if not any(block):
            await self._drain()
            return None
        try:
            return tarfile.TarInfo.frombuf(bytes(block), "utf-8", "surrogateescape")
        except tarfile.HeaderError as exc:
            raise InvalidArchive("not a tar archive, or a damaged one", hint=_SHORT) from exc

    async def _read_extension(self) -> bytes:
        if self._left > _MAX_EXTENSION:
            raise InvalidArchive(f"the archive has an extended header of {self._left} bytes")
        return await self.read_entry()

    async def _some(self, most: int, *, may_end: bool = False) -> bytes:
        """The next bytes, at least one and at most `most`; none at all only at an end that is allowed."""
        while self._at == len(self._piece):
            piece = await anext(self._stream, None)
            if piece is None and may_end:
                return b""
            if piece is None:
                raise InvalidArchive("the archive ends too early", hint=_SHORT)
            self._piece, self._at = piece, 0
        start, self._at = self._at, min(self._at + most, len(self._piece))
        whole = start == 0 and self._at == len(self._piece)
        return self._piece if whole else self._piece[start : self._at]

    async def _drop(self, count: int) -> None:
        while count:
            count -= len(await self._some(count))

    async def _drain(self) -> None:
        """Take the padding after the end, so that whoever sends it can finish."""
        count = 0
        while count < _MAX_TRAILER and (piece := await self._some(_MAX_TRAILER, may_end=True)):
            count += len(piece)


def _extension(kind: bytes, content: bytes) -> dict[str, str]:
    """What an extended header says about the entry that follows; a global one says nothing of interest."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "replace")}
    if kind != _EXTENDED:
        return {}
    records: dict[str, str] = {}
    start = 0
    while start < len(content):
        found = _LENGTH.match(content, start)
        end = start + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(content):
            raise InvalidArchive("the archive has a malformed extended header", hint=_SHORT)
        key, _, value = content[found.end() : end - 1].decode("utf-8", "replace").partition("=")
        records[key] = value
        start = end
    if not _SIZE.fullmatch(records.get("size", "0")) or any(key.startswith("GNU.sparse") for key in records):
        raise InvalidArchive("the archive has an entry of a kind that is not supported")
    return {key: records[key] for key in ("path", "size") if key in records}


def _record(key: str, value: str) -> bytes:
    """One record of an extended header: its own length in decimal, a space, `key=value` and a line end."""
    rest = len(f" {key}={value}\n")
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return f"{length} {key}={value}\n".encode()


def _block(name: str, mode: int, size: int, kind: bytes) -> bytes:
    """A header block of the ustar format; time and owner are zero, so that only content counts."""
    encoded = name.encode()
    if len(encoded) > _NAME:
        directory, _, base = encoded.rpartition(b"/")
        prefix, encoded = directory, base[:_NAME]
    else:
        prefix = b""
    fields = (
        encoded.ljust(_NAME, b"\0"),
        b"%07o\0" % mode,
        b"0000000\0" * 2,  # user and group
        b"%011o\0" % size,
        b"00000000000\0",  # time
        b" " * 8,  # the checksum counts as spaces
        kind,
        bytes(100),  # link
        b"ustar\00000",
        bytes(64),  # names of user and group
        b"0000000\0" * 2,  # device
        prefix.ljust(155, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
