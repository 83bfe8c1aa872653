"""The directories of a store."""

import os
import time
from pathlib import Path

import pytest

from modelrunner.errors import StoreError
from modelrunner.oci.digest import Digest
from modelrunner.store.layout import (
    Layout,
    check_is_store,
    digest_at,
    disk_usage,
    empty,
    initialise,
    sweep_out,
)
from modelrunner.store.locks import FileLock, Turns

DIGEST = Digest.of(b"content")
DAY = 24 * 3600.0


@pytest.fixture
def layout(root: Path) -> Layout:
    layout = Layout(root)
    initialise(layout)
    return layout


@pytest.fixture
def turns(layout: Layout) -> Turns:
    return Turns(layout.locks)


def _file(path: Path, *, age: float = 0.0, data: bytes = b"12345") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    return path


def _partial(layout: Layout, *, age: float) -> Path:
    return _file(layout.blobs / "sha256" / f"{DIGEST.hex}.incomplete", age=age)


def test_a_new_store_has_the_reference_files(layout: Layout) -> None:
    """The mark with its version, and an index without models."""
    assert layout.marker.read_text() == '{\n  "version": "1.0.0"\n}'
    assert layout.index.read_text() == '{\n  "models": []\n}'


def test_an_existing_store_is_left_alone(layout: Layout) -> None:
    """Whatever version it says, and whatever it lists."""
    layout.marker.write_text('{"version": "2"}')
    layout.index.write_text('{"models": null}')

    initialise(layout)

    assert (layout.marker.read_text(), layout.index.read_text()) == ('{"version": "2"}', '{"models": null}')


def test_a_place_that_is_no_directory_is_refused(root: Path) -> None:
    """The path of the store leads to a file."""
    root.write_text("")

    with pytest.raises(StoreError, match="cannot open the store"):
        initialise(Layout(root))


@pytest.mark.parametrize(("age", "stays"), [(6 * DAY, True), (8 * DAY, False)])
def test_partial_files_stay_for_a_week(layout: Layout, turns: Turns, age: float, *, stays: bool) -> None:
    """A download may be continued for seven days."""
    path = _partial(layout, age=age)

    sweep_out(layout, turns)

    assert path.exists() is stays


def test_a_partial_file_that_is_being_written_stays(layout: Layout, turns: Turns) -> None:
    """However old it is."""
    path = _partial(layout, age=8 * DAY)
    with FileLock(turns.path(DIGEST)) as lock:
        lock.acquire_now()
        sweep_out(layout, turns)

    assert path.exists()


def test_temporary_files_of_killed_programs_go(layout: Layout, turns: Turns) -> None:
    """Those of the last hour may be in use; a model's own files in bundles, and people's, are not touched."""
    old = _file(layout.root / "models.json.tmp-123", age=DAY)
    new = _file(layout.root / "models.json.tmp-456")
    own = _file(layout.bundle(DIGEST) / "model" / "x.tmp-1", age=DAY)
    foreign = _file(layout.root / "thesis" / "x.tmp-1", age=DAY)

    sweep_out(layout, turns)

    assert [path.exists() for path in (old, new, own, foreign)] == [False, True, True, True]


def test_a_store_that_cannot_be_swept_is_opened_all_the_same(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing sweep is a line in the log."""
    _partial(layout, age=8 * DAY)
    turns = Turns(_file(layout.root / "file"))

    sweep_out(layout, turns)

    assert "store not swept" in caplog.text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"blobs/sha256/{DIGEST.hex}", DIGEST),
        (f"blobs/sha256/{DIGEST.hex}.incomplete", DIGEST),
        (f"blobs/md5/{DIGEST.hex}", None),
        ("blobs/sha256/readme", None),
        (f"blobs/sha256/{DIGEST.hex}/x", None),
        (f"elsewhere/sha256/{DIGEST.hex}", None),
    ],
)
def test_what_a_path_stands_for(path: str, expected: Digest | None) -> None:
    """Only a digest's own place, or that of its partial file, is a digest's."""
    assert digest_at(Path("/s/blobs"), Path("/s") / path) == expected


def test_usage_counts_a_file_once(layout: Layout) -> None:
    """A bundle's files are the blobs under another name."""
    before = disk_usage(layout)
    blob = _file(layout.blobs / DIGEST.path, data=bytes(1000))
    layout.bundle(DIGEST).mkdir(parents=True)
    os.link(blob, layout.bundle(DIGEST) / "model.gguf")

    assert disk_usage(layout) - before == 1000


def test_a_foreign_directory_is_not_emptied(root: Path) -> None:
    """Somebody's home directory is not deleted by a wrong path."""
    file = _file(root / "thesis.tex")

    with pytest.raises(StoreError, match=r"refusing to reset.*layout\.json"):
        check_is_store(Layout(root))
    assert file.exists()


@pytest.mark.parametrize("exists", [False, True])
def test_an_empty_or_missing_directory_may_be_reset(root: Path, *, exists: bool) -> None:
    """There is nothing to lose."""
    if exists:
        (root / ".locks").mkdir(parents=True)

    check_is_store(Layout(root))


def test_emptying_keeps_what_makes_it_a_store(layout: Layout) -> None:
    """A reset that is broken off can be repeated, and what links lead to is not deleted."""
    foreign = _file(layout.root.parent / "foreign" / "file")
    (layout.root / "quarantine").symlink_to(foreign.parent)
    _file(layout.blobs / DIGEST.path)
    _file(layout.manifest(DIGEST))
    _file(layout.bundle(DIGEST) / "model.gguf")
    for name in ("configurations.json", "transfers.json", "models.json.tmp-x"):
        _file(layout.root / name)

    empty(layout)

    left = {path.name for path in layout.root.iterdir()} - {".locks"}
    assert (left, foreign.exists()) == ({"layout.json", "models.json"}, True)


def test_emptying_leaves_what_is_not_the_stores(layout: Layout) -> None:
    """Whoever points the store at a folder of models keeps those."""
    files = [_file(layout.root / name) for name in ("mine.gguf", "sub/notes.txt", "sub/blobs/x")]

    empty(layout)

    assert [path.exists() for path in files] == [True] * 3
