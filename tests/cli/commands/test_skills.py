"""`skills`: files that teach coding agents."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.cli import table

if TYPE_CHECKING:
    from tests.cli.conftest import Run

FILES = ["docker-model-runner/SKILL.md", "docker-model-runner/references/docker-model-guide.md"]


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def _written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_agent_has_its_folder(dmr: "Run", tmp_path: Path) -> None:
    """Several at once, and each is told."""
    folders = [tmp_path / ".codex/skills", tmp_path / ".claude/skills", tmp_path / ".config/opencode/skills"]

    outcome = dmr("skills", "--opencode", "--claude", "--codex", "--dest", str(tmp_path / "own"))

    folders.append(tmp_path / "own")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "".join(f"Installed Docker Model Runner skills to {folder}\n" for folder in folders)
    assert [FILES] * 4 == [_written(folder) for folder in folders]


def test_a_skill_says_what_it_is_for(dmr: "Run", tmp_path: Path) -> None:
    """The head is what agents read before they open it; the guide names every command."""
    dmr("skills", "--dest", str(tmp_path))

    head = (tmp_path / FILES[0]).read_text().split("---")[1]
    guide = (tmp_path / FILES[1]).read_text()
    assert head.startswith("\nname: docker-model-runner\ndescription: ")
    listed = [name for name, _ in table.listed(standalone=True)]
    assert [] == [name for name in listed if f"| `dmr {name}` |" not in guide]


def test_what_is_there_stays_unless_forced(dmr: "Run", tmp_path: Path) -> None:
    """One file in the way, and nothing at all is written."""
    mine = tmp_path / "b" / FILES[1]
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")

    refused = dmr("skills", "--claude", "--dest", str(tmp_path / "b"))
    kept = mine.read_text()
    forced = dmr("skills", "--force", "--dest", str(tmp_path / "b"))

    assert (refused.code, kept) == (1, "mine")
    assert refused.err == f"error: file already exists: {mine} (use --force to overwrite)\n"
    assert not (tmp_path / ".claude").exists()
    assert (forced.code, mine.read_text() == "mine") == (0, False)


def test_a_target_is_needed(dmr: "Run") -> None:
    """The message names them."""
    outcome = dmr("skills")

    assert outcome.code == 2
    assert "no target specified. Use --codex, --claude, --opencode, or --dest" in outcome.err


def test_a_folder_that_cannot_be_written_is_one_error(dmr: "Run", tmp_path: Path) -> None:
    """A sentence, with the path."""
    (tmp_path / "file").touch()

    outcome = dmr("skills", "--dest", str(tmp_path / "file"))

    assert outcome.code == 1
    assert outcome.err.startswith(
        f"error: cannot write `{tmp_path}/file/docker-model-runner/SKILL.md`: not a"
    )
