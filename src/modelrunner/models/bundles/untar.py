"""Tar archives that older artifacts carry, unpacked as if whoever made them meant harm."""

import gzip
import tarfile
import zlib
from io import BufferedIOBase
from pathlib import Path

from modelrunner.errors import UnsupportedModel
from modelrunner.models.description.paths import inner_path

MAX_ENTRIES = 100_000
MAX_RATIO = 100  # of unpacked to compressed bytes; text compresses to a tenth, a bomb to a thousandth
_FREE_BYTES = 64 << 20  # below this no ratio is asked
_MAX_HEADER = 16 << 20  # bytes; extended headers are read into memory whole
_PIECE = 1 << 20


def extract(archive: Path, into: Path, *, compressed: bool = False, max_entries: int = MAX_ENTRIES) -> None:
    """Unpack directories and regular files of a tar archive, gzipped if `compressed`; skip everything else.

    `into` must not hold anything that is linked elsewhere: existing files are replaced, never written into.

    Raises:
        UnsupportedModel: no such archive, a name that leads outside, or more in it than is plausible.
        OSError: a file cannot be written.
    """
    limit = MAX_RATIO * archive.stat().st_size + _FREE_BYTES
    try:
        with (
            gzip.open(archive, "rb") if compressed else archive.open("rb") as raw,
            tarfile.open(fileobj=_Careful(raw), mode="r:") as tar,
        ):
            for number, member in enumerate(tar):
                limit -= member.size if member.isreg() else 0
                if number >= max_entries or limit < 0:
                    raise UnsupportedModel(f"archive in the model unpacks to too much: `{archive.name}`")
                _place(tar, member, into)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise UnsupportedModel(f"unreadable archive in the model: `{archive.name}` ({exc})") from exc


class _Careful:
    """A file of which nobody takes much at once: a header must not claim the memory of the machine."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell
        self.write = file.write
        self.close = file.close

    def read(self, size: int, /) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError("a header of senseless length")
        return self._file.read(size)


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    if member.isdir():
        if member.name.strip("./"):
            into.joinpath(inner_path(member.name)).mkdir(parents=True, exist_ok=True)
        return
    content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if content is None:
        return
    target = into / inner_path(member.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with target.open("xb") as file:
        while piece := content.read(_PIECE):
            file.write(piece)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)
