"""`docker model …` through the real docker client, with the real engine behind it."""

import json
import subprocess
from pathlib import Path

import pytest

from modelrunner.testing.daemon import BIN, Runner

QUESTION = "What is the capital of France? Answer in one sentence."

pytestmark = [pytest.mark.docker, pytest.mark.engine]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A docker configuration folder with our plug-in in it."""
    plugins = tmp_path / "docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-model").symlink_to(BIN / "docker-model")
    return plugins.parent


def _docker(config: Path, real: Runner, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "--config", str(config), *arguments],
        env=real.environ | {"DOCKER_CONFIG": str(config)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_docker_lists_the_plugin(config: Path, real: Runner) -> None:
    """`docker --help` names the plug-in among its commands, and finds nothing wrong with it."""
    shown = _docker(config, real, "--help").stdout

    assert "model*" in shown
    assert "Invalid Plugins" not in shown


def test_docker_model_list_shows_the_models(config: Path, real: Runner) -> None:
    """The table and the JSON both come through."""
    table = _docker(config, real, "model", "list")
    documents = json.loads(_docker(config, real, "model", "ls", "--json").stdout)

    assert table.returncode == 0
    assert "smollm2" in table.stdout
    assert "ai/smollm2:latest" in documents[0]["tags"]


def test_docker_model_run_answers(config: Path, real: Runner) -> None:
    """A prompt gets its answer on stdout."""
    done = _docker(config, real, "model", "run", "smollm2", QUESTION)

    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout


def test_a_failure_is_dockers_exit_code(config: Path, real: Runner) -> None:
    """What the plug-in ends with, docker ends with; the text is printed once."""
    done = _docker(config, real, "model", "inspect", "no-such-model")

    assert done.returncode == 3
    assert done.stderr.count("model not found: `no-such-model`") == 1
