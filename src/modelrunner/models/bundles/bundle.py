"""A bundle: the files of a model, laid out in a directory that an engine can be pointed at.

What goes where, and which file plays which part, is decided from the manifest (`placement.py`), so that a
directory made today and one found tomorrow are read alike. Files are hard links to the blobs.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelrunner.errors import InsufficientStorage, RunnerError, StoreError, UnsupportedModel
from modelrunner.models.bundles import foreign_code
from modelrunner.models.bundles.placement import (
    Place,
    Placement,
    Role,
    effective_config,
    place_layers,
    scanned,
)
from modelrunner.models.bundles.untar import extract
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import CONFIG_CNCF
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import MAX_CONFIG_BYTES, UNREADABLE, Manifest

MODEL_DIRECTORY = "model"  # so that a model's own config.json does not meet ours
CONFIG_FILE = "config.json"

_STALE = 24 * 3600.0  # seconds after which an unfinished directory belongs to no living process
# A file system without hard links, another one than the blobs', or a blob with as many links as it can have.
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNUSABLE_NAMES = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EILSEQ}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model ready for an engine. `weights` has the first shard first; paths are absolute."""

    root: Path
    config: ModelConfig
    weights: tuple[Path, ...]
    projector: Path | None = None
    template: Path | None = None
    adapters: tuple[Path, ...] = ()


def unpack(
    manifest: Manifest, config: ModelConfig, blob_path: Callable[[Digest], Path], target: Path
) -> Bundle:
    """Lay the model out in `target`, which appears complete or not at all.

    One that is there already stays if it is complete, since engines may be reading it, and else is replaced.
    Blocks: archives are unpacked, and files are copied where they cannot be linked.

    Raises:
        UnsupportedModel: no weights, names that collide or lead outside, or code beside safetensors.
        InsufficientStorage: the disk is full.
        StoreError: a blob is missing or damaged, or the directory cannot be written.
    """
    placement = place_layers(manifest, config)
    target = target.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        work = Path(tempfile.mkdtemp(prefix=f"{target.name}.tmp-", dir=target.parent))
        try:
            _fill(work, manifest, placement, blob_path)
            bundle = _bundle(work, target, placement, effective_config(manifest, config))
            _publish(work, target, lambda: load_bundle(target, manifest, config) is not None)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as exc:
        raise _translate(exc, target) from exc
    return bundle


def load_bundle(target: Path, manifest: Manifest, config: ModelConfig) -> Bundle | None:
    """Take a directory that was laid out before; None when it is missing or incomplete.

    Raises:
        UnsupportedModel: the model could not be laid out at all.
    """
    placement = place_layers(manifest, config)
    target = target.absolute()
    model = target / MODEL_DIRECTORY
    try:
        complete = (target / CONFIG_FILE).is_file() and all(
            _is_there(model / place.path, place, placement) for place in placement.files
        )
        return _bundle(target, target, placement, effective_config(manifest, config)) if complete else None
    except (OSError, UnsupportedModel):
        return None


def _fill(work: Path, manifest: Manifest, placement: Placement, blob_path: Callable[[Digest], Path]) -> None:
    model = work / MODEL_DIRECTORY
    model.mkdir()
    # Archives first: what is unpacked afterwards could be written into a file that is linked to a blob.
    for archive in placement.archives:
        extract(blob_path(archive.layer.digest), model, compressed=archive.compressed)
    for place in placement.files:
        _link(blob_path(place.layer.digest), place, model)
    if manifest.config.size > MAX_CONFIG_BYTES:
        raise UnsupportedModel(f"configuration is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    raw = blob_path(manifest.config.digest).read_bytes()
    (work / CONFIG_FILE).write_bytes(_runtime_config(raw, manifest.config.media_type))
    work.chmod(0o755)


def _link(blob: Path, place: Place, model: Path) -> None:
    target = model / place.path
    if target.exists() and place.role is Role.OTHER:
        return
    if blob.stat().st_size != place.layer.size:
        raise StoreError(
            f"damaged blob: `{place.layer.digest}` does not have {place.layer.size} bytes",
            hint="remove the model and pull it again",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(blob, target)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        shutil.copyfile(blob, target)


def _is_there(path: Path, place: Place, placement: Placement) -> bool:
    """Whether a file is complete; one that an archive brought first has a size of its own."""
    size = path.stat().st_size
    return size == place.layer.size or (place.role is Role.OTHER and bool(placement.archives))


def _bundle(directory: Path, target: Path, placement: Placement, config: ModelConfig) -> Bundle:
    """Name the parts of what lies in `directory`, with paths as they are below `target`."""
    cast = placement.cast(config.format)
    if not cast.weights and placement.archives:
        cast = scanned(directory / MODEL_DIRECTORY, config.format)
    if cast.weights and cast.weights[0].suffix.lower() == ".safetensors":
        foreign_code.check(directory / MODEL_DIRECTORY)  # their engines are programs in Python
    model = target / MODEL_DIRECTORY
    return Bundle(
        root=target,
        config=config,
        weights=tuple(model / path for path in cast.weights),
        projector=model / cast.projector if cast.projector else None,
        template=model / cast.template if cast.template else None,
        adapters=tuple(model / path for path in cast.adapters),
    )


def _publish(work: Path, target: Path, is_complete: Callable[[], bool]) -> None:
    """Put the finished directory in place, unless somebody else, in this process or another, was faster."""
    while True:
        try:
            work.rename(target)
        except OSError as exc:
            if exc.errno not in _OCCUPIED:
                raise
        else:
            return
        if is_complete():
            return
        old = Path(tempfile.mkdtemp(prefix=f"{target.name}.tmp-", dir=target.parent))
        with contextlib.suppress(FileNotFoundError):  # the incomplete one is gone already
            target.rename(old / "old")
        shutil.rmtree(old, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what a killed process left of this bundle."""
    for entry in target.parent.iterdir():
        if not entry.name.startswith(f"{target.name}.tmp-"):
            continue
        with contextlib.suppress(FileNotFoundError):  # it is finished now, and in its place
            if entry.stat().st_mtime < time.time() - _STALE:
                shutil.rmtree(entry, ignore_errors=True)


def _runtime_config(raw: bytes, media_type: str) -> bytes:
    """What the reference keeps beside a model: Docker's inner object, or all of CNCF's."""
    try:
        document = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except UNREADABLE as exc:
        raise UnsupportedModel(f"unreadable model configuration: {exc}") from exc
    inner = raw if media_type == CONFIG_CNCF else bytes(document.get("config", b"{}"))
    return inner + b"\n"


def _translate(exc: OSError, target: Path) -> RunnerError:
    if exc.errno in _FULL:
        return InsufficientStorage(
            f"disk is full: `{target.parent}`", hint="remove models that are no longer needed"
        )
    if exc.errno in _UNUSABLE_NAMES:
        return UnsupportedModel(f"file names of the model cannot be used: {exc.strerror or exc}")
    if exc.errno == errno.ENOENT:
        return StoreError(
            f"missing from the store: `{Path(exc.filename or '').name}`",
            hint="remove the model and pull it again",
        )
    return StoreError(f"cannot lay the model out in `{target}`: {exc.strerror or exc}")
