"""Made-up artifacts for tests: in memory, as a source, or as blobs in a folder; of any layers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig, config_v01, go_json, parse_config
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import OCI_MANIFEST, Descriptor, Manifest, parse_manifest
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.oci.transfer import Sink

CONFIG = b'{"config":{"format":"gguf"},"rootfs":{"type":"rootfs","diff_ids":[]}}'

Layer = tuple[str, str | None, bytes]  # media type, path annotation, content


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


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Makes artifacts in a folder of blobs, also such as no tool would make."""

    folder: Path

    def blob(self, data: bytes) -> Digest:
        """Write a blob and name it."""
        digest = Digest.of(data)
        self.path(digest).write_bytes(data)
        return digest

    def path(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return self.folder / digest.hex

    def make(
        self,
        layers: Sequence[Layer],
        *,
        config_type: str = kinds.CONFIG_V01,
        config: ModelConfig | bytes = b"{}",
        artifact_type: str | None = None,
    ) -> tuple[Manifest, ModelConfig]:
        """Write an artifact whose layers are given as media type, path annotation and content."""
        raw_config = config_v01(config, []) if isinstance(config, ModelConfig) else config
        for data in (raw_config, *(data for _, _, data in layers)):
            self.blob(data)
        manifest = _manifest(layers, config_type, raw_config, artifact_type)
        return manifest, parse_config(raw_config, config_type)


def make_artifact(*layers: bytes, config: bytes = CONFIG) -> Artifact:
    """Make a model whose layers have these bytes."""
    manifest = _manifest([(kinds.GGUF_LAYER, None, data) for data in layers], kinds.CONFIG_V01, config)
    return Artifact(manifest, {Digest.of(data): data for data in (*layers, config)})


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


def _manifest(
    layers: Sequence[Layer], config_type: str, config: bytes, artifact_type: str | None = None
) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": _descriptor(config_type, config),
        "layers": [
            {**_descriptor(media_type, data), "annotations": {} if name is None else {kinds.FILEPATH: name}}
            for media_type, name, data in layers
        ],
    }
    return parse_manifest(go_json(document))


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "size": len(data), "digest": str(Digest.of(data))}
