"""Files become an artifact: hashed, described, and offered as a Source. Nothing is copied or written.

The same files, last changed at the same time, give the same id wherever they are packaged: mode and owner in
the annotations are fixed, and every time is the one `created`.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from modelrunner.errors import InvalidRequest, ModelNotFound
from modelrunner.models.description import kinds
from modelrunner.models.description.config import (
    ModelConfig,
    config_cncf,
    config_v01,
    go_json,
    rfc3339,
)
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import OCI_MANIFEST, Descriptor, Manifest, parse_manifest
from modelrunner.oci.reference import Reference

_PIECE = 1 << 20  # bytes read at a time
_MODE = 0o644
_LAST_SECOND = 253402300799  # the end of the year 9999, which is as far as dates go
PACK_TYPES = {
    kinds.LICENSE_LAYER: kinds.CNCF_DOC,
    kinds.GGUF_LAYER: kinds.CNCF_WEIGHT,
    kinds.SAFETENSORS_LAYER: kinds.CNCF_WEIGHT,
    kinds.DDUF_LAYER: kinds.CNCF_WEIGHT,
    kinds.CTRANSLATE2_LAYER: kinds.CNCF_WEIGHT,
    kinds.ONNX_LAYER: kinds.CNCF_WEIGHT,
    kinds.PROJECTOR_LAYER: kinds.CNCF_WEIGHT,
    kinds.LORA_LAYER: kinds.CNCF_WEIGHT,
    kinds.TEMPLATE_LAYER: kinds.CNCF_WEIGHT_CONFIG,
    kinds.FILE_LAYER: kinds.CNCF_WEIGHT_CONFIG,
}

Tell = Callable[[int, int], None]
# Finds out the digest and the size of files, telling how many bytes of all it has seen.
Hashing = Callable[[Sequence[Path], Tell], Mapping[Path, tuple[Digest, int]]]


def ignore(done: int, total: int) -> None:
    """Take note of how many bytes of all have been hashed, and do nothing."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of an artifact: where it is, Docker's media type for it, and its path within the model."""

    path: Path
    media_type: str
    name: str


@dataclass(frozen=True, slots=True)
class Described:
    """One layer to be: its path within the model, Docker's media type, its digest and size in bytes."""

    name: str
    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A packaged model that is in no store yet; a Source of its manifest and its blobs."""

    manifest_value: Manifest
    config: ModelConfig
    config_bytes: bytes
    paths: Mapping[Digest, Path]

    async def manifest(self, reference: Reference) -> Manifest:  # noqa: ARG002 - a Source is asked by name
        """Give the one manifest there is, whatever the name."""
        return self.manifest_value

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes.

        Raises:
            ModelNotFound: the blob is not of this artifact.
            InvalidRequest: its file cannot be read any more, or became shorter.
        """
        end = blob.size if stop is None else min(stop, blob.size)
        if blob.digest == self.manifest_value.config.digest:
            yield start, _once(self.config_bytes[start:end])
            return
        path = self.paths.get(blob.digest)
        if path is None:
            raise ModelNotFound(f"blob is not of this model: `{blob.digest}`")
        file = await asyncio.to_thread(_open, path)
        with file:  # closing waits for a read that a cancelled task left behind
            async with aclosing(_pieces(file, path, start, end)) as pieces:
                yield start, pieces


def hash_files(paths: Sequence[Path], tell: Tell) -> dict[Path, tuple[Digest, int]]:
    """Hash every file once, several at a time; hashing releases the interpreter lock."""
    distinct = list(dict.fromkeys(paths))
    try:
        total = sum(path.stat().st_size for path in distinct)
    except OSError as exc:
        raise _unreadable(Path(exc.filename), exc) from exc
    lock, stopped = threading.Lock(), threading.Event()
    done = 0

    def count(more: int) -> None:
        nonlocal done
        if stopped.is_set():
            raise CancelledError
        with lock:
            done += more
            tell(done, total)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), "hash") as threads:
        try:
            return dict(zip(distinct, threads.map(lambda path: _hash(path, count), distinct), strict=True))
        finally:
            stopped.set()  # after an interrupt nobody waits for the rest of a large file


def _hash(path: Path, count: Callable[[int], None]) -> tuple[Digest, int]:
    """Hash a file; the size is that of the bytes hashed, should the file be growing."""
    state, size = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            buffer = memoryview(bytearray(_PIECE))
            while length := file.readinto(buffer):
                state.update(buffer[:length])
                size += length
                count(length)
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    return Digest("sha256", state.hexdigest()), size


def assemble(
    files: Sequence[File],
    config: ModelConfig,
    *,
    config_type: str = kinds.CONFIG_V01,
    created: datetime | None = None,
    tell: Tell = ignore,
    hashing: Hashing = hash_files,
) -> Draft:
    """Make an artifact of files in this order, one layer for each, with this description.

    Raises:
        InvalidRequest: a file cannot be read.
    """
    moment = created or newest(files)
    hashed = hashing([file.path for file in files], tell)
    described = [Described(file.name, file.media_type, *hashed[file.path]) for file in files]
    manifest, config_bytes = compose(described, config, created=moment, config_type=config_type)
    return Draft(
        manifest_value=manifest,
        config=replace(config, created=moment),
        config_bytes=config_bytes,
        paths={digest: path for path, (digest, _) in hashed.items()},
    )


def compose(
    files: Sequence[Described],
    config: ModelConfig,
    *,
    created: datetime,
    config_type: str = kinds.CONFIG_V01,
) -> tuple[Manifest, bytes]:
    """Write the manifest and the configuration of files in this order, one layer for each. Pure."""
    layers = [layer_of(file, created, config_type) for file in files]
    write_config = config_cncf if config_type == kinds.CONFIG_CNCF else config_v01
    config_bytes = write_config(replace(config, created=created), [layer.digest for layer in layers])
    return parse_manifest(_manifest(config_type, config_bytes, layers)), config_bytes


def newest(files: Sequence[File]) -> datetime:
    """When the last of the files was changed; whole seconds, since copies often keep no more."""
    seconds = 0
    for file in files:
        try:
            seconds = max(seconds, int(file.path.stat().st_mtime))
        except OSError as exc:
            raise _unreadable(file.path, exc) from exc
    return datetime.fromtimestamp(min(seconds, _LAST_SECOND), UTC)


def layer_of(file: Described, created: datetime, config_type: str) -> Descriptor:
    """The layer that a file becomes, of the media type that goes with the configuration's."""
    metadata = {
        "name": PurePosixPath(file.name).name,
        "mode": _MODE,
        "uid": 0,
        "gid": 0,
        "size": file.size,
        "mtime": rfc3339(created),
        "typeflag": 0,
    }
    media_type = file.media_type
    if config_type == kinds.CONFIG_CNCF:
        media_type = PACK_TYPES[media_type]
    annotations = {
        kinds.MEDIATYPE_UNTESTED: "false",
        kinds.FILE_METADATA: go_json(metadata).decode(),
        kinds.FILEPATH: file.name,
    }
    role = kinds.packed_role(file.media_type, file.name)
    if config_type == kinds.CONFIG_CNCF and role:
        annotations[kinds.ROLE] = role
    return Descriptor(media_type, file.digest, file.size, annotations)


def _manifest(config_type: str, config_bytes: bytes, layers: Sequence[Descriptor]) -> bytes:
    """Write the manifest with its fields in the reference's order; annotations sorted, as Go's maps are."""
    artifact = {"artifactType": kinds.CNCF_MANIFEST} if config_type == kinds.CONFIG_CNCF else {}
    config = Descriptor(config_type, Digest.of(config_bytes), len(config_bytes))
    return go_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            **artifact,
            "config": _fields(config),
            "layers": [
                {**_fields(layer), "annotations": dict(sorted(layer.annotations.items()))} for layer in layers
            ],
        }
    )


def _fields(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        "digest": str(descriptor.digest),
    }


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise _unreadable(path, exc) from exc


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def _pieces(file: BinaryIO, path: Path, start: int, end: int) -> AsyncGenerator[bytes, None]:
    position = start
    try:
        file.seek(start)
        while position < end:
            piece = await asyncio.to_thread(file.read, min(_PIECE, end - position))
            if not piece:
                raise InvalidRequest(
                    f"`{path}` became shorter while it was read",
                    hint="leave the files alone until they are packaged",
                )
            position += len(piece)
            yield piece
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: OSError) -> InvalidRequest:
    return InvalidRequest(f"cannot read `{path}`: {exc.strerror or exc}")
