import os
import time
from pathlib import Path

import pytest

from modelrunner.oci.digest import Digest
from modelrunner.store.garbage import Kind, leftovers, quarantined, remove
from modelrunner.store.index import Index
from modelrunner.store.layout import Layout, initialise
from modelrunner.store.locks import FileLock, Turns

DAY = 24 * 3600.0
DIGEST = Digest.of(b"x")


def _file(path: Path, *, age: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    moment = time.time() - age
    os.utime(path, (moment, moment))
    return path


@pytest.fixture
def layout(root: Path) -> Layout:
    layout = Layout(root)
    initialise(layout)
    return layout


@pytest.fixture
def turns(layout: Layout) -> Turns:
    return Turns(layout.locks)


def test_garbage_is_what_nothing_names(layout: Layout, turns: Turns) -> None:
    """Old blobs, manifests, partial files and bundles without a name go; what is young or wanted stays."""
    named, wanted, young = (Digest.of(text) for text in (b"named", b"wanted", b"young"))
    old = DAY
    garbage = [
        _file(layout.blobs / DIGEST.path, age=old),
        _file(layout.manifest(DIGEST), age=old),
        _file(layout.blobs / f"{DIGEST.path}.incomplete", age=old),
    ]
    kept = [
        _file(layout.manifest(named), age=old),
        _file(layout.blobs / named.path, age=old),
        _file(layout.blobs / wanted.path, age=old),
        _file(layout.blobs / young.path),
        _file(layout.root / "notes.txt", age=old),
    ]
    for model in (named, DIGEST):
        _file(layout.bundle(model) / "config.json")
        os.utime(layout.bundle(model), (time.time() - old,) * 2)

    found = tuple(
        leftovers(
            layout,
            turns,
            Index().add(named, [named]),
            oldest=time.time() - old / 2,
            wanted={wanted},
        )
    )
    freed = sum(remove(layout, turns, leftover) for leftover in found)

    assert freed == 15
    assert [Kind.BLOB, Kind.BUNDLE, Kind.MANIFEST, Kind.PARTIAL] == sorted(each.kind for each in found)
    assert [path.exists() for path in (*garbage, *kept)] == [False] * 3 + [True] * 5
    assert [layout.bundle(model).exists() for model in (named, DIGEST)] == [True, False]


def test_a_partial_file_goes_with_its_journal(layout: Layout, turns: Turns) -> None:
    """Which says nothing without it."""
    partial = _file(layout.blobs / f"{DIGEST.path}.incomplete", age=DAY)
    journal = _file(layout.blobs / f"{DIGEST.path}.incomplete.journal", age=DAY)
    (found,) = leftovers(layout, turns, Index(), oldest=time.time(), wanted=())
    remove(layout, turns, found)

    assert (False, False) == (partial.exists(), journal.exists())


def test_a_download_under_way_is_no_garbage(layout: Layout, turns: Turns) -> None:
    """It is not even shown, since it would not be deleted."""
    _file(layout.blobs / f"{DIGEST.path}.incomplete", age=DAY)
    with FileLock(turns.path(DIGEST)) as lock:
        lock.acquire_now()
        during = list(leftovers(layout, turns, Index(), oldest=time.time(), wanted=()))
    (after,) = leftovers(layout, turns, Index(), oldest=time.time(), wanted=())

    assert ([], Kind.PARTIAL) == (during, after.kind)


def test_what_was_set_aside_is_found_apart(layout: Layout, turns: Turns) -> None:
    """It is deleted only when that is asked for."""
    path = _file(layout.quarantine / DIGEST.path, age=DAY)

    assert [] == list(leftovers(layout, turns, Index(), oldest=time.time(), wanted=()))
    assert [(path, Kind.DAMAGED)] == [(each.path, each.kind) for each in quarantined(layout)]
