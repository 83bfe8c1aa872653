"""Files of other programs in the store. On a file system that shares blocks a reflink stands in for a copy.

Run with `--basetemp` on Btrfs or XFS the same tests are about reflinks, but for the one of a file that is
written to: a reflink is a copy of one moment.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from modelrunner.errors import DigestMismatch, InvalidRequest
from modelrunner.oci.digest import Digest
from modelrunner.store.adopt import Adopted, Way, hash_file, opened, place, take
from modelrunner.store.store import Store

CONTENT = os.urandom(3 << 20)
DIGEST = Digest.of(CONTENT)
SMALL = b"weights"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    path = tmp_path / "theirs"
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    return path


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def _left(blobs: Path) -> list[str]:
    return sorted(path.name for path in blobs.rglob("*") if path.is_file())


def test_a_file_that_may_be_shared_is_one_file_under_two_names(theirs: Path, blobs: Path) -> None:
    """Its mode stays its owner's, and it is still where it was."""
    adopted = take(theirs, blobs, way=Way.LINK)
    ours = blobs / DIGEST.path

    assert adopted.way in {Way.LINK, Way.REFLINK}
    assert (DIGEST, len(CONTENT)) == (adopted.digest, adopted.size)
    assert theirs.samefile(ours) == (adopted.way is Way.LINK)
    assert (0o640, CONTENT) == (theirs.stat().st_mode & 0o777, theirs.read_bytes())
    assert [DIGEST.hex] == _left(blobs)


@pytest.mark.parametrize("way", [Way.REFLINK, Way.COPY])
def test_a_file_that_its_owner_may_write_to_is_not_shared(theirs: Path, blobs: Path, way: Way) -> None:
    """What is written to it afterwards does not come into the store, whose file is read-only."""
    adopted = take(theirs, blobs, way=way)
    with theirs.open("r+b") as file:
        file.write(b"changed")
    ours = blobs / DIGEST.path

    assert adopted.way in {way, Way.COPY}
    assert (CONTENT, 0o444) == (ours.read_bytes(), ours.stat().st_mode & 0o777)
    assert [DIGEST.hex] == _left(blobs)


@pytest.mark.parametrize("way", list(Way))
def test_a_file_is_read_once(theirs: Path, blobs: Path, way: Way) -> None:
    """Whichever way it comes."""
    counted: list[int] = []
    take(theirs, blobs, way=way, count=counted.append)

    assert len(CONTENT) == sum(counted)


@pytest.mark.parametrize("way", list(Way))
def test_a_file_that_is_not_what_it_is_said_to_be_adds_nothing(theirs: Path, blobs: Path, way: Way) -> None:
    """Nothing of it is left in the store, and it is where it was."""
    with pytest.raises(DigestMismatch, match="damaged file"):
        take(theirs, blobs, way=way, expected=Digest.of(b"other"))

    assert [] == _left(blobs)
    assert CONTENT == theirs.read_bytes()


@pytest.mark.parametrize("way", list(Way))
def test_a_file_that_is_told_to_stop_leaves_nothing(theirs: Path, blobs: Path, way: Way) -> None:
    """At the next piece of it."""
    stop = threading.Event()
    with pytest.raises(CancelledError):
        take(theirs, blobs, way=way, count=lambda _: stop.set(), stop=stop)

    assert [] == _left(blobs)


def test_what_is_here_already_is_not_replaced(theirs: Path, blobs: Path) -> None:
    """Somebody may be reading it."""
    first = take(theirs, blobs, way=Way.COPY)
    inode = (blobs / DIGEST.path).stat().st_ino
    again = take(theirs, blobs, way=Way.LINK)

    assert (Way.COPY, None) == (first.way, again.way)
    assert inode == (blobs / DIGEST.path).stat().st_ino


def test_a_link_that_is_named_is_followed(theirs: Path, blobs: Path, tmp_path: Path) -> None:
    """The store gets the file, never a link to it."""
    link = tmp_path / "link"
    link.symlink_to(theirs)
    take(link, blobs, way=Way.LINK)

    assert not (blobs / DIGEST.path).is_symlink()
    assert CONTENT == (blobs / DIGEST.path).read_bytes()


@pytest.mark.parametrize("way", [Way.LINK, Way.COPY])
def test_a_file_that_is_written_to_meanwhile_is_refused(theirs: Path, blobs: Path, way: Way) -> None:
    """Nobody knows what of it was hashed; one that grows as fast as it is read has an end all the same."""

    def write(_more: int) -> None:
        with theirs.open("ab") as file:
            file.write(b"more")

    with pytest.raises(InvalidRequest, match="changed while it was read"):
        take(theirs, blobs, way=way, count=write)

    assert [] == _left(blobs)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [Path.mkdir, _fifo, lambda path: path.symlink_to("/dev/zero")])
def test_only_a_regular_file_is_read(tmp_path: Path, blobs: Path, make: Callable[[Path], None]) -> None:
    """A pipe is not waited for, and a device is never read."""
    make(tmp_path / "odd")
    for act in (
        lambda: take(tmp_path / "odd", blobs, way=Way.COPY),
        lambda: place(tmp_path / "odd", tmp_path / "target"),
        lambda: hash_file(tmp_path / "odd"),
    ):
        with pytest.raises(InvalidRequest):
            act()

    assert [] == _left(blobs)
    assert not (tmp_path / "target").exists()


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    """In words."""
    with pytest.raises(InvalidRequest, match="cannot read `"), opened(tmp_path / "nothing"):
        pass


def test_a_file_is_hashed_by_the_algorithm_that_is_asked_for(theirs: Path) -> None:
    """SHA-512 is a registered one, too."""
    assert (DIGEST, len(CONTENT)) == hash_file(theirs)
    assert hashlib.sha512(CONTENT).hexdigest() == hash_file(theirs, "sha512")[0].hex


@pytest.mark.parametrize("way", list(Way))
def test_a_placed_file_replaces_what_was_there(theirs: Path, tmp_path: Path, way: Way) -> None:
    """Whole, and read-only unless it is the very file of its owner."""
    target = tmp_path / "deep" / "target"
    target.parent.mkdir()
    target.write_bytes(b"old")
    taken = place(theirs, target, way=way)

    assert CONTENT == target.read_bytes()
    assert ["target"] == [path.name for path in target.parent.iterdir()]
    assert (0o640 if taken is Way.LINK else 0o444) == target.stat().st_mode & 0o777
    assert (taken is Way.LINK) == theirs.samefile(target)


async def test_a_store_adopts_a_file_once(store: Store, theirs: Path) -> None:
    """The second time nothing is read but to find out what it is, and what is expected is not even read."""
    counted: list[int] = []
    first = await store.adopt(theirs, way=Way.COPY)
    known = await store.adopt(theirs, way=Way.COPY, expected=DIGEST, count=counted.append)

    assert Adopted(DIGEST, len(CONTENT), None) == known
    assert first.way in {Way.COPY, Way.REFLINK}
    assert [] == counted
    assert store.blob_path(DIGEST).read_bytes() == CONTENT


async def test_what_was_adopted_is_no_garbage_yet(store: Store, theirs: Path) -> None:
    """Its model is about to be committed, however old the file is."""
    os.utime(theirs, (0, 0))
    await store.adopt(theirs, way=Way.LINK)
    await store.collect_garbage(0)

    assert store.blob_path(DIGEST).exists()


async def test_removing_an_adopted_model_leaves_its_owner_s_file(store: Store, tmp_path: Path) -> None:
    """Only the store's name for it goes."""
    theirs = tmp_path / "small"
    theirs.write_bytes(SMALL)
    adopted = await store.adopt(theirs, way=Way.LINK)
    store.blob_path(adopted.digest).unlink()

    assert SMALL == theirs.read_bytes()
