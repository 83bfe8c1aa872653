"""A registry client with no patience, and a sink in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import uvloop

from modelrunner.errors import DigestMismatch
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credential
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.oci.registry import Registry
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.upload import CHUNK


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what deals with transports on both loops: the daemon uses uvloop where there is one."""
    plain = {"asyncio": asyncio.new_event_loop}
    return plain | {"uvloop": uvloop.new_event_loop} if item.path.stem == "test_receiver" else plain


@dataclass
class Passwords:
    """Credentials by registry."""

    known: Mapping[str, Credential] = field(default_factory=dict)

    def lookup(self, registry: str) -> Credential | None:
        return self.known.get(registry)


@dataclass
class Memory:
    """A sink that keeps everything, and what was told to it."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    partial: dict[Digest, bytes] = field(default_factory=dict)
    claims: list[Digest] = field(default_factory=list)
    committed: list[tuple[Manifest, tuple[Reference, ...]]] = field(default_factory=list)

    @asynccontextmanager
    async def claim(self, blob: Descriptor) -> AsyncIterator[int]:
        self.claims.append(blob.digest)
        if blob.size == 0:
            self.blobs[blob.digest] = b""
        yield len(self.blobs.get(blob.digest, self.partial.get(blob.digest, b"")))

    async def write(self, blob: Descriptor, offset: int, chunks: AsyncIterator[bytes]) -> None:
        content = bytearray(self.partial.get(blob.digest, b"")[:offset])
        try:
            async for chunk in chunks:
                content += chunk
        finally:
            self.partial[blob.digest] = bytes(content)
        del self.partial[blob.digest]
        if Digest.of(bytes(content)) != blob.digest:
            raise DigestMismatch(f"blob `{blob.digest}`")
        self.blobs[blob.digest] = bytes(content)

    async def commit(self, manifest: Manifest, tags: Sequence[Reference]) -> None:
        self.committed.append((manifest, tuple(tags)))


class Client:
    """Makes registry clients that do not wait between tries, and references to a server on loopback."""

    @staticmethod
    @asynccontextmanager
    async def open(
        known: Mapping[str, Credential] | None = None,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        upload_chunk: int = CHUNK,
    ) -> AsyncIterator[Registry]:
        async with Registry(
            credentials=Passwords(known or {}),
            user_agent="modelrunner-test/1",
            retry=retry or RetryPolicy(first=0.0),
            timeouts=timeouts or Timeouts(connect=5.0, stall=5.0, finish=5.0),
            upload_chunk=upload_chunk,
        ) as registry:
            yield registry

    @staticmethod
    def reference(url: str, rest: str = "team/model:v1") -> Reference:
        return parse_reference(f"{urlsplit(url).netloc or url}/{rest}")


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def memory() -> Memory:
    return Memory()
