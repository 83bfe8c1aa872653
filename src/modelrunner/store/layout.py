"""The directories of a store: where things are, how an empty one begins, what may be swept out of it.

    layout.json            {"version": "1.0.0"}; marks the directory as a store
    models.json            the index
    manifests/sha256/<hex> raw manifests
    blobs/<alg>/<hex>      layers and configurations; `.incomplete` behind the name while they arrive,
                           with a `.incomplete.journal` beside it
    bundles/sha256/<hex>/  models laid out for engines
    quarantine/<alg>/<hex> ours alone: files that were not what their names say, until somebody prunes them
    configurations.json    ours alone: how models are to be run, which is not the store's to read
    transfers.json         ours alone: what is under way, so that a daemon that was killed can tell of it
    .locks/                ours alone; empty while no daemon is there and nobody writes

All but the last four is the reference's, which reads and writes the same tree.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from modelrunner.errors import InvalidRequest, RunnerError, StoreError
from modelrunner.oci.digest import Digest
from modelrunner.store.disk import (
    TEMPORARY,
    explaining,
    files_below,
    remove_quietly,
    write_atomically,
)
from modelrunner.store.index import Index, dumps
from modelrunner.store.journal import JOURNAL
from modelrunner.store.locks import Turns, holding, sweep
from modelrunner.store.partial import SUFFIX

_log = logging.getLogger(__name__)
_MARKER = b'{\n  "version": "1.0.0"\n}'
_PARTIAL_AGE = 7 * 24 * 3600.0  # seconds after which nobody is expected to continue a download
_TEMPORARY_AGE = 3600.0  # seconds; replacing a file takes milliseconds
_OURS = frozenset(
    {"layout.json", "models.json", "manifests", "blobs", "bundles"}
    | {"quarantine", "configurations.json", "transfers.json", ".locks"}
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store."""

    root: Path

    @property
    def marker(self) -> Path:
        """The file without which a directory is no store."""
        return self.root / "layout.json"

    @property
    def index(self) -> Path:
        """The list of models."""
        return self.root / "models.json"

    @property
    def blobs(self) -> Path:
        """Layers and configurations."""
        return self.root / "blobs"

    @property
    def manifests(self) -> Path:
        """Raw manifests."""
        return self.root / "manifests"

    @property
    def bundles(self) -> Path:
        """Models laid out for engines."""
        return self.root / "bundles"

    @property
    def quarantine(self) -> Path:
        """Damaged files, which the reference does not know."""
        return self.root / "quarantine"

    @property
    def configurations(self) -> Path:
        """How models are to be run, which the reference does not know."""
        return self.root / "configurations.json"

    @property
    def configurations_lock(self) -> Path:
        """Held by whoever edits the configurations."""
        return self.locks / "configurations.lock"

    @property
    def unfinished(self) -> Path:
        """Which pulls and pushes are under way, which the reference does not know."""
        return self.root / "transfers.json"

    @property
    def unfinished_lock(self) -> Path:
        """Held by the daemon whose transfers those are, as long as it lives."""
        return self.locks / "transfers.lock"

    @property
    def locks(self) -> Path:
        """Lock files, which the reference does not know."""
        return self.root / ".locks"

    @property
    def index_lock(self) -> Path:
        """Held by whoever edits the index."""
        return self.locks / "index.lock"

    def owns(self, path: Path) -> bool:
        """Whether something below the directory is the store's; people point it at folders of their own."""
        return path.relative_to(self.root).parts[0].partition(TEMPORARY)[0] in _OURS

    def manifest(self, model: Digest) -> Path:
        """The raw manifest of a model."""
        return self.manifests / model.path

    def bundle(self, model: Digest) -> Path:
        """The directory that an engine is pointed at."""
        return self.bundles / model.path


def initialise(layout: Layout) -> None:
    """Make a directory a store, if it is none yet.

    Raises:
        InsufficientStorage: the disk is full.
        StoreError: the directory cannot be made or written.
    """
    with explaining("open the store", layout.root):
        layout.root.mkdir(parents=True, exist_ok=True)
        if layout.marker.exists() and layout.index.exists():
            return
        with holding(layout.index_lock):
            if not layout.marker.exists():
                write_atomically(layout.marker, _MARKER)
            if not layout.index.exists():
                write_atomically(layout.index, dumps(Index()))


def sweep_out(layout: Layout, turns: Turns) -> None:
    """Take away what killed programs left: old partial and temporary files, locks. Failures only warn."""
    now = time.time()
    try:
        sweep(layout.locks)
        for path, status in files_below(layout.root):
            age = now - status.st_mtime
            if path.name.endswith(SUFFIX) and age > _PARTIAL_AGE:
                remove_partial(layout, turns, path)
            elif f"{SUFFIX}{JOURNAL}" in path.name and age > _PARTIAL_AGE:
                remove_partial(layout, turns, path.with_name(f"{path.name.partition(SUFFIX)[0]}{SUFFIX}"))
            elif (
                TEMPORARY in path.name
                and age > _TEMPORARY_AGE
                and layout.owns(path)
                and layout.bundles not in path.parents
            ):
                remove_quietly(path)
    except RunnerError as exc:
        _log.warning("store not swept root=%s reason=%s", layout.root, exc)


def remove_partial(layout: Layout, turns: Turns, path: Path) -> int:
    """Delete a partial file unless somebody is writing it; the bytes it had."""
    digest = digest_at(layout.blobs, path)
    if digest is None:
        return 0
    with turns.if_free(digest) as free:
        if not free:
            return 0
        freed = remove_quietly(path)
        for companion in path.parent.glob(f"{path.name}{JOURNAL}*"):
            remove_quietly(companion)
        return freed


def digest_at(directory: Path, path: Path) -> Digest | None:
    """The digest that a path below a directory of digests stands for; None when it stands for none."""
    parts = path.relative_to(directory).parts if directory in path.parents else ()
    if len(parts) != 2:
        return None
    try:
        return Digest(parts[0], parts[1].removesuffix(SUFFIX))
    except InvalidRequest:
        return None


def check_is_store(layout: Layout) -> None:
    """Refuse to empty a directory that holds something, but not the mark of a store.

    Raises:
        StoreError: it holds files of somebody else.
    """
    if layout.marker.exists() or not layout.root.exists():
        return
    with explaining("read", layout.root):
        if any(child != layout.locks for child in layout.root.iterdir()):
            raise StoreError(
                f"refusing to reset: directory `{layout.root}` does not appear to be a model store "
                "(missing layout.json)",
                hint="check the path of the store; nothing was deleted",
            )


def empty(layout: Layout) -> None:
    """Delete what is the store's, but the files that make it one; what else is in the directory stays."""
    kept = {layout.marker, layout.index, layout.locks}
    with explaining("empty", layout.root):
        for child in layout.root.iterdir():
            if layout.owns(child) and child not in kept:
                remove_quietly(child)
        children = set(layout.root.iterdir()) - kept
    left = sorted(child.name for child in children if layout.owns(child))
    if left:
        raise StoreError(f"not everything in `{layout.root}` could be deleted", detail={"left": left})
    if children:
        _log.info(
            "not the store's, left root=%s names=%s", layout.root, sorted(each.name for each in children)
        )


def disk_usage(layout: Layout) -> int:
    """The bytes of all files of a store; a file with several names (a bundle's) counts once."""
    return sum(
        {(status.st_dev, status.st_ino): status.st_size for _, status in files_below(layout.root)}.values()
    )
