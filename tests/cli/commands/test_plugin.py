"""`dmr plugin`: `docker model` becomes this program, and nothing of others is overwritten."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Run

PROGRAM = Path(sys.executable).parent / "docker-model"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration folder, empty."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


@pytest.mark.docker
def test_docker_finds_what_was_installed(dmr: "Run", config: Path) -> None:
    """The real client runs it; after `uninstall` it does not know the command."""
    installed = dmr("plugin", "install")
    shown = subprocess.run(["docker", "model", "--help"], capture_output=True, text=True, check=False)
    removed = dmr("plugin", "uninstall")

    assert (installed.code, shown.returncode, removed.code) == (0, 0, 0)
    assert shown.stdout.startswith("Usage:  docker model COMMAND\n")
    assert not (config / "cli-plugins" / "docker-model").exists()


def test_installing_twice_changes_nothing(dmr: "Run", config: Path) -> None:
    """The link leads to the program beside this interpreter."""
    first, second = dmr("plugin", "install"), dmr("plugin", "install")

    assert (first.code, second.code) == (0, 0)
    assert "already" in second.out
    assert (config / "cli-plugins" / "docker-model").resolve() == PROGRAM.resolve()


def test_another_plug_in_is_kept_unless_forced(dmr: "Run", config: Path) -> None:
    """Docker's own may be there."""
    other = config / "cli-plugins" / "docker-model"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")

    refused, kept = dmr("plugin", "install"), other.read_text()
    status, left = dmr("plugin", "status"), dmr("plugin", "uninstall")
    forced = dmr("plugin", "install", "--force")

    assert (refused.code, kept) == (1, "#!/bin/sh\n")
    assert "--force" in refused.err
    assert "is another program" in status.out
    assert "of another origin" in left.err
    assert (forced.code, other.resolve()) == (0, PROGRAM.resolve())


def _file(path: Path) -> None:
    path.write_text("kept")


@pytest.mark.parametrize("make", [_file, lambda path: path.symlink_to("/nowhere")])
@pytest.mark.parametrize("name", ["docker", "docker/cli-plugins"])
def test_what_is_in_the_place_of_a_folder_is_named(
    dmr: "Run",
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    name: str,
) -> None:
    """Also a link to nowhere; it is left alone."""
    monkeypatch.setenv("DOCKER_CONFIG", str(config / "docker"))
    wrong = config / name
    wrong.parent.mkdir(exist_ok=True)
    make(wrong)

    outcome = dmr("plugin", "install")

    assert (1, True) == (outcome.code, os.path.lexists(wrong))
    assert f"docker looks for its plug-ins in a folder, but `{wrong}` is none" in outcome.err
    assert "move it away" in outcome.err


@pytest.mark.parametrize("words", [["install"], ["install", "--force"], ["uninstall"]])
def test_a_folder_in_the_place_of_the_plug_in_is_left_alone(
    dmr: "Run", config: Path, words: list[str]
) -> None:
    """Docker sees no plug-in in it either."""
    folder = config / "cli-plugins" / "docker-model"
    folder.mkdir(parents=True)

    outcome, status = dmr("plugin", *words), dmr("plugin", "status")

    assert (1, 1, True) == (outcome.code, status.code, folder.is_dir())
    assert str(folder) in outcome.err
    assert "is not installed" in status.out


def test_status_tells_which_file_docker_takes(
    dmr: "Run", config: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first in docker's order, and what it hides; a copy of the program is the program."""
    extra = tmp_path_factory.mktemp("extra")
    (config / "config.json").write_text(f'{{"cliPluginsExtraDirs": ["{extra}"]}}')
    absent = dmr("plugin")
    shutil.copy(PROGRAM, extra / "docker-model")
    copied = dmr("plugin", "status")
    dmr("plugin", "install")
    linked = dmr("plugin", "status")

    assert (absent.code, copied.code, linked.code) == (1, 0, 0)
    assert str(extra) in copied.out
    assert linked.out.splitlines() == [
        f"`docker model` is this program: {config / 'cli-plugins' / 'docker-model'}",
        f"hidden by it: {extra / 'docker-model'}",
    ]
