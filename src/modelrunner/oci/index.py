"""`index.json` and `oci-layout`: what an OCI image layout says of itself, read and written.

Source: OCI image-spec v1.1, image-layout.md and annotations.md. The annotation for a whole name is
containerd's, and the one that BuildKit and Docker write, too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from modelrunner.errors import InvalidManifest, InvalidReference
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    UNREADABLE,
    Manifest,
    parse_manifest,
)
from modelrunner.oci.reference import Reference

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
MAX_LAYOUT_BYTES = 4096
MAX_INDEX_BYTES = 4 * 1024 * 1024
MAX_MODELS = 1000  # in one layout

_WHOLE_NAME = "io.containerd.image.name"
_NAME = "org.opencontainers.image.ref.name"

Parse = Callable[[str], Reference]


@dataclass(frozen=True, slots=True)
class Listed:
    """A manifest that an index lists. `size` is in bytes; `name` is as it was written, unchecked."""

    digest: Digest
    size: int
    name: str | None


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model of a layout, and the names that it has there."""

    manifest: Manifest
    names: tuple[Reference, ...] = ()


class _Entry(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None


class _Index(msgspec.Struct, rename="camel"):
    schema_version: int
    manifests: list[_Entry]
    media_type: str = OCI_INDEX
    config: msgspec.Raw | None = None
    layers: msgspec.Raw | None = None


class _Layout(msgspec.Struct, rename="camel"):
    image_layout_version: str


def parse_index(raw: bytes) -> tuple[Listed, ...]:
    """Read `index.json`.

    A name is one with a repository; a bare tag, as some programs write there, says nothing about whose.

    Raises:
        InvalidManifest: not an index, too large, empty, too long, or it lists something that is no manifest.
    """
    if len(raw) > MAX_INDEX_BYTES:
        raise InvalidManifest(f"`{INDEX_FILE}` is larger than {MAX_INDEX_BYTES} bytes")
    try:
        index = msgspec.json.decode(raw, type=_Index)
    except UNREADABLE as exc:
        raise InvalidManifest(f"`{INDEX_FILE}` is not an image index: {exc}") from exc
    if index.schema_version != 2 or index.media_type != OCI_INDEX or index.config or index.layers:
        raise InvalidManifest(f"`{INDEX_FILE}` is not an image index: `{index.media_type[:200]}`")
    if not 0 < len(index.manifests) <= MAX_MODELS:
        raise InvalidManifest(
            f"`{INDEX_FILE}` lists {len(index.manifests)} manifests, and not 1 to {MAX_MODELS}"
        )
    listed = tuple(_listed(entry) for entry in index.manifests)
    sizes = {each.digest: each.size for each in listed}
    if any(sizes[each.digest] != each.size for each in listed):
        raise InvalidManifest(f"`{INDEX_FILE}` lists the same digest with two sizes")
    return listed


def check_layout(raw: bytes) -> None:
    """Make sure that `oci-layout` tells of a version that is understood.

    Raises:
        InvalidManifest: of another, or of none.
    """
    try:
        version = msgspec.json.decode(raw, type=_Layout).image_layout_version
    except UNREADABLE as exc:
        raise InvalidManifest(f"`{LAYOUT_FILE}` has no version: {exc}") from exc
    if version.partition(".")[0] != "1":
        raise InvalidManifest(f"`{LAYOUT_FILE}` is of an unknown version: `{version[:100]}`")


def named_models(
    listed: Iterable[Listed], manifests: Mapping[Digest, bytes], parse: Parse
) -> tuple[NamedModel, ...]:
    """Put together what an index lists, each model once; `manifests` are raw and verified.

    Raises:
        InvalidManifest: a manifest is not there or has another size, or two models have the same name.
    """
    names: dict[Digest, list[Reference]] = {}
    sizes: dict[Digest, int] = {}
    taken: dict[Reference, Digest] = {}
    for each in listed:
        sizes[each.digest] = each.size
        own = names.setdefault(each.digest, [])
        name = _name(each, parse)
        if name is None or name in own:
            continue
        if taken.setdefault(name, each.digest) != each.digest:
            raise InvalidManifest(f"`{INDEX_FILE}` gives two models the name `{name.familiar}`")
        own.append(name)
    return tuple(
        NamedModel(_manifest(digest, sizes[digest], manifests), tuple(own)) for digest, own in names.items()
    )


def index_document(models: Iterable[NamedModel]) -> bytes:
    """Write `index.json`, with an entry for each name of a model, or one without a name."""
    entries = [_entry(model.manifest, name) for model in models for name in model.names or (None,)]
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def _listed(entry: _Entry) -> Listed:
    digest = Digest.parse(entry.digest)
    if entry.media_type not in {OCI_MANIFEST, DOCKER_MANIFEST}:
        raise InvalidManifest(f"`{digest}` in `{INDEX_FILE}` is no manifest but `{entry.media_type[:200]}`")
    if entry.size < 0:
        raise InvalidManifest(f"negative size in `{INDEX_FILE}`: `{entry.size}`")
    annotations = entry.annotations or {}
    name = annotations.get(_WHOLE_NAME) or annotations.get(_NAME)
    return Listed(digest, entry.size, name if name and "/" in name else None)


def _entry(manifest: Manifest, name: Reference | None) -> dict[str, object]:
    kind = {"artifactType": manifest.artifact_type} if manifest.artifact_type else {}
    annotations = {"annotations": {_WHOLE_NAME: str(name), _NAME: str(name)}} if name else {}
    return {
        "mediaType": manifest.media_type,
        **kind,
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
        **annotations,
    }


def _name(listed: Listed, parse: Parse) -> Reference | None:
    """Read a model's name; what is none, in an annotation that is free text, counts as no name."""
    if listed.name is None:
        return None
    try:
        name = parse(listed.name)
    except InvalidReference:
        return None
    if name.digest not in {None, listed.digest}:
        raise InvalidManifest(f"`{INDEX_FILE}` calls `{listed.digest}` by another digest: `{name.familiar}`")
    return name.without_digest if name.tag is not None else None


def _manifest(digest: Digest, size: int, manifests: Mapping[Digest, bytes]) -> Manifest:
    raw = manifests.get(digest)
    if raw is None:
        raise InvalidManifest(
            f"the manifest `{digest}` that `{INDEX_FILE}` lists is missing", hint="make the archive again"
        )
    if len(raw) != size:
        raise InvalidManifest(f"manifest `{digest}` has {len(raw)} bytes, but `{INDEX_FILE}` says {size}")
    return parse_manifest(raw)
