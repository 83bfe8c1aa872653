"""What is asked of a Docker Engine, and what its refusals become, with an engine that a test makes up."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError, DockerException
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from modelrunner.containers.engine import connect, facts, translated
from modelrunner.containers.plan import Facts
from modelrunner.errors import Conflict, DockerFailed, InvalidRequest
from modelrunner.testing.serving import serving_in_thread

BRIDGE = {"Name": "bridge", "Id": "b1", "IPAM": {"Config": [{"Gateway": "172.17.0.1"}]}}


class Engine:
    """Answers with what a test says that it is."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = {"Runtimes": {"runc": {}, "nvidia": {}}, "OperatingSystem": "Debian"}
        self.networks: list[dict[str, Any]] = [BRIDGE]
        self.url = ""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        what = request.url.path.rpartition("/")[2]
        if what == "_ping":
            return PlainTextResponse("OK")
        answers: dict[str, object] = {
            "version": {"ApiVersion": "1.43"},
            "info": self.info,
            "networks": self.networks,
        }
        return JSONResponse(answers[what])

    def facts(self, *, local: bool = False) -> Facts:
        client = connect(self.url, "", "", "", tls=False, verify=False)
        try:
            return facts(client, local=local)
        finally:
            client.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Engine]:
    engine = Engine()
    with serving_in_thread(engine.app()) as url:
        engine.url = url.replace("http://", "tcp://")
        yield engine


@pytest.fixture
def engine(served: Engine) -> Engine:
    """One that is as engines are, whatever the test before made of it."""
    fresh = Engine()
    served.info, served.networks = fresh.info, fresh.networks
    return served


def test_an_engine_tells_its_runtimes_and_its_gateway(engine: Engine) -> None:
    """Of another machine nothing is looked for here."""
    assert Facts(frozenset({"runc", "nvidia"}), "172.17.0.1") == engine.facts()


@pytest.mark.parametrize(
    "changes",
    [
        {"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]},
        {"OperatingSystem": "Docker Desktop"},
    ],
)
def test_a_gateway_that_this_machine_cannot_listen_on_is_none(
    engine: Engine, changes: dict[str, object]
) -> None:
    """Without root it is in a namespace, and Docker Desktop's is in its virtual machine."""
    engine.info |= changes

    found = engine.facts()

    assert (None, True) == (found.gateway, found.has_bridge)


@pytest.mark.parametrize(
    ("networks", "gateway", "has_bridge"),
    [
        ([], None, False),
        ([{**BRIDGE, "Name": "bridge-of-mine"}], None, False),
        ([{"Name": "bridge", "Id": "b1"}], None, True),
        ([{**BRIDGE, "IPAM": {"Config": None}}], None, True),
        (
            [{**BRIDGE, "IPAM": {"Config": [{"Gateway": "fd00::1"}, {"Gateway": "10.0.0.1"}]}}],
            "10.0.0.1",
            True,
        ),
        ([{**BRIDGE, "IPAM": {"Config": [{"Subnet": "10.0.0.0/8"}]}}], None, True),
    ],
)
def test_the_gateway_is_the_bridge_s_own_of_ipv4(
    engine: Engine, networks: list[dict[str, Any]], gateway: str | None, has_bridge: bool
) -> None:
    """A network whose name only begins so is another one."""
    engine.networks = networks

    found = engine.facts()

    assert (gateway, has_bridge) == (found.gateway, found.has_bridge)


def _refusal(text: str) -> APIError:
    """What the SDK raises when the engine says no."""
    response = requests.Response()
    response.status_code = 409
    return APIError("409 Client Error", response=response, explanation=text)


def _because(reason: Exception) -> DockerException:
    """What the SDK raises around something."""
    exc = DockerException("Error while fetching server API version")
    exc.__cause__ = reason
    return exc


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (_refusal("Bind for 0.0.0.0:80 failed: port is already allocated"), Conflict, "port is already allo"),
        (_refusal('The name "/x" is already in use by container'), Conflict, "Docker says: The name"),
        (_refusal("no space left on device"), DockerFailed, "Docker says: no space left on device"),
        (_because(FileNotFoundError(2, "No such file or directory")), DockerFailed, "no such file or dir"),
        (_because(PermissionError(13, "Permission denied")), DockerFailed, "at `unix:///x`: permission den"),
        (requests.ConnectionError("no route"), DockerFailed, "no Docker Engine answers at `unix:///x`: no r"),
        (OSError(111, "Connection refused"), DockerFailed, "connection refused"),
    ],
)
def test_what_the_sdk_raises_becomes_a_sentence(
    raised: Exception, kind: type[Exception], message: str
) -> None:
    """The reason at the bottom, and what helps."""
    with pytest.raises(kind) as caught, translated("unix:///x"):
        raise raised

    assert isinstance(caught.value, Conflict | DockerFailed)
    assert message in caught.value.message


def test_what_is_no_refusal_of_docker_s_passes() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("unix:///nowhere/docker.sock", DockerFailed, "no such file or directory"),
        ("tcp://127.0.0.1:1", DockerFailed, "connection refused"),
        ("nonsense://host", DockerFailed, "Invalid bind address protocol"),
    ],
)
def test_an_engine_that_is_not_there_is_named(url: str, kind: type[Exception], words: str) -> None:
    """Nothing is left open."""
    with pytest.raises((DockerFailed, InvalidRequest)) as caught:
        connect(url, "", "", "", tls=False, verify=False)

    assert isinstance(caught.value, kind)
    assert url in caught.value.message
    assert words in caught.value.message


def test_a_connection_is_a_client(engine: Engine) -> None:
    client = connect(engine.url, "", "", "", tls=False, verify=False)

    assert isinstance(client, docker.DockerClient)
    client.close()


def test_an_engine_that_hangs_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and never answers."""
    monkeypatch.setattr("modelrunner.containers.engine._GREETED_WITHIN", 0.2)
    place = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place))
        silent.listen()

        with pytest.raises(DockerFailed, match="timed out"):
            connect(f"unix://{place}", "", "", "", tls=False, verify=False)
