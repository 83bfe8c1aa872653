"""Are the files of a store what their names say? Every one is read again; what is wrong is set aside.

Nothing is deleted here: a file that is not what its name says may be all that is left of something, so it is
moved into `quarantine/`. What it was of counts as damaged then, until it is pulled again.
"""

import logging
import os
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from itertools import count as count_up
from pathlib import Path

from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from modelrunner.oci.reference import Reference
from modelrunner.store.adopt import Count, hash_file, ignore
from modelrunner.store.disk import explaining, files_below, open_file, remove_quietly, sync_directory
from modelrunner.store.index import Entry, Index
from modelrunner.store.layout import Layout
from modelrunner.store.locks import Turns

_log = logging.getLogger(__name__)
_NICE = 10  # what a thread that may wait adds to its niceness
PARALLEL = max(1, min(4, (os.cpu_count() or 2) // 2))  # files read at once; others use this machine, too


class Damage(StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"
    SIZE = "wrong size"
    CONTENT = "wrong content"
    UNREADABLE = "unreadable"


_CAN_BE_MOVED = frozenset({Damage.SIZE, Damage.CONTENT})


@dataclass(frozen=True, slots=True)
class Check:
    """One file to be read: what it has to be, and which models need it. `size` is None when nothing says."""

    digest: Digest
    path: Path
    size: int | None
    models: tuple[Digest, ...]
    is_manifest: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that is not right. `inode` is that of the file that was read, 0 for none."""

    check: Check
    damage: Damage
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to be read for some models, and what they are called; `total` is in bytes."""

    checks: tuple[Check, ...]
    manifests: tuple[tuple[Digest, Manifest], ...]
    names: Mapping[Digest, tuple[Reference, ...]]
    total: int


def survey(index: Index, layout: Layout, only: Collection[Digest] | None = None) -> Survey:
    """Find out which files the listed models need, or `only` some of them; each file once.

    A model whose manifest cannot be read has its files from the index, where no sizes are.
    """
    needed: dict[Digest, tuple[int | None, list[Digest]]] = {}
    manifests: list[tuple[Digest, Manifest]] = []
    checks: list[Check] = []
    names: dict[Digest, tuple[Reference, ...]] = {}
    for model, entry in index.listed:
        if only is not None and model not in only:
            continue
        names[model] = index.references(entry)
        path = layout.manifest(model)
        checks.append(Check(model, path, None, (model,), is_manifest=True))
        manifest = _manifest(path)
        if manifest is not None:
            manifests.append((model, manifest))
        for digest, size in _files(entry, manifest):
            known, users = needed.get(digest, (None, []))
            needed[digest] = (size if size is not None else known, [*users, model])
    blobs = [
        Check(digest, layout.blobs / digest.path, size, tuple(users))
        for digest, (size, users) in needed.items()
    ]
    everything = (*checks, *blobs)
    return Survey(everything, tuple(manifests), names, sum(_size(check.path) for check in everything))


def examine(
    checks: Iterable[Check], *, count: Count = ignore, stop: threading.Event, parallel: int = PARALLEL
) -> tuple[Finding, ...]:
    """Read files, several at a time and giving way to everything else; those that are not right.

    `count` is told, from its threads, how many more bytes were read. Setting `stop` ends it.

    Raises:
        CancelledError: it was stopped.
    """
    with ThreadPoolExecutor(parallel, "verify", initializer=_give_way) as threads:
        try:
            found = list(threads.map(lambda check: _examine(check, count, stop), checks))
        except BaseException:
            stop.set()
            raise
    return tuple(finding for finding in found if finding is not None)


def has_other_bundle(
    layout: Layout, model: Digest, manifest: Manifest, *, stop: threading.Event | None = None
) -> bool:
    """Whether the model is laid out with other weights than its blobs are.

    A file that is a blob under another name is right when the blob is; a copy, and what is left of a blob
    that was replaced, is read. What an archive brought has no digest and is passed over.
    """
    blobs = {layer.digest: layout.blobs / layer.digest.path for layer in manifest.layers}
    same = {_identity(path) for path in blobs.values()}
    wanted: dict[int, set[Digest]] = {}
    for layer in manifest.layers:
        wanted.setdefault(layer.size, set()).add(layer.digest)
    for path, status in files_below(layout.bundle(model)):
        if (status.st_dev, status.st_ino) in same or status.st_size not in wanted:
            continue
        likely = wanted[status.st_size]
        with suppress(RunnerError):  # a bundle that is just being removed
            if all(hash_file(path, digest.algorithm, stop=stop)[0] != digest for digest in likely):
                return True
    return False


def set_aside(layout: Layout, turns: Turns, finding: Finding) -> Path | None:
    """Move a file that is not right into quarantine; where it is now.

    None when there is nothing to move: it is missing or unreadable, somebody is just writing it anew, or it
    was replaced since it was read.

    Raises:
        StoreError: the disk refuses.
    """
    if finding.damage not in _CAN_BE_MOVED:
        return None
    source = finding.check.path
    with turns.if_free(finding.check.digest) as free, explaining("move", source):
        if not free or _inode(source) != finding.inode:
            return None
        place = layout.quarantine / finding.check.digest.path
        place.parent.mkdir(parents=True, exist_ok=True)
        others = (place.with_name(f"{place.name}.{number}") for number in count_up(2))
        target = next(name for name in chain((place,), others) if not name.exists())
        source.rename(target)
        sync_directory(target.parent)
        sync_directory(source.parent)
    _log.warning("set aside path=%s reason=%s", target, finding.damage)
    return target


def drop_bundle(layout: Layout, model: Digest) -> None:
    """Delete what was laid out of a model, so that it is laid out anew."""
    remove_quietly(layout.bundle(model))


def _files(entry: Entry, manifest: Manifest | None) -> Iterable[tuple[Digest, int | None]]:
    if manifest is not None:
        yield from ((blob.digest, blob.size) for blob in manifest.blobs)
        return
    for text in dict.fromkeys(entry.files):
        with suppress(InvalidRequest):
            yield Digest.parse(text), None


def _manifest(path: Path) -> Manifest | None:
    try:
        with open_file(path) as file:
            return parse_manifest(file.read(MAX_MANIFEST_BYTES + 1))
    except (OSError, InvalidRequest):
        return None


def _examine(check: Check, count: Count, stop: threading.Event) -> Finding | None:
    if stop.is_set():
        raise CancelledError
    inode = _inode(check.path)
    if not inode:
        return Finding(check, Damage.MISSING)
    if check.size is not None and _size(check.path) != check.size:
        return Finding(check, Damage.SIZE, inode)
    try:
        digest, _ = hash_file(check.path, check.digest.algorithm, count=count, stop=stop)
    except RunnerError:
        return Finding(check, Damage.UNREADABLE if _inode(check.path) else Damage.MISSING, inode)
    return None if digest == check.digest else Finding(check, Damage.CONTENT, inode)


def _give_way() -> None:
    """Let this thread run when nobody else wants to; only Linux has niceness for threads."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
