"""Ollama's store, read: its manifests become candidates with Docker's kinds of layers.

    manifests/<registry>/<namespace>/<model>/<tag>   like a Docker image manifest
    blobs/sha256-<hex>                               by content, so never written again

Its templates are Go's, not Jinja, and its parameters and prompts are for its own API: they are left out.
Source: ollama server/manifest.go and server/modelpath.go, v0.6.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from modelrunner.errors import InvalidRequest
from modelrunner.models.description import kinds
from modelrunner.models.local.candidate import Candidate, Found, Origin, Part, Unusable, file_inside, walk
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import MAX_MANIFEST_BYTES, Descriptor, parse_manifest

_IMAGE = "application/vnd.ollama.image."
_KINDS = {
    "model": (kinds.GGUF_LAYER, "model", ".gguf"),
    "projector": (kinds.PROJECTOR_LAYER, "mmproj", ".gguf"),
    "adapter": (kinds.LORA_LAYER, "adapter", ".gguf"),
    "license": (kinds.LICENSE_LAYER, "LICENSE", ""),
}


def read(root: Path) -> Iterator[Found]:
    """Every model of the store below `root`, the folder that has `manifests` and `blobs` in it.

    Raises:
        InvalidRequest: there is no such store.
    """
    manifests = root / "manifests"
    if not manifests.is_dir():
        raise InvalidRequest(
            f"no Ollama store: `{root}`", hint="name the folder that has `manifests` and `blobs` in it"
        )
    for path in walk(manifests):
        if len(path.parts) > 2:
            yield _read(root, path)


def _read(root: Path, path: PurePosixPath) -> Found:
    name = f"{'/'.join(path.parent.parts).lower()}:{path.name}"
    try:
        file, _ = file_inside(root, root / "manifests" / path)
        with file.open("rb") as opened:
            manifest = parse_manifest(opened.read(MAX_MANIFEST_BYTES + 1))
        parts = tuple(_parts(root, manifest.layers))
    except OSError as exc:
        return Unusable(Origin.OLLAMA, name, f"the manifest cannot be read: {exc.strerror or exc}")
    except InvalidRequest as exc:
        return Unusable(Origin.OLLAMA, name, exc.message)
    if not any(part.media_type == kinds.GGUF_LAYER for part in parts):
        return Unusable(Origin.OLLAMA, name, "it has no GGUF weights")
    words = {_kind(layer) for layer in manifest.layers} - set(_KINDS)
    return Candidate(Origin.OLLAMA, name, parts, settled=True, left_out=tuple(sorted(words)))


def _parts(root: Path, layers: tuple[Descriptor, ...]) -> Iterator[Part]:
    counts: dict[str, int] = {}
    for layer in layers:
        kind = _kind(layer)
        if kind not in _KINDS:
            continue
        media_type, stem, suffix = _KINDS[kind]
        counts[kind] = counts.get(kind, 0) + 1
        number = f"-{counts[kind]}" if counts[kind] > 1 else ""
        path, size = _blob(root, layer.digest)
        if size != layer.size:
            raise InvalidRequest(f"`{path.name}` has {size} bytes instead of {layer.size}")
        yield Part(path, f"{stem}{number}{suffix}", media_type, size, layer.digest)


def _kind(layer: Descriptor) -> str:
    return layer.media_type.removeprefix(_IMAGE)


def _blob(root: Path, digest: Digest) -> tuple[Path, int]:
    blobs = root / "blobs"
    older = blobs / str(digest)  # before 0.1.32
    return file_inside(root, older if older.exists() else blobs / f"{digest.algorithm}-{digest.hex}")
