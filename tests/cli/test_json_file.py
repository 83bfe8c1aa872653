"""Small JSON documents: whole at any time, and the user's own as they were."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelrunner.cli import json_file
from modelrunner.errors import StoreError


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    """As people who keep their settings in a repository have it; permissions stay."""
    (tmp_path / "mine").mkdir()
    target, link = tmp_path / "mine" / "real.json", tmp_path / "link.json"
    target.write_text("{}")
    target.chmod(0o640)
    link.symlink_to(target)

    json_file.replace(link, '{"a": 1}')

    assert (link.is_symlink(), target.read_text()) == (True, '{"a": 1}')
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [each.name for each in target.parent.iterdir()] == ["real.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write in another's name")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    os.chown(path, 1234, 1235)

    json_file.replace(path, "{} ")

    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)


def test_a_link_that_leads_to_itself_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.symlink_to(path)

    with pytest.raises(StoreError, match="cannot be written"):
        json_file.replace(path, "{}")


WRITER = """
import sys
from pathlib import Path
from modelrunner.cli import json_file
path, letter = Path(sys.argv[1]), sys.argv[2]
for number in range(20):
    with json_file.changing(path) as document:
        document[f"{letter}{number}"] = "x" * 10_000
"""


def test_several_that_write_lose_nothing_and_a_reader_sees_whole_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        json_file.read(path)  # raises for half a document

    assert [0, 0] == [writer.wait() for writer in writers]
    assert set(json_file.read(path)) == {f"{letter}{number}" for letter in "ab" for number in range(20)}
