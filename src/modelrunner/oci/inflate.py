"""A compressed stream made plain while it passes; one that grows out of all proportion is refused.

Only gzip is undone here, which the standard library reads. What else compresses is told apart by its first
bytes, so that the error can say which program undoes it.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from modelrunner.errors import InvalidArchive

_GZIP = b"\x1f\x8b"
_GGUF = b"GGUF"  # weights by themselves, which people take for an archive of a model
_OTHERS = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
_LONGEST = max(map(len, (_GZIP, *_OTHERS)))
_WINDOW = 16 + zlib.MAX_WBITS  # a gzip header and trailer around the data
_PIECE = 1 << 20  # bytes that come out at a time
_FREE = 64 << 20  # bytes that may come out whatever went in
_RATIO = 100  # weights shrink by a tenth; a bomb grows a thousandfold


async def plain(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Pass a stream on as it is, or decompressed when it is gzip.

    Raises:
        InvalidArchive: compressed in another way, damaged, cut short, a bomb, or no archive but weights.
    """
    head = b""
    while len(head) < _LONGEST and (piece := await anext(stream, None)) is not None:
        head += piece
    for magic, program in _OTHERS.items():
        if head.startswith(magic):
            raise InvalidArchive(
                f"the archive is compressed with {program}", hint=f"decompress it first: `{program} -dc FILE`"
            )
    if head.startswith(_GGUF):
        raise InvalidArchive(
            "this is a GGUF file, not an archive", hint="make a model of it: `dmr package --gguf FILE NAME`"
        )
    whole = _chained(head, stream)
    async with aclosing(_inflated(whole) if head.startswith(_GZIP) else whole) as pieces:
        async for piece in pieces:
            yield piece


async def _chained(head: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if head:
        yield head
    async for piece in rest:
        yield piece


async def _inflated(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Decompress one gzip member after the other; other bytes after the last are no business of ours."""
    member = zlib.decompressobj(_WINDOW)
    taken = given = 0
    async for piece in stream:
        taken += len(piece)
        left = piece
        while left:
            if member.eof:
                if not left.startswith(_GZIP[:1]):
                    return
                member = zlib.decompressobj(_WINDOW)
            data = await _step(member, left)
            left = member.unconsumed_tail or member.unused_data
            given += len(data)
            if given > max(_FREE, _RATIO * taken):
                raise InvalidArchive(
                    f"the archive grows more than {_RATIO} times as large when it is decompressed",
                    hint="decompress it first, if it is what it should be: `gzip -dc FILE`",
                )
            if data:
                yield data
    if not member.eof:
        raise InvalidArchive("the compressed archive ends too early", hint="make or send the archive again")


async def _step(member: "zlib._Decompress", data: bytes) -> bytes:
    try:
        return await asyncio.to_thread(member.decompress, data, _PIECE)
    except zlib.error as exc:
        raise InvalidArchive(
            "the compressed archive is damaged", hint="make or send the archive again"
        ) from exc
