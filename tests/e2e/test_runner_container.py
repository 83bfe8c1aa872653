"""The runner's image, built and run by a real Docker Engine, and driven by `docker model`.

The tests are one story, in order: what one of them leaves, the next one begins with.
"""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelrunner.testing.daemon import BIN
from modelrunner.testing.docker_engine import DockerEngine, docker_engine

ROOT = Path(__file__).parent.parent.parent
NAME = "docker-model-runner"
QUESTION = "What is the capital of France? Answer in one sentence."
FETCH = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0,
        reason="a Docker Engine of one's own takes root on Linux",
    ),
]


@pytest.fixture(scope="module")
def engine(container_wheels: Path) -> Iterator[DockerEngine]:
    """A Docker Engine with the image `modelrunner`, of the Dockerfile, and our plug-in at its client."""
    with (
        tempfile.TemporaryDirectory(prefix="dmr-docker-", dir=_place()) as folder,
        docker_engine(Path(folder) / "engine") as engine,
    ):
        base = subprocess.Popen(
            [sys.executable, "-m", "scripts.make_container_base"], cwd=ROOT, stdout=subprocess.PIPE
        )
        with base:
            assert base.stdout is not None
            imported = engine.run("import", "-", "base", stdin=base.stdout.fileno())
        assert (base.returncode, imported.returncode) == (0, 0), imported.stderr
        context = _context(Path(folder) / "context", container_wheels)
        arguments = ["BASE=base", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/src/wheels"]
        flags = [word for argument in arguments for word in ("--build-arg", argument)]
        engine.must("build", "--quiet", "--tag", "modelrunner", *flags, context)
        shutil.rmtree(context)
        plugins = engine.config / "cli-plugins"
        plugins.mkdir()
        (plugins / "docker-model").symlink_to(BIN / "docker-model")
        yield engine


def _place() -> Path | None:
    """Choose memory, where there is enough: the engine copies each layer whole, some gigabytes in all."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 6 << 30 else None


def _context(folder: Path, wheels: Path) -> Path:
    """Gather what `.dockerignore` lets pass, and the wheels."""
    for name in ("src", "requirements", "web"):
        skipped = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / name, folder / name, ignore=skipped)
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(wheels, folder / "wheels", ignore=shutil.ignore_patterns(".*"))
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def port() -> int:
    """A port that was free a moment ago."""
    return _free_port()


def test_the_container_answers_a_chat(engine: DockerEngine, smollm2: Path, port: int) -> None:
    """`docker model install-runner`, a model, and a question: all through the real client."""
    login = base64.b64encode(b"me:secret").decode()
    (engine.config / "config.json").write_text(json.dumps({"auths": {"registry.test": {"auth": login}}}))

    installed = engine.must("model", "install-runner", "--port", str(port))
    engine.must("model", "package", "--gguf", smollm2, "ai/smollm2")
    engine.must("model", "configure", "ai/smollm2", "--", "--temp", "0", "--predict", "64")
    answer = engine.must("model", "run", "ai/smollm2", QUESTION)

    assert "Using local image modelrunner:latest" in installed
    assert re.search(
        rf"docker-model-runner \([0-9a-f]{{12}}\) is running at http://127\.0\.0\.1:{port}", installed
    )
    assert "Paris" in answer


def test_the_image_is_healthy_and_not_root(engine: DockerEngine) -> None:
    """Its own health check passes, its user has no rights over what it runs, and its logins are its own."""
    config = json.loads(engine.must("inspect", NAME))[0]["Config"]
    health = engine.run("exec", NAME, *config["Healthcheck"]["Test"][1:])
    script = (
        "import json, os, pathlib; path = pathlib.Path.home() / '.docker/config.json'; info = path.stat();"
        "print(json.dumps([os.getuid(), os.access('/opt/modelrunner/bin', os.W_OK), oct(info.st_mode)[-3:],"
        " info.st_uid, list(json.loads(path.read_text())['auths'])]))"
    )
    seen = json.loads(engine.must("exec", NAME, "python3", "-c", script))

    assert health.returncode == 0, health.stdout
    assert "Docker Model Runner is running" in health.stdout
    assert seen == [1000, False, "600", 1000, ["registry.test"]]


def test_other_containers_reach_it_where_status_says(engine: DockerEngine) -> None:
    """`endpoint` is what Compose hands to services: it has to be reachable from within a container."""
    status = json.loads(engine.must("model", "status", "--json"))

    listing = json.loads(
        engine.must("run", "--rm", "base", "python3", "-c", FETCH, f"{status['endpoint']}models")
    )

    assert status["kind"] == "Docker Engine"
    assert status["endpoint"].startswith(f"http://{engine.gateway}:")
    assert [model["id"] for model in listing["data"]] == ["ai/smollm2:latest"]


def test_a_second_one_is_not_made(engine: DockerEngine) -> None:
    """What was typed and changes nothing is said to change nothing, quoted for a shell."""
    again = engine.run("model", "install-runner", "--gpu", "cuda; echo bad")

    assert (again.returncode, "is already running" in again.stdout) == (0, True)
    assert "The requested runner options were not applied" in again.stderr
    assert 'docker model reinstall-runner --gpu "cuda; echo bad"' in again.stderr


def test_a_restart_keeps_port_models_and_configurations(engine: DockerEngine, port: int) -> None:
    """What the container was made of is what the next one is made of."""
    restarted = engine.must("model", "restart-runner")

    configured = json.loads(engine.must("model", "configure", "show", "--json"))
    assert f"http://127.0.0.1:{port}" in restarted
    assert "smollm2" in engine.must("model", "ls")
    assert configured[0]["Config"]["runtime-flags"] == ["--temp", "0", "--predict", "64"]


def test_what_is_stopped_starts_as_it_was(engine: DockerEngine, port: int) -> None:
    """But for what is said: another port."""
    other = _free_port()

    stopped = engine.must("model", "stop-runner")
    gone = engine.must("ps", "--all", "--quiet")
    started = engine.must("model", "start-runner")
    moved = engine.must("model", "reinstall-runner", "--port", str(other))

    assert (stopped, gone) == (f"Removed container {NAME}\n", "")
    assert f"http://127.0.0.1:{port}" in started
    assert f"http://127.0.0.1:{other}" in moved
    assert "smollm2" in engine.must("model", "ls")


def test_a_port_that_is_taken_is_said_to_be(engine: DockerEngine) -> None:
    """And no container is left that would try for ever."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = engine.run("model", "restart-runner", "--port", str(taken.getsockname()[1]))

    assert refused.returncode == 1
    assert "address already in use" in refused.stderr
    assert "--port" in refused.stderr
    assert engine.must("ps", "--quiet") == ""


def test_uninstalling_leaves_nothing(engine: DockerEngine) -> None:
    """Neither container nor volumes nor images, and starting it says what to do."""
    removed = engine.must("model", "uninstall-runner", "--models", "--images")
    remembered = json.loads((engine.config / "model" / "runners.json").read_text())
    started = engine.run("model", "start-runner")

    assert "Removed image modelrunner:latest" in removed
    assert engine.must("volume", "ls", "--quiet") == ""
    assert remembered == {}
    assert started.returncode == 1
    assert "there is no image `modelrunner:latest` here" in started.stderr
    assert "`install-runner` fetches it" in started.stderr
