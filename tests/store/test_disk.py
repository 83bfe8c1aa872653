"""What the store asks of a file system."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelrunner.errors import InsufficientStorage, ModelNotFound, StoreError
from modelrunner.store.disk import (
    NotAFile,
    explaining,
    files_below,
    free_bytes,
    open_file,
    remove_file,
    remove_quietly,
    write_atomically,
)


def test_replacing_leaves_one_readable_file(tmp_path: Path) -> None:
    """The old bytes are gone, no temporary file stays, and others may read."""
    path = tmp_path / "made" / "models.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")

    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("models.json", b"new")]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_replacement_leaves_no_temporary_file(tmp_path: Path) -> None:
    """A target that is a directory cannot be replaced."""
    target = tmp_path / "models.json"
    target.mkdir()

    with pytest.raises(OSError, match="directory"):
        write_atomically(target, b"new")
    assert list(tmp_path.iterdir()) == [target]


def test_removing_says_how_much_it_freed(tmp_path: Path) -> None:
    """A file that is not there freed nothing."""
    path = tmp_path / "blob"
    path.write_bytes(b"12345")
    path.chmod(0o444)

    assert [remove_file(path), remove_file(path)] == [5, 0]


def test_removing_quietly_takes_directories_but_not_what_links_lead_to(tmp_path: Path) -> None:
    """A link is deleted, its target is somebody else's."""
    foreign, bundle = tmp_path / "foreign", tmp_path / "bundle"
    for directory in (foreign, bundle):
        directory.mkdir()
        (directory / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(foreign)

    for path in (bundle, link, tmp_path / "nothing"):
        remove_quietly(path)

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "foreign"]


_MAKE_PIPE = getattr(os, "mkfifo", None)  # not on Windows


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("make", [Path.mkdir, _MAKE_PIPE, lambda path: path.symlink_to("/dev/zero")])
def test_only_a_file_is_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe is not waited for, and the user is told what is the matter."""
    path = tmp_path / "models.json"
    make(path)

    with pytest.raises(StoreError, match="it is not a regular file") as caught, explaining("read", path):
        open_file(path)
    assert isinstance(caught.value.__cause__, NotAFile)
    assert "move away what is in its place" in (caught.value.hint or "")


def test_walking_sees_regular_files_only(tmp_path: Path) -> None:
    """Links, sockets and directories are no files, and a root that is gone has none."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(b"123")
    (tmp_path / "link").symlink_to(tmp_path / "deep")

    found = [(path.name, status.st_size) for path, status in files_below(tmp_path)]

    assert found == [("file", 3)]
    assert list(files_below(tmp_path / "gone")) == []


def test_free_space_of_a_directory_that_will_be(tmp_path: Path) -> None:
    """A store that does not exist yet is measured where it will be."""
    assert free_bytes(tmp_path / "not" / "yet") > 0


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, InsufficientStorage), (errno.EDQUOT, InsufficientStorage), (errno.EACCES, StoreError)],
)
def test_what_the_system_says_becomes_an_error_of_ours(
    tmp_path: Path, number: int, expected: type[Exception]
) -> None:
    """A full disk and a used-up quota are the same to a user; anything else is an error of the store."""
    with pytest.raises(expected), explaining("write", tmp_path / "file", needed=10):
        raise OSError(number, os.strerror(number))


def test_a_full_disk_is_told_in_figures(tmp_path: Path) -> None:
    """The message says how much is needed and how much is there, the hint what to do."""
    with (
        pytest.raises(InsufficientStorage, match=r"3\.00GB needed, .*B free") as caught,
        explaining("write", tmp_path / "file", needed=3_000_000_000),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")

    assert "dmr rm" in (caught.value.hint or "")


def test_our_own_errors_pass(tmp_path: Path) -> None:
    """What is explained already is not explained again."""
    with pytest.raises(ModelNotFound), explaining("read", tmp_path):
        raise ModelNotFound("x")
