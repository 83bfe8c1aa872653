"""Package, push to a real registry, remove, pull back, ask: the whole way of a model."""

import base64
import http.client
import json
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from modelrunner.models.description import kinds
from modelrunner.oci.digest import Digest
from modelrunner.testing.daemon import Runner, running
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.registry import FakeRegistry, stall
from modelrunner.testing.serving import serving_in_thread

STEADY = ("--temp", "0", "--predict", "64")  # short answers, and always the same
PASSWORD = "correct horse"
# bcrypt of PASSWORD, cost 5; the registry's server takes no other kind.
HASHED = "$2b$05$b0g7Ki/l98hK3Xqj6.AtOuPYML9N8I0mD/v9L8Tfu/x6gCCozL30e"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Iterator[Runner]:
    """A daemon of its own: these tests remove what others count on, and count what runs."""
    with running(tmp_path_factory.mktemp("job")) as runner:
        runner.must("package", "--gguf", smollm2, "ai/smollm2")
        runner.must("configure", "ai/smollm2", "--", *STEADY)
        yield runner


@pytest.mark.engine
@pytest.mark.registry
def test_a_gguf_file_goes_to_a_registry_and_comes_back_and_answers(
    real: Runner, tmp_path: Path, smollm2: Path
) -> None:
    """What was pushed has the manifest of the specification, and what is pulled is the same model."""
    with docker_registry(tmp_path) as address:
        name = f"{address}/team/smollm2:v1"
        before = json.loads(real.must("inspect", "ai/smollm2"))
        real.must("tag", "ai/smollm2", name)
        pushed = real.must("push", name)
        real.must("rm", name)
        real.must("rm", "ai/smollm2")
        emptied = real.must("list", "-q")
        pulled = real.must("pull", name)
        after = json.loads(real.must("inspect", name))
        real.must("tag", name, "ai/smollm2")
        raw = subprocess.run(
            ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    real.must("configure", name, "--", *STEADY)  # what was set for the model went away with it
    answer = real.must("run", name, "What is the capital of France?")

    assert "Model pushed successfully" in pushed
    assert emptied == ""
    assert "Model pulled successfully" in pulled
    assert before["id"] == after["id"] == str(Digest.of(raw))
    assert answer.strip() != ""
    manifest = json.loads(raw)
    assert manifest["config"]["mediaType"] == kinds.CONFIG_V01
    assert [layer["mediaType"] for layer in manifest["layers"]] == [kinds.GGUF_LAYER]
    assert manifest["layers"][0]["size"] == smollm2.stat().st_size
    assert set(manifest["layers"][0]["annotations"]) == {
        kinds.FILEPATH,
        kinds.FILE_METADATA,
        kinds.MEDIATYPE_UNTESTED,
    }
    real.must("rm", name)


@pytest.mark.registry
def test_a_registry_that_wants_a_password_gets_it_from_dockers_configuration(tmp_path: Path) -> None:
    """Without credentials a push is refused with exit code 4 and a hint; with them it goes through."""
    home = tmp_path / "home"
    (tmp_path / "registry").mkdir()
    with (
        docker_registry(tmp_path / "registry", users={"alice": HASHED}) as address,
        running(home) as runner,
    ):
        name = f"{address}/team/tiny"
        runner.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), name)

        refused = runner.run("push", name)
        login = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {address: {"auth": login}}}))
        runner.must("push", name)
        runner.must("rm", name)
        runner.must("pull", name)

    assert refused.code == 4
    assert "hint: " in refused.err
    assert address in refused.err


def test_a_pull_that_was_killed_goes_on_where_it_stopped(tmp_path: Path, smollm2: Path) -> None:
    """After kill -9 in mid-pull nothing half-made shows, and the next pull asks for the rest."""
    registry = FakeRegistry()
    half = smollm2.stat().st_size // 2
    with serving_in_thread(registry) as url, running(tmp_path / "home") as runner:
        name = f"{url.removeprefix('http://')}/team/smollm2"
        runner.must("package", "--gguf", smollm2, name)
        runner.must("push", name)
        runner.must("rm", name)
        registry.fault(f"GET .*/blobs/{Digest.of(smollm2.read_bytes())}", stall(half), times=1)
        pull = http.client.HTTPConnection("127.0.0.1", runner.port, timeout=30)
        body = json.dumps({"from": name})
        pull.request("POST", "/models/create", body, {"Accept": "application/json"})
        response = pull.getresponse()
        while json.loads(response.readline())["layer"]["current"] <= half // 2:
            pass
        runner.stop(signal.SIGKILL)
        response.close()
        pull.close()
        runner.start()
        listed = runner.must("list", "-q")
        seen = len(registry.seen)
        runner.must("pull", name)

    ranges = [request.headers.get("range", "") for request in registry.seen[seen:]]
    starts = [int(value.removeprefix("bytes=").partition("-")[0]) for value in ranges if value]
    assert listed == ""
    assert [start for start in starts if start >= half // 2]


@pytest.mark.engine
def test_an_idle_model_goes_away_by_itself(
    real: Runner, engines_of: Callable[[int], list[psutil.Process]]
) -> None:
    """With a keep-alive of nought the engine's process ends as soon as the answer is complete."""
    real.must("configure", "--keep-alive", "0", "ai/smollm2", "--", "--temp", "0", "--predict", "64")
    try:
        real.must("run", "ai/smollm2", "Say hello.")
        engines = engines_of(real.pid)
        _, alive = psutil.wait_procs(engines, timeout=10)
        while "Expiring" in real.must("ps"):  # the end of a process may be seen before the daemon sees it
            pass
        listed = real.must("ps")
    finally:
        real.must("configure", "ai/smollm2", "--", "--temp", "0", "--predict", "64")

    assert alive == []
    assert "smollm2" not in listed


@pytest.mark.engine
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no sandbox, and say so")
def test_the_real_engine_runs_in_the_sandbox(
    real: Runner, engines_of: Callable[[int], list[psutil.Process]]
) -> None:
    """It answers, without privileges to gain and without a network, in a directory that goes with it."""
    real.must("run", "ai/smollm2", "Say hello.")
    [engine] = engines_of(real.pid)
    status = Path(f"/proc/{engine.pid}/status").read_text()
    directory = Path(engine.environ()["DMR_ENGINE_DIRECTORY"])

    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status or platform.machine() not in {"x86_64", "aarch64"}
    assert [] == engine.net_connections(kind="inet")
    assert ["engine.sock"] == [path.name for path in directory.iterdir()]
    real.must("unload", "ai/smollm2")
    assert not directory.exists()


@pytest.mark.engine
def test_a_piped_prompt_belongs_to_the_question(real: Runner) -> None:
    """What comes on stdin follows the prompt of the command line."""
    answer = real.must("run", "ai/smollm2", "Repeat the following word:", stdin="Elephant")

    assert "elephant" in answer.lower()
