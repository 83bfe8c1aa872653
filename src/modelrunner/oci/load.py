"""Models from a tar stream: the reference's form, or an OCI image layout, in any order, also compressed.

Nothing is ever extracted: blobs are known by their digests, and a name in an archive never becomes a path.
Blobs go into the sink as they come. Which of them belong to a model is known only at the end, and only then
does anything become visible.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from modelrunner.errors import DigestMismatch, InvalidArchive
from modelrunner.oci import tar
from modelrunner.oci.digest import Digest
from modelrunner.oci.index import (
    INDEX_FILE,
    LAYOUT_FILE,
    MAX_INDEX_BYTES,
    MAX_LAYOUT_BYTES,
    NamedModel,
    Parse,
    check_layout,
    named_models,
    parse_index,
)
from modelrunner.oci.inflate import plain
from modelrunner.oci.layout import MANIFEST_FILE
from modelrunner.oci.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest, parse_manifest
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.transfer import Progress, Sink, Tell, ignore

_BLOB = re.compile(r"(?:blobs|manifests)/(sha256|sha512)/([0-9a-f]+)", re.ASCII)
_OCTETS = "application/octet-stream"  # an archive tells a blob's type only in its manifest
_MAX_HEADERS = 100_000  # some programs write an extended header before each entry
_MAX_DOCUMENTS = 64 * 1024 * 1024  # bytes of manifests that are kept until the end
_DOCUMENTS = {
    MANIFEST_FILE: MAX_MANIFEST_BYTES,
    INDEX_FILE: MAX_INDEX_BYTES,
    LAYOUT_FILE: MAX_LAYOUT_BYTES,
}

Check = Callable[[Manifest], Awaitable[None]]


@dataclass(slots=True)
class _Contents:
    """What an archive says: its documents by name, and every blob that looks like a manifest by digest."""

    documents: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[Digest, bytes] = field(default_factory=dict)


async def accept(manifest: Manifest) -> None:
    """Have no objection to a manifest."""


async def load(
    stream: AsyncIterator[bytes],
    sink: Sink,
    *,
    parse: Parse = parse_reference,
    tell: Tell = ignore,
    check: Check = accept,
) -> tuple[NamedModel, ...]:
    """Feed a sink from an archive as it arrives, and commit its models with the names that they have there.

    `parse` reads a name. `check` may refuse a manifest by raising, when all blobs of all models are in the
    sink, before any of them is committed. A blob that the sink has already may be missing in the archive.

    Raises:
        InvalidArchive: not an archive, cut short, without a manifest, or without a blob that is needed.
        DigestMismatch: a blob is not what its name says.
    """
    async with aclosing(plain(stream)) as bare:
        contents = await _read(tar.Reader(bare), sink, tell)
    models = _models(contents, parse)
    for model in models:
        await _require_blobs(model.manifest, contents, sink)
    for model in models:
        await check(model.manifest)
    for model in models:
        await sink.commit(model.manifest, model.names)
    return models


async def _read(reader: tar.Reader, sink: Sink, tell: Tell) -> _Contents:
    contents = _Contents()
    while entry := await reader.next_entry():
        if reader.headers > _MAX_HEADERS:
            raise InvalidArchive(f"the archive has more than {_MAX_HEADERS} entries")
        name = _checked_name(entry)
        if entry.is_directory:
            continue
        if name in _DOCUMENTS:
            contents.documents[name] = await _document(reader, entry, name, contents)
        elif found := _BLOB.fullmatch(name):
            blob = Descriptor(_OCTETS, Digest(found[1], found[2]), entry.size)
            await _load_blob(reader, sink, blob, contents, tell)
    return contents


async def _document(reader: tar.Reader, entry: tar.Entry, name: str, contents: _Contents) -> bytes:
    if name in contents.documents:
        raise InvalidArchive(f"the archive has more than one `{name}`")
    if entry.size > _DOCUMENTS[name]:
        raise InvalidArchive(f"`{name}` is larger than {_DOCUMENTS[name]} bytes")
    return await reader.read_entry()


async def _load_blob(
    reader: tar.Reader, sink: Sink, blob: Descriptor, contents: _Contents, tell: Tell
) -> None:
    """Write a blob, unless it is a manifest: stores keep those elsewhere, and we need it at the end."""
    if blob.size > MAX_MANIFEST_BYTES:
        await _write(reader.entry_chunks(), reader, sink, blob, tell)
        return
    raw = await reader.read_entry()
    if not _looks_like_manifest(raw):
        await _write_small(raw, sink, blob, tell)
        return
    verifier = blob.digest.verifier()
    verifier.update(raw)
    if not verifier.matches:
        raise DigestMismatch(f"blob `{blob.digest}` has other content than its name in the archive says")
    contents.manifests[blob.digest] = raw
    if sum(map(len, contents.manifests.values())) > _MAX_DOCUMENTS:
        raise InvalidArchive(f"the archive has more than {_MAX_DOCUMENTS} bytes of manifests")


async def _write(
    chunks: AsyncGenerator[bytes, None], reader: tar.Reader, sink: Sink, blob: Descriptor, tell: Tell
) -> None:
    async with sink.claim(blob) as present:
        if present == blob.size:
            return
        await reader.skip(present)
        async with aclosing(_tell_each(chunks, blob, present, tell)) as told:
            await sink.write(blob, present, told)
        tell(Progress(blob, blob.size))


async def _write_small(raw: bytes, sink: Sink, blob: Descriptor, tell: Tell) -> None:
    async def rest(start: int) -> AsyncGenerator[bytes, None]:
        yield raw[start:]

    async with sink.claim(blob) as present:
        if present != blob.size:
            async with aclosing(rest(present)) as chunks:
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


async def _require_blobs(manifest: Manifest, contents: _Contents, sink: Sink) -> None:
    """Make sure that the sink has all of a model; a layer that looked like a manifest is written only now."""
    for blob in manifest.blobs:
        raw = contents.manifests.get(blob.digest)
        if raw is not None and len(raw) == blob.size:
            await _write_small(raw, sink, blob, ignore)
            continue
        async with sink.claim(blob) as present:
            if present != blob.size:
                raise InvalidArchive(
                    f"the archive lacks the blob `{blob.digest}` of its manifest, and it is not here either",
                    hint="make the archive again; a delta needs the blobs that were left out of it",
                )


def _models(contents: _Contents, parse: Parse) -> tuple[NamedModel, ...]:
    """Say which models an archive has: those of its index, else the one of `manifest.json`."""
    documents = contents.documents
    if LAYOUT_FILE in documents:
        check_layout(documents[LAYOUT_FILE])
    sole = documents.get(MANIFEST_FILE)
    if INDEX_FILE not in documents:
        if sole is None:
            raise InvalidArchive(
                f"manifest not found: the archive has neither `{MANIFEST_FILE}` nor `{INDEX_FILE}`",
                hint="use an archive made by `export`, or an OCI image layout",
            )
        return (NamedModel(parse_manifest(sole)),)
    listed = parse_index(documents[INDEX_FILE])
    if sole is not None and not sole.lstrip().startswith(b"["):  # a list is Docker's own, for images
        if Digest.of(sole) not in {each.digest for each in listed}:
            raise InvalidArchive(f"`{MANIFEST_FILE}` is of another model than those of `{INDEX_FILE}`")
        contents.manifests.setdefault(Digest.of(sole), sole)
    return named_models(listed, contents.manifests, parse)


def _looks_like_manifest(raw: bytes) -> bool:
    return raw.lstrip()[:1] == b"{" and b'"schemaVersion"' in raw


def _checked_name(entry: tar.Entry) -> str:
    """The name of an entry without a leading `./`.

    Raises:
        InvalidArchive: it would lead out of the archive, or the entry is a link or a device.
    """
    name = entry.name
    plain_name = name.removeprefix("./").removesuffix("/")
    if ".." in plain_name.split("/") or plain_name.startswith("/") or "\\" in plain_name:
        raise InvalidArchive(f"invalid path detected: `{name[:200]}`")
    if not entry.is_file and not entry.is_directory:
        raise InvalidArchive(
            f"the archive has a link or a device, which no model needs: `{name[:200]}`",
            hint="make the archive again with plain files only",
        )
    return plain_name
