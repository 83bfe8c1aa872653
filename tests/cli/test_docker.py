"""The plug-in under the real docker client."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon

pytestmark = pytest.mark.docker

Docker = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def docker(daemon: "Daemon", tmp_path: Path) -> Docker:
    """Run docker with nothing but our plug-in in its configuration folder."""
    plugins = tmp_path / "cli-plugins"
    plugins.mkdir()
    (plugins / "docker-model").symlink_to(Path(sys.executable).parent / "docker-model")
    environ = {**os.environ, "DOCKER_CONFIG": str(tmp_path), "MODEL_RUNNER_HOST": daemon.url}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run


def test_docker_lists_the_plug_in(docker: Docker) -> None:
    """With its description and the mark of a plug-in."""
    done = docker("--help")

    assert "  model*      Docker Model Runner\n" in done.stdout
    assert "Invalid Plugins" not in done.stdout


def test_docker_model_list_answers(daemon: "Daemon", docker: Docker) -> None:
    """A table, and JSON that is nothing but JSON."""
    daemon.json("GET", "/models", [{"id": "sha256:" + "a" * 64, "tags": ["ai/smollm2:latest"], "created": 0}])

    table, document = docker("model", "list"), docker("model", "ls", "--json")

    assert table.stdout.splitlines()[1].startswith("smollm2 ")
    assert json.loads(document.stdout + document.stderr)[0]["tags"] == ["ai/smollm2:latest", "ai/smollm2"]


def test_docker_s_flags_in_front_are_understood(daemon: "Daemon", docker: Docker) -> None:
    """They are passed on in front of `model`."""
    daemon.json("GET", "/models", [{"id": "sha256:" + "a" * 64, "created": 0}])

    assert docker("--log-level", "error", "model", "ls", "-q").stdout == "a" * 12 + "\n"


def test_exit_codes_pass_through(daemon: "Daemon", docker: Docker) -> None:
    """Docker's exit code is ours."""
    assert docker("model", "inspect", "nothing").returncode == 3
    assert docker("model", "pull").returncode == 2


def test_an_answer_streams_through(daemon: "Daemon", docker: Docker) -> None:
    """`docker model run` prints the answer on stdout."""
    daemon.json("GET", "/models/m", {})
    daemon.says("Hel", "lo")

    done = docker("model", "run", "m", "hi")

    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello\n", "")


@pytest.mark.parametrize("arguments", [["help", "model"], ["model", "--help"], ["model"]])
def test_docker_shows_our_help(docker: Docker, arguments: list[str]) -> None:
    """In each form in which docker asks for it."""
    done = docker(*arguments)

    assert done.returncode == 0
    assert done.stdout.startswith("Usage:  docker model COMMAND\n")


def test_completion_goes_through_docker(daemon: "Daemon", docker: Docker) -> None:
    """The shell asks docker, docker asks us."""
    daemon.json("GET", "/models", [{"id": "x", "tags": ["ai/smollm2:latest"], "created": 0}])

    assert docker("__complete", "model", "run", "sm").stdout.splitlines() == ["smollm2", ":4"]
