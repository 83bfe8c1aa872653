"""The runner's image, built and run by a real Docker Engine, and driven by `docker model`.

The tests are one story, in order: what one of them leaves, the next one begins with.
"""

import base64
import http.client
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelrunner.testing.daemon import BIN
from modelrunner.testing.docker_engine import DockerEngine, docker_engine
from modelrunner.testing.tls import make_authority

ROOT = Path(__file__).parent.parent.parent
NAME = "docker-model-runner"
JSON = "application/json"
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
    """Gather what `.dockerignore` lets pass, with the web app as it is now, and the wheels."""
    subprocess.run([sys.executable, "web/build.py"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
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
    engine.must(
        "model", "configure", "--context-size", "2048", "ai/smollm2", "--", "--temp", "0", "--predict", "64"
    )
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

    login = base64.b64encode(b"me:other").decode()
    (engine.config / "config.json").write_text(json.dumps({"auths": {"other.test": {"auth": login}}}))
    engine.run("model", "pull", "other.test/x")
    later = json.loads(engine.must("exec", NAME, "python3", "-c", script))

    assert health.returncode == 0, health.stdout
    assert "Docker Model Runner is running" in health.stdout
    assert seen == [1000, False, "600", 1000, ["registry.test"]]
    assert later == [1000, False, "600", 1000, ["other.test"]]


def test_other_containers_reach_it_where_status_says(engine: DockerEngine) -> None:
    """`endpoint` is what Compose hands to services: it has to be reachable from within a container."""
    status = json.loads(engine.must("model", "status", "--json"))

    listing = json.loads(
        engine.must("run", "--rm", "base", "python3", "-c", FETCH, f"{status['endpoint']}models")
    )

    assert status["kind"] == "Docker Engine"
    assert status["endpoint"].startswith(f"http://{engine.gateway}:")
    assert [model["id"] for model in listing["data"]] == ["ai/smollm2:latest"]


SERVICE = """
import os, sys, urllib.request
base, model = (os.environ[name] for name in sys.argv[1:])
with urllib.request.urlopen(base + "models") as answer:
    print("found" if model in answer.read().decode() else "missing", base, model)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="Compose is fetched for x86-64")
def test_compose_has_models_for_its_services(
    engine: DockerEngine, docker_compose: Path, tmp_path: Path, port: int
) -> None:
    """The real Compose, with `models:` in both forms, and with a provider: each service finds its model."""
    shutil.copy(docker_compose, engine.config / "cli-plugins" / "docker-compose")
    bindings: dict[str, dict[str, object]] = {
        "short": {"models": ["llm"]},
        "long": {"models": {"llm": {"endpoint_var": "AI_URL", "model_var": "AI_NAME"}}},
        "dependent": {"depends_on": ["chat"]},
    }
    names = {
        "short": ("LLM_URL", "LLM_MODEL"),
        "long": ("AI_URL", "AI_NAME"),
        "dependent": ("CHAT_URL", "CHAT_MODEL"),
    }
    command = ["python3", "-c", SERVICE]
    services: dict[str, object] = {
        name: {"image": "base", "network_mode": "bridge", "command": [*command, *names[name]], **binding}
        for name, binding in bindings.items()
    }
    options = {"model": "ai/smollm2", "context-size": 2048, "runtime-flags": "--temp 0"}
    services["chat"] = {"provider": {"type": "model", "options": options}}
    llm = {"model": "ai/smollm2", "context_size": 2048, "runtime_flags": ["--temp", "0"]}
    project = tmp_path / "compose.yaml"
    project.write_text(json.dumps({"name": "shop", "services": services, "models": {"llm": llm}}))
    compose = ("compose", "--file", project, "--ansi", "never")

    listed = engine.must(*compose, "config", "--models")
    up = engine.run(*compose, "up", "--pull", "never", "--no-log-prefix")
    configured = json.loads(engine.must("model", "configure", "show", "--json"))
    down = engine.run(*compose, "down")

    found = sorted(line for line in up.stdout.splitlines() if line.startswith(("found", "missing")))
    base = f"http://{engine.gateway}:{port}"
    assert listed == "ai/smollm2\n"
    assert (up.returncode, down.returncode) == (0, 0), up.stderr
    assert found == [
        f"found {base}/engines/v1/ ai/smollm2",
        f"found {base}/v1/ ai/smollm2",
        f"found {base}/v1/ ai/smollm2",
    ]
    assert configured[0]["Config"] == {"context-size": 2048, "runtime-flags": ["--temp", "0"]}


PROXY = """
import socketserver, socket, threading
def pump(source, sink):
    while piece := source.recv(65536):
        sink.sendall(piece)
    sink.shutdown(socket.SHUT_WR)
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.create_connection(("model-runner.docker.internal", 80)) as there:
            threading.Thread(target=pump, args=(self.request, there), daemon=True).start()
            pump(there, self.request)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", 80), Handler).serve_forever()
"""


@pytest.fixture
def forwarded(engine: DockerEngine) -> Iterator[str]:
    """What Testcontainers' modules have: a container that forwards to `model-runner.docker.internal:80`."""
    name = "forwarder"
    network = ("--network", "docker-model-runner", "--publish", "127.0.0.1::80")
    engine.must("run", "--detach", "--name", name, *network, "base", "python3", "-c", PROXY)
    address = engine.must("port", name, "80").strip()
    _until_listening(address)
    yield f"http://localhost:{address.rpartition(':')[2]}"
    engine.must("rm", "--force", name)


def _until_listening(address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _post(url: str, body: object, **headers: str) -> tuple[int, list[str]]:
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode().splitlines()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode().splitlines()


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_testcontainers_find_what_they_expect(forwarded: str) -> None:
    """The calls of its modules for Go and Java, in their order, by their forwarder.

    Source: testcontainers-go `modules/dockermodelrunner`, testcontainers-java `DockerModelRunnerContainer`.
    """
    root, status = _get(f"{forwarded}/"), _get(f"{forwarded}/status")
    plain = http.client.HTTPConnection(forwarded.removeprefix("http://"), timeout=60)
    plain.request("POST", "/models/create", b'{"from": "ai/smollm2:latest"}')  # without Content-Type, as Go
    go = plain.getresponse()
    lines = go.read().decode().splitlines()
    plain.close()
    java = _post(f"{forwarded}/models/create", {"from": "ai/smollm2:latest"}, **{"Content-Type": JSON})
    unknown = _post(f"{forwarded}/models/create", {"from": "nowhere.invalid/x:y"}, **{"Content-Type": JSON})
    models = json.loads(_get(f"{forwarded}/models"))
    one = json.loads(_get(f"{forwarded}/models/ai/smollm2:latest"))
    openai = json.loads(_get(f"{forwarded}/engines/v1/models"))

    assert "The service is running" in root
    assert "The service is running" in status
    assert (go.status, java[0]) == (200, 200)
    assert all(len(line) < 65536 for line in lines)
    assert "Using cached model" in lines[-1]
    assert unknown[0] not in {200, 201}
    assert isinstance(models[0]["created"], int)
    assert models[0]["tags"] == one["tags"] == ["ai/smollm2:latest"]
    assert [model["id"] for model in openai["data"]] == ["ai/smollm2:latest"]


def test_a_second_one_is_not_made(engine: DockerEngine) -> None:
    """What was typed and changes nothing is said to change nothing, quoted for a shell."""
    again = engine.run("model", "install-runner", "--gpu", "cuda; echo bad")

    assert (again.returncode, "is already running" in again.stdout) == (0, True)
    assert "The requested runner options were not applied" in again.stderr
    assert 'docker model reinstall-runner --gpu "cuda; echo bad"' in again.stderr


def test_an_engine_elsewhere_is_managed_and_asked_through_tls(engine: DockerEngine) -> None:
    """A context of docker's leads to its machine, with its certificates; so does DOCKER_HOST."""
    host = f"tcp://{engine.gateway}:2376"
    pem = {name: engine.certificates / f"{name}.pem" for name in ("ca", "cert", "key")}
    described = ",".join([f"host={host}", *(f"{name}={path}" for name, path in pem.items())])
    engine.must("context", "create", "elsewhere", "--docker", described)
    by_variable = {
        "DOCKER_HOST": host,
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(engine.certificates),
    }

    found = engine.run("--context", "elsewhere", "model", "install-runner")
    listed = engine.run("--context", "elsewhere", "model", "ls", "-q")
    status = engine.run("model", "status", "--json", environ=by_variable)
    stranger = engine.run("model", "stop-runner", environ={"DOCKER_HOST": host})

    assert "is already running" in found.stdout, found.stderr
    assert len(listed.stdout) == 13, listed.stderr
    assert json.loads(status.stdout)["endpointHost"].startswith(f"http://{engine.gateway}:")
    assert stranger.returncode == 1
    assert "no Docker Engine answers" in stranger.stderr or "Docker says" in stranger.stderr
    assert "Traceback" not in stranger.stderr


def test_a_restart_keeps_port_models_and_configurations(engine: DockerEngine, port: int) -> None:
    """What the container was made of is what the next one is made of."""
    restarted = engine.must("model", "restart-runner")

    configured = json.loads(engine.must("model", "configure", "show", "--json"))
    assert f"http://127.0.0.1:{port}" in restarted
    assert "smollm2" in engine.must("model", "ls")
    assert configured[0]["Config"]["context-size"] == 2048


def test_what_is_stopped_starts_as_it_was(engine: DockerEngine, port: int, tmp_path: Path) -> None:
    """But for what is said: another port, and TLS besides."""
    other, secure = _free_port(), _free_port()
    authority = make_authority(tmp_path / "authority")
    certificate, key = authority.issue("runner", "127.0.0.1")
    tls = ("--tls", "--tls-port", str(secure), "--tls-cert", certificate, "--tls-key", key)

    stopped = engine.must("model", "stop-runner")
    gone = engine.must("ps", "--all", "--quiet")
    started = engine.must("model", "start-runner")
    moved = engine.must("model", "reinstall-runner", "--port", str(other), *tls)
    trust = {"MODEL_RUNNER_HOST": f"https://127.0.0.1:{secure}"}
    trust["MODEL_RUNNER_TLS_CA_CERT"] = str(authority.certificate)
    through_tls = engine.run("model", "ls", "-q", environ=trust)

    assert (stopped, gone) == (f"Removed container {NAME}\n", "")
    assert f"http://127.0.0.1:{port}" in started
    assert f"http://127.0.0.1:{other}" in moved
    assert "smollm2" in engine.must("model", "ls")
    assert (through_tls.returncode, len(through_tls.stdout)) == (0, 13), through_tls.stderr


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
    assert engine.url not in remembered
    assert started.returncode == 1
    assert "there is no image `modelrunner:latest` here" in started.stderr
    assert "`install-runner` fetches it" in started.stderr
