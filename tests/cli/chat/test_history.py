"""The file of earlier prompts."""

import stat
from pathlib import Path

from modelrunner.cli.chat import history


def test_the_last_hundred_prompts_are_kept(tmp_path: Path) -> None:
    """One line each, oldest first."""
    path = tmp_path / "deep" / "history"

    history.save(path, [f"prompt {number}" for number in range(120)])

    assert history.load(path) == [f"prompt {number}" for number in range(20, 120)]


def test_a_prompt_of_several_lines_becomes_one(tmp_path: Path) -> None:
    """The file has one prompt on each line."""
    path = tmp_path / "history"

    history.save(path, ["a\nb", "c"])

    assert path.read_text() == "a b\nc\n"


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """Prompts are private."""
    path = tmp_path / "history"

    history.save(path, ["a"])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["history"]


def test_no_history_is_no_reason_to_fail(tmp_path: Path) -> None:
    """A missing file is empty, an unwritable folder is left alone."""
    (tmp_path / "file").write_text("")

    history.save(tmp_path / "file" / "history", ["a"])

    assert history.load(tmp_path / "missing") == []
