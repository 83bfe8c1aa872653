"""An artifact as a tar stream in the reference's own form, written without a temporary file.

The directories `blobs` and `blobs/<algorithm>`, a file `blobs/<algorithm>/<hex>` for each layer, then for the
configuration, and `manifest.json` last. `oci/load.py` reads it; several models and names are for
`oci/image_layout.py`.
"""

from collections.abc import AsyncGenerator, Iterable

from modelrunner.errors import DigestMismatch
from modelrunner.oci import tar
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.transfer import Source

MANIFEST_FILE = "manifest.json"


async def archive(source: Source, manifest: Manifest) -> AsyncGenerator[bytes, None]:
    """Write an artifact as a tar stream of exactly `archive_size(manifest)` bytes.

    Raises:
        DigestMismatch: the source has more or fewer bytes of a blob than the manifest says.
    """
    for directory in directories(blob.digest for blob in manifest.blobs):
        yield tar.header(directory, 0, tar.DIRECTORY)
    for blob in manifest.blobs:
        async for chunk in blob_entry(source, blob):
            yield chunk
    yield document_entry(MANIFEST_FILE, manifest.raw) + tar.END


def archive_size(manifest: Manifest) -> int:
    """The size of an artifact's archive, in bytes."""
    headers = tar.entry_size(0) * len(directories(blob.digest for blob in manifest.blobs))
    blobs = sum(tar.entry_size(blob.size, blob_name(blob.digest)) for blob in manifest.blobs)
    return headers + blobs + tar.entry_size(len(manifest.raw)) + len(tar.END)


def blob_name(digest: Digest) -> str:
    """Where an archive has a blob."""
    return f"blobs/{digest.path}"


def directories(digests: Iterable[Digest]) -> list[str]:
    """The directories that come before blobs with these digests."""
    algorithms = {"sha256"} | {digest.algorithm for digest in digests}
    return ["blobs", *(f"blobs/{algorithm}" for algorithm in sorted(algorithms))]


def document_entry(name: str, content: bytes) -> bytes:
    """A whole small file: header, content and padding."""
    return tar.header(name, len(content)) + content + tar.padding(len(content))


async def blob_entry(source: Source, blob: Descriptor) -> AsyncGenerator[bytes, None]:
    """Write one blob: header, content and padding.

    Raises:
        DigestMismatch: the source has more or fewer bytes of it than the descriptor says.
    """
    yield tar.header(blob_name(blob.digest), blob.size)
    sent = 0
    async with source.open(blob) as (start, chunks):
        async for chunk in chunks:
            sent += len(chunk)
            if start + sent > blob.size:
                break
            yield bytes(chunk)
    if start != 0 or sent != blob.size:
        raise DigestMismatch(f"blob `{blob.digest}` does not have the {blob.size} bytes of its manifest")
    yield tar.padding(blob.size)
