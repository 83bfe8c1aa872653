"""The plug-in under the real docker client."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner import __version__

if TYPE_CHECKING:
    from tests.cli.conftest import Case, Daemon, Run

pytestmark = pytest.mark.docker

Docker = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def docker(daemon: "Daemon", tmp_path: Path) -> Docker:
    """Run docker with nothing but our plug-in in its configuration folder."""
    plugins = tmp_path / "cli-plugins"
    plugins.mkdir()
    (plugins / "docker-model").symlink_to(Path(sys.executable).parent / "docker-model")
    environ = {**os.environ, "DOCKER_CONFIG": str(tmp_path), "MODEL_RUNNER_HOST": daemon.url}

    def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", *arguments],
            env=environ | more,
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


def test_docker_info_shows_its_version(docker: Docker) -> None:
    """By which Compose decides whether runtime flags are passed on."""
    plugins = json.loads(docker("info", "--format", "{{json .ClientInfo.Plugins}}").stdout)

    (model,) = (plugin for plugin in plugins if plugin["Name"] == "model")
    assert (model["Vendor"], model["Version"]) == ("Model Runner", f"v{__version__}")
    assert "Err" not in model


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


def test_docker_model_does_what_dmr_does(
    case: "Case",
    daemon: "Daemon",
    dmr: "Run",
    docker: Docker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The same requests, output, messages and exit code, but for the name of the program."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    results = []
    for through_docker in (False, True):
        daemon.replies.clear()
        daemon.seen.clear()
        if case.prepare is not None:
            case.prepare(daemon)
        if through_docker:
            words = ["__complete", "model", *case.arguments[1:]] if "__complete" in case.arguments else None
            done = docker(*(words or ["model", *case.arguments]))
            result = (done.returncode, done.stdout, done.stderr)
        else:
            outcome = dmr(*case.arguments)
            result = (outcome.code, outcome.out, outcome.err)
        results.append((*result, [(seen.method, seen.path, seen.body) for seen in daemon.seen]))

    (code, out, err, asked), (docker_code, docker_out, docker_err, docker_asked) = results
    assert (case.code, case.code) == (code, docker_code), docker_err
    assert _plain(out) == _plain(docker_out)
    assert _plain(err) == _plain(docker_err)
    assert asked == docker_asked


def _plain(text: str) -> list[str]:
    """Leave out what differs: how the program is called, and what only `dmr` has."""
    lines = (line.replace("docker model", "dmr").replace('"model"', '"dmr"') for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.split()[:1] not in (["plugin"], ["serve"])]


def test_a_docker_context_leads_to_its_machine(daemon: "Daemon", docker: Docker, tmp_path: Path) -> None:
    """A Docker Engine elsewhere has its runner there; what chooses it for docker chooses it for us."""
    del daemon
    key = hashlib.sha256(b"gpu").hexdigest()
    meta = tmp_path / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"Host": "tcp://gpu.invalid:2376", "SkipTLSVerify": False}
    meta.write_text(json.dumps({"Name": "gpu", "Metadata": {}, "Endpoints": {"docker": endpoint}}))

    for arguments, environ in (
        (["-c", "gpu", "model", "ls"], {}),
        (["--context", "gpu", "model", "ls"], {}),
        (["model", "ls"], {"DOCKER_CONTEXT": "gpu"}),
        (["-H", "tcp://gpu.invalid:2376", "model", "ls"], {}),
        (["model", "ls"], {"DOCKER_HOST": "tcp://gpu.invalid:2376"}),
    ):
        done = docker(*arguments, MODEL_RUNNER_HOST="", **environ)
        assert done.returncode == 5, done.stderr
        assert "no daemon answers at `http://gpu.invalid:12434`" in done.stderr
        assert "install-runner --host 0.0.0.0" in done.stderr


def test_debug_tells_where_the_runner_is(daemon: "Daemon", docker: Docker) -> None:
    """Docker's `-D` is ours too."""
    daemon.json("GET", "/models", [])

    done = docker("-D", "model", "ls", "--json")

    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert f"debug: the model runner is at {daemon.url}" in done.stderr
