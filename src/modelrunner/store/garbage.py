"""What lies in a store and belongs to no model: found first and deleted after, so that it can be shown."""

from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modelrunner.oci.digest import Digest
from modelrunner.store.disk import files_below, remove_quietly
from modelrunner.store.index import Index
from modelrunner.store.layout import Layout, digest_at, remove_partial
from modelrunner.store.locks import Turns
from modelrunner.store.partial import SUFFIX


class Kind(StrEnum):
    """What a file was, before nothing named it any more."""

    PARTIAL = "unfinished download"
    BLOB = "blob of no model"
    MANIFEST = "manifest of no model"
    BUNDLE = "files laid out for no model"
    DAMAGED = "damaged file in quarantine"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that can be deleted. `size` is in bytes, 0 for a bundle, whose files are links."""

    path: Path
    kind: Kind
    size: int


def leftovers(
    layout: Layout, turns: Turns, index: Index, *, oldest: float, wanted: Container[Digest]
) -> Iterator[Leftover]:
    """Find blobs, manifests and bundles that an index does not name and that are older than `oldest`.

    `oldest` is in Unix seconds; blobs that are `wanted`, or are just being written, are left out.
    """
    named = index.files() | {entry.id for entry in index.entries}
    for path, status in files_below(layout.root):
        if status.st_mtime > oldest:
            continue
        blob, manifest = digest_at(layout.blobs, path), digest_at(layout.manifests, path)
        if path.name.endswith(SUFFIX) and blob:
            with turns.if_free(blob) as free:
                pass
            if free:
                yield Leftover(path, Kind.PARTIAL, status.st_size)
        elif blob and str(blob) not in named and blob not in wanted:
            yield Leftover(path, Kind.BLOB, status.st_size)
        elif manifest and str(manifest) not in named:
            yield Leftover(path, Kind.MANIFEST, status.st_size)
    for path in sorted(layout.bundles.glob("*/*")):
        bundle = digest_at(layout.bundles, path)
        with suppress(OSError):  # a bundle that gets its name this moment
            if (bundle is None or str(bundle) not in named) and path.lstat().st_mtime <= oldest:
                yield Leftover(path, Kind.BUNDLE, 0)


def quarantined(layout: Layout) -> Iterator[Leftover]:
    """Find what was set aside because it was not what its name says."""
    for path, status in files_below(layout.quarantine):
        yield Leftover(path, Kind.DAMAGED, status.st_size)


def remove(layout: Layout, turns: Turns, leftover: Leftover) -> int:
    """Delete it, unless somebody is just writing it; the bytes that were freed."""
    if leftover.kind is Kind.PARTIAL:
        return remove_partial(layout, turns, leftover.path)
    return remove_quietly(leftover.path)
