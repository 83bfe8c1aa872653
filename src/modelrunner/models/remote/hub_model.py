"""A model of Hugging Face's hub as a source: its manifest, and its blobs from wherever the hub keeps them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from modelrunner.errors import ModelNotFound, RegistryError
from modelrunner.models.remote.hub_repository import HubRepository
from modelrunner.models.remote.hub_selection import Choice
from modelrunner.oci.chunks import Piece
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.reference import Reference
from modelrunner.oci.replies import body_start
from modelrunner.oci.reply import Reply

_EXPIRED = frozenset({400, 401, 403, 404, 410})  # what a storage says to a signed address that is too old


class HubModel:
    """A model of the hub; a Source of its manifest and its blobs."""

    def __init__(
        self, repository: HubRepository, commit: str, choice: Choice, small: Mapping[Digest, bytes]
    ) -> None:
        self.choice = choice
        self._repository = repository
        self._commit = commit
        self._small = dict(small)
        self._paths: dict[Digest, str] = {}
        self._places: dict[Digest, str] = {}  # where the hub redirected to; good for some minutes
        self.content: Manifest | None = None

    def know(self, digest: Digest, path: str) -> None:
        """Remember which file a blob is."""
        self._paths[digest] = path

    def settle(self, manifest: Manifest, config: bytes) -> None:
        """Take the documents that were composed for the files."""
        self.content = manifest
        self._small[manifest.config.digest] = config

    async def manifest(self, reference: Reference) -> Manifest:
        """Give the one manifest there is, whatever the name."""
        if self.content is None:
            raise ModelNotFound(f"model not found: `{reference}`")
        return self.content

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[Piece]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes, over one connection.

        The int is where they really start: 0 when the storage ignored the range.

        Raises:
            TransferInterrupted: the connection breaks while the bytes are read.
            RunnerError: what the hub has against it.
        """
        end = blob.size if stop is None else min(stop, blob.size)
        held = self._small.get(blob.digest)
        if held is not None:
            yield start, _once(held[start:end])
            return
        if start >= end:
            yield start, _once(b"")
            return
        async with self._answer(blob, start, end) as (reply, begin):
            yield begin, _clipped(reply, end - begin)

    @asynccontextmanager
    async def _answer(self, blob: Descriptor, start: int, end: int) -> AsyncIterator[tuple[Reply, int]]:
        path = self._paths[blob.digest]
        headers = {"Range": f"bytes={start}-{end - 1}"} if start > 0 or end < blob.size else {}
        known = self._places.get(blob.digest)
        if known is not None:
            async with self._repository.get(known, headers) as reply:
                if reply.status not in _EXPIRED:
                    yield reply, self._begin(reply, blob, start, path)
                    return
            self._places.pop(blob.digest, None)
        async with self._repository.get(self._repository.file_url(self._commit, path), headers) as reply:
            if reply.status not in {200, 206}:
                raise await self._repository.refusal(reply, path)
            if self._repository.is_elsewhere(reply.url):
                self._places[blob.digest] = reply.url
            yield reply, self._begin(reply, blob, start, path)

    def _begin(self, reply: Reply, blob: Descriptor, start: int, path: str) -> int:
        if reply.status not in {200, 206}:
            raise RegistryError(f"the hub's storage answers with status {reply.status} for `{path}`")
        begin = body_start(reply.status, reply.headers, blob, start)
        if begin is None:
            raise RegistryError(f"the hub's storage sends another range of `{path}` than was asked for")
        return begin


async def _clipped(reply: Reply, length: int) -> AsyncIterator[Piece]:
    left = length
    async for chunk in reply.chunks():
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data
