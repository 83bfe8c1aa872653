"""An artifact as a tar stream, written and read without a temporary file.

Written: the directories `blobs` and `blobs/<algorithm>`, a file `blobs/<algorithm>/<hex>` for each layer,
then for the configuration, and `manifest.json` last. Read: in any order. Nothing is ever extracted: blobs are
known by their digests, and a name in an archive never becomes a path.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from modelrunner.errors import DigestMismatch, InvalidRequest
from modelrunner.oci import tar
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import MAX_LAYERS, MAX_MANIFEST_BYTES, Descriptor, Manifest, parse_manifest
from modelrunner.oci.transfer import Progress, Sink, Source, Tell, ignore

_BLOB = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)", re.ASCII)
_MANIFEST = "manifest.json"
_OCTETS = "application/octet-stream"  # an archive tells a blob's type only in its manifest
_MAX_HEADERS = 2 * (MAX_LAYERS + 100)  # some programs write an extended header before each entry


async def accept(manifest: Manifest) -> None:
    """Have no objection to a manifest."""


async def load(
    stream: AsyncIterator[bytes],
    sink: Sink,
    *,
    tell: Tell = ignore,
    check: Callable[[Manifest], Awaitable[None]] = accept,
) -> Manifest:
    """Feed a sink from an archive as it arrives, and commit its manifest without a tag.

    `check` may refuse the manifest by raising, when all of its blobs are in the sink, before it is committed.

    Raises:
        InvalidRequest: not an archive, cut short, without a manifest, or without one of the manifest's blobs.
        DigestMismatch: a blob is not what its name says.
    """
    raw = await _load_entries(tar.Reader(stream), sink, tell)
    if raw is None:
        raise InvalidRequest(
            f"manifest not found: the archive has no `{_MANIFEST}`",
            hint="use an archive made by `docker model package` or `export`",
        )
    manifest = parse_manifest(raw)
    for blob in manifest.blobs:
        async with sink.claim(blob) as present:
            if present != blob.size:
                raise InvalidRequest(
                    f"the archive lacks the blob `{blob.digest}` of its manifest",
                    hint="make the archive again",
                )
    await check(manifest)
    await sink.commit(manifest, ())
    return manifest


async def archive(source: Source, manifest: Manifest) -> AsyncGenerator[bytes, None]:
    """Write an artifact as a tar stream of exactly `archive_size(manifest)` bytes.

    Raises:
        DigestMismatch: the source has more or fewer bytes of a blob than the manifest says.
    """
    for directory in _directories(manifest):
        yield tar.header(directory, 0, tar.DIRECTORY)
    for blob in manifest.blobs:
        yield tar.header(f"blobs/{blob.digest.path}", blob.size)
        sent = 0
        async with source.open(blob) as (start, chunks):
            async for chunk in chunks:
                sent += len(chunk)
                if start + sent > blob.size:
                    break
                yield chunk
        if start != 0 or sent != blob.size:
            raise DigestMismatch(f"blob `{blob.digest}` does not have the {blob.size} bytes of its manifest")
        yield tar.padding(blob.size)
    yield tar.header(_MANIFEST, len(manifest.raw))
    yield manifest.raw + tar.padding(len(manifest.raw)) + tar.END


def archive_size(manifest: Manifest) -> int:
    """The size of an artifact's archive, in bytes."""
    entries = [blob.size for blob in manifest.blobs] + [len(manifest.raw)]
    entries += [0 for _ in _directories(manifest)]
    return sum(tar.entry_size(size) for size in entries) + len(tar.END)


def _directories(manifest: Manifest) -> list[str]:
    algorithms = {"sha256"} | {blob.digest.algorithm for blob in manifest.blobs}
    return ["blobs", *(f"blobs/{algorithm}" for algorithm in sorted(algorithms))]


async def _load_entries(reader: tar.Reader, sink: Sink, tell: Tell) -> bytes | None:
    raw: bytes | None = None
    while entry := await reader.next_entry():
        if reader.headers > _MAX_HEADERS:
            raise InvalidRequest(f"the archive has more than {_MAX_HEADERS} entries")
        name = _checked_name(entry.name)
        if not entry.is_file:
            continue
        if name == _MANIFEST:
            if raw is not None:
                raise InvalidRequest(f"the archive has more than one `{_MANIFEST}`")
            if entry.size > MAX_MANIFEST_BYTES:
                raise InvalidRequest(f"`{_MANIFEST}` is larger than {MAX_MANIFEST_BYTES} bytes")
            raw = await reader.read_entry()
        elif found := _BLOB.fullmatch(name):
            blob = Descriptor(_OCTETS, Digest(found[1], found[2]), entry.size)
            await _load_blob(reader, sink, blob, tell)
    return raw


async def _load_blob(reader: tar.Reader, sink: Sink, blob: Descriptor, tell: Tell) -> None:
    async with sink.claim(blob) as present:
        if present == blob.size:
            return
        await reader.skip(present)
        async with aclosing(_tell_each(reader.entry_chunks(), blob, present, tell)) as chunks:
            await sink.write(blob, present, chunks)
        tell(Progress(blob, blob.size))


async def _tell_each(
    chunks: AsyncIterator[bytes], blob: Descriptor, done: int, tell: Tell
) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        yield chunk
        done += len(chunk)
        if done < blob.size:
            tell(Progress(blob, done))


def _checked_name(name: str) -> str:
    """The name of an entry without a leading `./`.

    Raises:
        InvalidRequest: it would lead out of the archive.
    """
    plain = name.removeprefix("./").removesuffix("/")
    if ".." in plain.split("/") or plain.startswith("/") or "\\" in plain:
        raise InvalidRequest(f"invalid path detected: `{name[:200]}`")
    return plain
