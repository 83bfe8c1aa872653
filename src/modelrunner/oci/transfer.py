"""One copy: every pull, push, load, save and package is this loop between a source and a sink."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a blob is present at the other end, in bytes."""

    blob: Descriptor
    done: int


class Source(Protocol):
    """Where an artifact comes from: a registry, a store, an archive, a draft."""

    async def manifest(self, reference: Reference) -> Manifest:
        """Fetch the manifest that a reference names."""
        ...

    def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes.

        The int is where the bytes really start: 0 when the other side ignored the range.
        """
        ...


class Sink(Protocol):
    """Where an artifact goes: a registry, a store, an archive."""

    def claim(self, blob: Descriptor) -> AbstractAsyncContextManager[int]:
        """Hold the sole right to write `blob`; yield the bytes already here, from the start, without a gap.

        Equals `blob.size` only once the digest has been verified. Others wait until the claim ends.
        """
        ...

    async def write(self, blob: Descriptor, offset: int, chunks: AsyncIterator[bytes]) -> None:
        """Append the rest of a claimed blob, from `offset` to its end, and verify its digest."""
        ...

    async def commit(self, manifest: Manifest, tags: Sequence[Reference]) -> None:
        """Make the artifact visible, once all of its blobs are here: the manifest first, then the names."""
        ...


Tell = Callable[[Progress], None]
