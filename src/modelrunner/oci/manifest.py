"""Descriptors and manifests, parsed once and never serialised again: a digest is of the bytes that came."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from modelrunner.errors import InvalidManifest, InvalidRequest
from modelrunner.oci.digest import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_CONFIG_BYTES = 16 * 1024 * 1024  # it may carry the header of the weights
MAX_LAYERS = 10_000  # a directory artifact has one for each file; more is an attack, not a model

# What decoding a document from outside may raise: no JSON or another shape, no UTF-8, too deep.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Some content by reference: what it is, its digest and its size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING, compare=False)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One artifact: a configuration and layers. `raw` holds the exact bytes that `digest` is of."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING, compare=False)
    artifact_type: str | None = None

    @property
    def digest(self) -> Digest:
        """The digest of the raw bytes, which is the model's id."""
        return Digest.of(self.raw)

    @property
    def blobs(self) -> Iterator[Descriptor]:
        """Every blob once, layers in order and the configuration last."""
        seen: set[Digest] = set()
        for blob in (*self.layers, self.config):
            if blob.digest not in seen:
                seen.add(blob.digest)
                yield blob

    @property
    def size(self) -> int:
        """Bytes of all distinct blobs together."""
        return sum(blob.size for blob in self.blobs)


class _Descriptor(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None


class _Manifest(msgspec.Struct, rename="camel"):
    schema_version: int
    config: _Descriptor
    layers: list[_Descriptor] | None = None
    media_type: str | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None
    manifests: list[object] | None = None


def parse_manifest(raw: bytes, media_type: str | None = None) -> Manifest:
    """Read an OCI or Docker image manifest.

    `media_type` is what the other side said the bytes are; the document's own field must agree.

    Raises:
        InvalidManifest: not a manifest, an index, too large, too many layers, an unknown digest, a negative
            size, or a type that contradicts the one that was announced.
    Source: OCI image-spec v1.1, manifest.md; CVE-2021-41190 is why a document that is both is refused.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"manifest is larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        document = msgspec.json.decode(raw, type=_Manifest)
    except UNREADABLE as exc:
        raise InvalidManifest(f"not an image manifest: {exc}") from exc
    kind = _kind(document, (media_type or "").partition(";")[0].strip())
    layers = document.layers or []
    if document.schema_version != 2 or len(layers) > MAX_LAYERS:
        raise InvalidManifest(f"unusable manifest: schema {document.schema_version}, {len(layers)} layers")
    manifest = Manifest(
        raw=raw,
        media_type=kind,
        config=_descriptor(document.config),
        layers=tuple(_descriptor(layer) for layer in layers),
        annotations=MappingProxyType(document.annotations or {}),
        artifact_type=document.artifact_type or None,
    )
    sizes = {blob.digest: blob.size for blob in manifest.blobs}
    if any(sizes[blob.digest] != blob.size for blob in (manifest.config, *manifest.layers)):
        raise InvalidManifest("unusable manifest: the same digest appears with two sizes")
    return manifest


def _kind(document: _Manifest, announced: str) -> str:
    """The type of a manifest, which the document and whoever sent it must agree on."""
    kind = document.media_type or announced or OCI_MANIFEST
    if kind not in {OCI_MANIFEST, DOCKER_MANIFEST} or document.manifests is not None:
        raise InvalidManifest(f"not a single image manifest: `{kind}`")
    known = {OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST}
    if announced in known and announced != kind:
        raise InvalidManifest(f"manifest is announced as `{announced}` but says it is `{kind}`")
    return kind


def _descriptor(document: _Descriptor) -> Descriptor:
    if document.size < 0:
        raise InvalidManifest(f"negative size in manifest: `{document.size}`")
    try:
        digest = Digest.parse(document.digest)
    except InvalidRequest as exc:
        raise InvalidManifest(f"unusable manifest: {exc.message}", hint=exc.hint) from exc
    return Descriptor(
        media_type=document.media_type,
        digest=digest,
        size=document.size,
        annotations=MappingProxyType(document.annotations or {}),
    )
