"""What the readers of weights' headers share: bytes that come in pieces, of a file that may be far away."""

from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from modelrunner.errors import InvalidRequest

FIRST_PIECE = 256 << 10  # bytes; enough for the header of a model without a vocabulary

_Header = TypeVar("_Header")


class HeaderIncomplete(Exception):
    """The header goes on behind the bytes that were given; `needed` says how many of the file to give."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def read_growing(path: Path, parse: Callable[[bytes, int, str], _Header]) -> _Header:
    """Parse the header of a file, reading no more of it than that takes.

    The file is read, not mapped: a mapped file that somebody else shortens kills the process.

    Raises:
        UnsupportedModel: what `parse` has against it.
        InvalidRequest: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            return read_pieces(file, size, str(path), parse)
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{path}`: {exc.strerror or exc}") from exc


def read_pieces(
    file: IO[bytes], size: int, name: str, parse: Callable[[bytes, int, str], _Header]
) -> _Header:
    """Parse the header of `size` bytes that begin where a file stands, reading no more than that takes.

    Raises:
        UnsupportedModel: what `parse` has against it.
        InvalidRequest: there are fewer.
    """
    head = bytearray(file.read(min(FIRST_PIECE, size)))
    while True:
        try:
            return parse(bytes(head), size, name)
        except HeaderIncomplete as exc:
            piece = file.read(grown(exc.needed, len(head), size) - len(head))
            if not piece:
                raise InvalidRequest(f"`{name}` became shorter while it was read") from exc
            head += piece


def grown(needed: int, have: int, size: int) -> int:
    """How much of a file of `size` bytes to have next, when `have` was too little and `needed` is not."""
    return min(max(needed, 2 * have, FIRST_PIECE), size)
