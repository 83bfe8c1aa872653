"""The runner's container, on an engine that a test makes up; `tests/e2e` has it on a real one."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from modelrunner.containers.engine import connect
from modelrunner.containers.plan import OPTIONS_LABEL, Facts, Options, plan
from modelrunner.containers.runner import Runners
from modelrunner.errors import Conflict, DockerFailed, NotReadyInTime
from modelrunner.testing.serving import serving_in_thread

BRIDGED = Facts(gateway="172.17.0.1")
IMAGE = "modelrunner:latest"


@dataclass
class Engine:
    """An engine with one container or none; `refusals` are what it says to the next starts, in turn."""

    url: str = ""
    container: dict[str, Any] | None = None
    images: set[str] = field(default_factory=lambda: {IMAGE})
    refusals: list[str] = field(default_factory=list)
    pulled: list[dict[str, Any]] = field(default_factory=list)
    last_words: bytes = b""
    restarts: int = 0
    made: list[dict[str, Any]] = field(default_factory=list)
    put: list[tuple[str, bytes]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/{path:path}", self._told, methods=["GET"]),
                Route("/{path:path}", self._asked, methods=["POST", "PUT", "DELETE", "HEAD"]),
            ]
        )

    async def _told(self, request: Request) -> Response:
        found = self._found(_steps(request))
        return JSONResponse({"message": "No such image"}, 404) if found is None else found

    def _found(self, steps: list[str]) -> Response | None:
        match steps:
            case ["_ping"]:
                return PlainTextResponse("OK")
            case ["version"]:
                return JSONResponse({"ApiVersion": "1.43"})
            case ["containers", "json"]:
                return JSONResponse([] if self.container is None else [{"Id": "c" * 64}])
            case ["containers", _, "json"] if self.container is not None:
                return JSONResponse(self.container)
            case ["containers", _, "logs"]:
                head = b"\x01\0\0\0" + len(self.last_words).to_bytes(4, "big")
                return Response(head + self.last_words)
            case ["networks"]:
                return JSONResponse([{"Name": "docker-model-runner", "Id": "n1"}])
            case ["images", name, "json"] if name in self.images:
                return JSONResponse({"Id": "i1", "RepoTags": [name]})
        return None

    async def _asked(self, request: Request) -> Response:
        body, steps = await request.body(), _steps(request)
        match request.method, steps:
            case "POST", ["containers", "create"]:
                return self._create(json.loads(body))
            case "POST", ["images", "create"]:
                return StreamingResponse(iter([f"{json.dumps(line)}\n" for line in self.pulled]))
            case "PUT", ["containers", _, "archive"]:
                self.put.append((request.query_params["path"], body))
                return Response()
            case "POST", ["containers", _, "start"] if self.refusals:
                return JSONResponse({"message": self.refusals.pop(0)}, 500)
            case "DELETE", ["containers", _]:
                self.container = None
        self.done.append(steps[-1] if request.method == "POST" else "remove")
        return Response(status_code=204)

    def _create(self, asked: dict[str, Any]) -> Response:
        if asked["Image"] not in self.images:
            return JSONResponse({"message": f"No such image: {asked['Image']}"}, 404)
        self.made.append(asked)
        self.container = {
            "Id": "c" * 64,
            "Name": "/docker-model-runner",
            "State": {"Status": "running"},
            "RestartCount": self.restarts,
            "Config": {"Image": asked["Image"], "Labels": asked["Labels"], "Tty": False},
        }
        return JSONResponse({"Id": "c" * 64})


def _steps(request: Request) -> list[str]:
    """The parts of a path, behind the version of the API."""
    return re.sub(r"^/v1\.\d+/|^/|/$", "", request.url.path).split("/")


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    with serving_in_thread(made.app()) as url:
        made.url = url.replace("http://", "tcp://")
        yield made


@pytest.fixture
def runners(engine: Engine) -> Iterator[Runners]:
    client = connect(engine.url, "", "", "", tls=False, verify=False)
    yield Runners(client)
    client.close()


def test_where_there_is_none_none_is_found(runners: Runners) -> None:
    assert runners.find() is None


def test_what_was_made_is_found_with_what_it_was_made_of(engine: Engine, runners: Runners) -> None:
    """The options come back from a label; it is in the network before it starts."""
    found, planned = runners.create(plan(Options(port=23456), BRIDGED), None)

    assert found == runners.find()
    assert (found.running, found.image, found.options.port) == (True, IMAGE, 23456)
    assert found.short == "c" * 12
    assert planned.gateway == "172.17.0.1"
    assert OPTIONS_LABEL in engine.made[0]["Labels"]
    assert engine.done == ["connect", "start"]


@pytest.mark.parametrize(
    "words",
    [
        "listen tcp4 172.17.0.1:12434: bind: cannot assign requested address",
        "failed to bind host port for 172.17.0.1:12434",
    ],
)
def test_a_gateway_that_cannot_be_listened_on_is_done_without(
    engine: Engine, runners: Runners, words: str
) -> None:
    """What was begun is removed before the next try."""
    engine.refusals = [words]

    _, planned = runners.create(plan(Options(), BRIDGED), None)

    assert planned.gateway is None
    assert len(engine.made) == 2
    assert "remove" in engine.done
    ports = engine.made[1]["HostConfig"]["PortBindings"]["80/tcp"]
    assert [each["HostIp"] for each in ports] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Bind for 127.0.0.1:12434 failed: port is already allocated", Conflict),
        ("listen tcp4 127.0.0.1:12434: bind: cannot assign requested address", DockerFailed),
        ("172.17.0.1 is odd today", DockerFailed),
    ],
)
def test_what_else_is_refused_leaves_nothing(
    engine: Engine, runners: Runners, words: str, kind: type[Exception]
) -> None:
    """It is told, and not tried twice."""
    engine.refusals = [words]

    with pytest.raises(kind):
        runners.create(plan(Options(), BRIDGED), None)

    assert len(engine.made) == 1
    assert engine.container is None


def test_an_image_that_is_not_here_says_what_fetches_it(runners: Runners) -> None:
    with pytest.raises(DockerFailed, match="there is no image `modelrunner:v9` here") as caught:
        runners.create(plan(Options(version="v9"), BRIDGED), None)

    assert "install-runner" in str(caught.value.hint)


def test_credentials_and_certificates_are_the_containers_users(
    engine: Engine, runners: Runners, tmp_path: Path
) -> None:
    """Nobody else in the container reads them."""
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text(name)
    tls = Options(tls=True, tls_cert=f"{tmp_path}/c.pem", tls_key=f"{tmp_path}/k.pem")

    runners.create(plan(tls, BRIDGED), b"{}")

    assert [folder for folder, _ in engine.put] == ["/home/modelrunner"] * 3
    files = []
    for _, content in engine.put:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            files += [entry for entry in archive if entry.isfile()]
    assert [entry.name for entry in files] == [".docker/config.json", "certs/cert.pem", "certs/key.pem"]
    assert {(entry.mode, entry.uid, entry.gid) for entry in files} == {(0o600, 1000, 1000)}


def test_a_runner_that_answers_is_waited_for_no_longer(engine: Engine, runners: Runners) -> None:
    runners.create(plan(Options(), BRIDGED), None)
    answers = iter([False, True])

    runners.wait(lambda: next(answers))

    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("restarts", "what"),
    [(1, "ended at once\n  no such flag"), (0, "took too long to initialize\n  no such")],
)
def test_a_runner_that_never_answers_is_stopped_and_quoted(
    engine: Engine, runners: Runners, restarts: int, what: str
) -> None:
    """It is kept, to be looked at."""
    engine.restarts, engine.last_words = restarts, b"no such flag\n\n"
    runners.create(plan(Options(), BRIDGED), None)

    with pytest.raises(NotReadyInTime) as caught:
        runners.wait(lambda: False, seconds=0)

    assert what in caught.value.message
    assert "docker logs docker-model-runner" in str(caught.value.hint)
    assert engine.done[-1] == "stop"
    assert runners.find() is not None


def test_a_pull_tells_how_it_gets_on(engine: Engine, runners: Runners) -> None:
    """With what Docker says of each layer."""
    engine.pulled = [
        {"status": "Pulling from modelrunner"},
        {"id": "l1", "status": "Downloading", "progressDetail": {"current": 5, "total": 10}},
    ]
    told: list[tuple[str, str, int, int]] = []

    fetched = runners.pull(IMAGE, lambda *progress: told.append(progress))

    assert fetched
    assert told == [("", "Pulling from modelrunner", 0, 0), ("l1", "Downloading", 5, 10)]


def test_a_pull_that_fails_takes_what_is_here(engine: Engine, runners: Runners) -> None:
    """And where nothing is, it says how to make one."""
    engine.pulled = [{"error": "manifest unknown"}]

    fetched = runners.pull(IMAGE, lambda *_: None)
    with pytest.raises(DockerFailed, match="there is no image `modelrunner:v9`: manifest unknown") as caught:
        runners.pull("modelrunner:v9", lambda *_: None)

    assert not fetched
    assert "docker build -t modelrunner:v9" in str(caught.value.hint)
