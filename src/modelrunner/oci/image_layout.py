"""Models as an OCI image layout: written as one tar stream, read from a folder.

Blobs that models share are written once, and blobs that the other side has may be left out. For a single
model `manifest.json` is written as well, so that readers of the reference's form find what they look for.

Source: OCI image-spec v1.1, image-layout.md.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelrunner.errors import DigestMismatch, InvalidRequest, ModelNotFound
from modelrunner.oci import tar
from modelrunner.oci.digest import Digest
from modelrunner.oci.index import (
    INDEX_FILE,
    LAYOUT,
    LAYOUT_FILE,
    MAX_INDEX_BYTES,
    MAX_LAYOUT_BYTES,
    NamedModel,
    Parse,
    check_layout,
    index_document,
    named_models,
    parse_index,
)
from modelrunner.oci.layout import MANIFEST_FILE, blob_entry, blob_name, directories, document_entry
from modelrunner.oci.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.oci.transfer import Source

_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Selection:
    """What goes into one archive. `left_out` are blobs that the other side has.

    With `strict` there is nothing in it but the image layout: containerd takes a file `manifest.json` for
    Docker's own, and gives up.
    """

    models: tuple[NamedModel, ...]
    left_out: frozenset[Digest] = frozenset()
    strict: bool = False

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Layers and configurations of all models, each once."""
        blobs = {blob.digest: blob for model in self.models for blob in model.manifest.blobs}
        return tuple(blob for digest, blob in blobs.items() if digest not in self.left_out)

    @property
    def documents(self) -> tuple[tuple[str, bytes], ...]:
        """Names and content of the small files, in order; every manifest is also a blob."""
        manifests = {model.manifest.digest: model.manifest.raw for model in self.models}
        sole = len(manifests) == 1 and not self.strict
        return (
            *((blob_name(digest), raw) for digest, raw in manifests.items()),
            (LAYOUT_FILE, LAYOUT),
            (INDEX_FILE, index_document(self.models)),
            *((MANIFEST_FILE, raw) for raw in manifests.values() if sole),
        )

    @property
    def size(self) -> int:
        """The bytes of the archive."""
        headers = tar.entry_size(0) * len(directories(blob.digest for blob in self.blobs))
        blobs = sum(tar.entry_size(blob.size, blob_name(blob.digest)) for blob in self.blobs)
        documents = sum(tar.entry_size(len(content), name) for name, content in self.documents)
        return headers + blobs + documents + len(tar.END)


async def image_layout(source: Source, selection: Selection) -> AsyncGenerator[bytes, None]:
    """Write models as a tar stream of exactly `selection.size` bytes.

    Raises:
        DigestMismatch: the source has more or fewer bytes of a blob than the manifest says.
    """
    for directory in directories(blob.digest for blob in selection.blobs):
        yield tar.header(directory, 0, tar.DIRECTORY)
    for blob in selection.blobs:
        async for chunk in blob_entry(source, blob):
            yield chunk
    for name, content in selection.documents:
        yield document_entry(name, content)
    yield tar.END


class Directory:
    """A folder that is an OCI image layout, as a Source of the models in it."""

    def __init__(self, root: Path, *, parse: Parse = parse_reference) -> None:
        """Read what the folder lists, which takes the time of some small files; `parse` reads names.

        Raises:
            InvalidRequest: it is no image layout, or one that cannot be used.
            DigestMismatch: a manifest is not what its name says.
        """
        self._root = root
        check_layout(self._read(LAYOUT_FILE, MAX_LAYOUT_BYTES))
        listed = parse_index(self._read(INDEX_FILE, MAX_INDEX_BYTES))
        manifests = {each.digest: self._manifest(each.digest) for each in listed}
        self.models = named_models(listed, manifests, parse)

    async def manifest(self, reference: Reference) -> Manifest:
        """Find a manifest by name or digest.

        Raises:
            ModelNotFound: the folder has no such model.
        """
        for model in self.models:
            if reference.digest == model.manifest.digest or reference in model.names:
                return model.manifest
        raise ModelNotFound(f"model not found in `{self._root}`: `{reference.familiar}`")

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes; the int is always `start`.

        Raises:
            InvalidRequest: it is missing or cannot be read.
        """
        file = await asyncio.to_thread(self._open, blob, start)
        try:
            yield start, _pieces(file, (blob.size if stop is None else min(stop, blob.size)) - start)
        finally:
            file.close()

    def _manifest(self, digest: Digest) -> bytes:
        raw = self._read(blob_name(digest), MAX_MANIFEST_BYTES)
        verifier = digest.verifier()
        verifier.update(raw)
        if not verifier.matches:
            raise DigestMismatch(f"manifest `{digest}` has other content than its name says")
        return raw

    def _read(self, name: str, limit: int) -> bytes:
        with self._open_file(name) as file:
            raw = file.read(limit + 1)
        if len(raw) > limit:
            raise InvalidRequest(f"`{name}` is larger than {limit} bytes")
        return raw

    def _open(self, blob: Descriptor, start: int) -> BinaryIO:
        file = self._open_file(blob_name(blob.digest))
        file.seek(start)
        return file

    def _open_file(self, name: str) -> BinaryIO:
        path = self._root / name
        try:
            if path.exists() and not path.is_file():  # a pipe would be waited for, for ever
                raise InvalidRequest(f"not a file: `{path}`")
            return path.open("rb")
        except OSError as exc:
            raise InvalidRequest(
                f"cannot read `{path}`: {(exc.strerror or str(exc)).lower()}",
                hint="is the folder a whole OCI image layout?",
            ) from exc


async def _pieces(file: BinaryIO, left: int) -> AsyncGenerator[bytes, None]:
    while left > 0 and (data := await asyncio.to_thread(file.read, min(_CHUNK, left))):
        left -= len(data)
        yield data
