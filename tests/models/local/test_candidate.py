"""What the readers of other programs' folders share."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.errors import InvalidRequest
from modelrunner.models.description.names import parse_name
from modelrunner.models.local.candidate import Unsafe, component, file_inside, tag, walk


def test_a_link_leads_to_the_file_itself(tmp_path: Path) -> None:
    """As long as that is inside."""
    (tmp_path / "blobs").mkdir()
    real = tmp_path / "blobs" / "x"
    real.write_bytes(b"12345")
    link = tmp_path / "link"
    link.symlink_to(real)

    assert (real, 5) == file_inside(tmp_path, link)


def test_what_is_no_file_inside_is_refused(tmp_path: Path) -> None:
    """A link out, one in a circle, a folder, a pipe, nothing; the daemon may read more than its client."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("password")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "circle").symlink_to(root / "circle")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to(root / "nothing")

    for name in ("out", "circle", "folder", "pipe", "dangling", "nothing", "../secret"):
        with pytest.raises(Unsafe):
            file_inside(root, root / name)


def test_a_folder_is_walked_in_order(tmp_path: Path) -> None:
    """Hidden names and linked folders are passed over, and so is what lies too deep."""
    for name in ("b/two", "a", ".hidden/x", "c/.x", "deep/1/2/3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "linked").symlink_to(tmp_path / "b")

    found = [str(path) for path in walk(tmp_path, depth=3)]
    assert ["a", "b/two", "linked"] == found  # a link is a file until somebody looks where it leads


def test_a_folder_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    """In one sentence."""
    with pytest.raises(InvalidRequest, match="cannot read `"):
        list(walk(tmp_path / "nothing"))


@given(st.text(max_size=60), st.text(max_size=200))
def test_any_text_becomes_a_part_of_a_name(text: str, label: str) -> None:
    """Whatever folders and files are called, their models can be named."""
    reference = parse_name(f"local/{component(text)}:{tag(label)}")

    assert f"local/{component(text)}:{tag(label)}" == reference.familiar
    assert component(component(text)) == component(text)
