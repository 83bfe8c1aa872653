"""Artifacts in memory, made from bytes, for tests of anything that stores or sends them."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import OCI_MANIFEST, Descriptor, Manifest, parse_manifest
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.oci.transfer import Sink

CONFIG = b'{"config":{"format":"gguf"},"rootfs":{"type":"rootfs","diff_ids":[]}}'
_CONFIG_TYPE = "application/vnd.docker.ai.model.config.v0.1+json"
_LAYER_TYPE = "application/vnd.docker.ai.gguf.v3"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model without a place; a Source of itself."""

    content: Manifest
    contents: Mapping[Digest, bytes]

    @property
    def id(self) -> Digest:
        """The model's id."""
        return self.content.digest

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, in order."""
        return self.content.layers

    @property
    def config(self) -> Descriptor:
        """The configuration."""
        return self.content.config

    async def manifest(self, reference: Reference) -> Manifest:
        """Give the manifest, whatever the reference."""
        del reference
        return self.content

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a blob's bytes from `start` up to `stop`."""
        yield start, stream(self.contents[blob.digest][start:stop])


def make_artifact(*layers: bytes, config: bytes = CONFIG) -> Artifact:
    """Make a model whose layers have these bytes."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(_CONFIG_TYPE, config),
        "layers": [_descriptor(_LAYER_TYPE, layer) for layer in layers],
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    return Artifact(parse_manifest(raw), {Digest.of(data): data for data in (*layers, config)})


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    """Give some bytes one after the other."""
    for chunk in chunks:
        yield chunk


async def put_blobs(sink: Sink, artifact: Artifact) -> None:
    """Write every blob that is missing, without making the model visible."""
    for blob in artifact.content.blobs:
        async with sink.claim(blob) as done:
            if done < blob.size:
                await sink.write(blob, done, stream(artifact.contents[blob.digest][done:]))


async def put(sink: Sink, artifact: Artifact, *tags: str) -> None:
    """Write a whole model under some names, which are full references."""
    await put_blobs(sink, artifact)
    await sink.commit(artifact.content, [parse_reference(tag) for tag in tags])


def _descriptor(media_type: str, data: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "size": len(data), "digest": str(Digest.of(data))}
