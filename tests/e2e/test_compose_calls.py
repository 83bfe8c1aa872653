"""What Docker Compose runs for top-level `models:`, as it runs it: the plug-in alone, both outputs joined.

Source: docker/compose `pkg/compose/model.go`, v2.40.
"""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelrunner import __version__
from modelrunner.testing.daemon import BIN, Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf


def _compose(runner: Runner, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the plug-in's file: no input, standard output and error in one, Compose's own variables."""
    return subprocess.run(
        [BIN / "docker-model", *arguments],
        env=runner.environ | {"USER_AGENT": "compose/2.40.3", "OTEL_SERVICE_NAME": "compose"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def stocked(fake: Runner, tmp_path: Path) -> Runner:
    """A daemon with a model."""
    tiny_gguf(tmp_path / "m.gguf")
    fake.must("package", "--gguf", tmp_path / "m.gguf", "ai/smollm2")
    return fake


def test_the_plug_in_is_new_enough_for_runtime_flags(fake: Runner) -> None:
    """Compose leaves them out for versions below 1.0.6. The answer is nothing but JSON."""
    done = _compose(fake, "docker-cli-plugin-metadata")

    metadata = json.loads(done.stdout)
    assert metadata["SchemaVersion"] == "0.1.0"
    assert metadata["Version"] == f"v{__version__}"
    assert tuple(map(int, __version__.split(".")[:3])) >= (1, 0, 6)


def test_models_are_found_under_the_names_of_the_project(stocked: Runner) -> None:
    """Compose compares them literally, and pulls what it does not find."""
    done = _compose(stocked, "ls", "--json")

    models = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"ai/smollm2", "ai/smollm2:latest"} <= set(models[0]["tags"])
    assert isinstance(models[0]["created"], int)


def test_status_is_one_object_with_the_address(stocked: Runner) -> None:
    """It ends with a slash, for services append to it; loopback is not what it is in a container."""
    done = _compose(stocked, "status", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["endpoint"] == f"http://host.docker.internal:{stocked.port}/v1/"


def test_up_goes_on_without_the_registry(tmp_path: Path) -> None:
    """What is here is used; nobody listens where the registry should be."""
    extra = {"DEFAULT_REGISTRY": "127.0.0.1:9", "INSECURE_REGISTRY": "true"}
    with running(tmp_path / "home", **extra) as runner:
        runner.must("package", "--gguf", tiny_gguf(tmp_path / "m.gguf"), "ai/smollm2")

        done = _compose(runner, "pull", "ai/smollm2")

    assert done.returncode == 0
    assert "Using cached model" in done.stdout


def test_models_are_configured_one_after_another_and_again(stocked: Runner) -> None:
    """With and without flags; the same once more is no conflict, also when the model is loaded."""
    calls = [
        ["configure", "--context-size", "4096", "ai/smollm2", "--", "--temp", "0"],
        ["configure", "--context-size", "4096", "ai/smollm2", "--", "--temp", "0"],
        ["configure", "ai/smollm2"],
    ]
    done = [_compose(stocked, *call) for call in calls]
    stocked.must("run", "ai/smollm2", "hi")
    loaded = _compose(stocked, *calls[0])

    assert [(one.returncode, one.stdout) for one in (*done, loaded)] == [(0, "")] * 4


def test_both_configure_at_once(stocked: Runner) -> None:
    """Compose does not wait for one before the other."""
    processes = [
        subprocess.Popen(
            [BIN / "docker-model", "configure", "--context-size", "2048", "ai/smollm2"], env=stocked.environ
        )
        for _ in range(3)
    ]

    assert [process.wait(30) for process in processes] == [0, 0, 0]


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Runner]:
    """A home in which no daemon runs yet; the one that a command starts is ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    program = fake_llama_server(tmp_path / "engine")
    home = tmp_path / "home"
    home.mkdir()
    runner = Runner(home, {"MODEL_RUNNER_PORT": port, "LLAMA_SERVER_PATH": str(program)})
    yield runner
    answer = runner.run("status")
    started = answer.out.rpartition("(process ")[2].partition(")")[0]
    if started.isdigit():
        os.kill(int(started), signal.SIGTERM)


def test_the_first_call_of_all_is_clean_too(nobody: Runner) -> None:
    """It starts the daemon, and says nothing of that beside its JSON."""
    listed = _compose(nobody, "ls", "--json")
    status = _compose(nobody, "status", "--json")

    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    assert json.loads(status.stdout)["running"] is True
