"""Pulls that are interrupted: by the network, by people who leave, by the death of the daemon."""

import asyncio
import contextlib
import http.client
import json
import os
import queue
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelrunner.oci.chunks import MOST_LANES
from modelrunner.oci.credentials import Credentials
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.registry import Registry
from modelrunner.oci.transfer import copy
from modelrunner.testing.artifacts import Artifact, make_artifact
from modelrunner.testing.daemon import BIN, Runner, running
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.faults import Ending, Fault, Request, cut, reset, unavailable
from modelrunner.testing.proxy import FaultProxy, fault_proxy

pytestmark = pytest.mark.registry

# Bytes of one lane that a dead daemon takes with it: a mebibyte that is being collected, another that is read
# ahead, and what the sockets hold.
AT_RISK = 3 << 20
LAYERS = (24 << 20, 16 << 20, 12 << 20, 8 << 20, 3 << 20, 1 << 20, 12_345)
INTERRUPTIONS = 200
KILLS = 15


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """A model of 64 MiB in seven layers."""
    return make_artifact(*(os.urandom(size) for size in LAYERS))


@pytest.fixture(scope="module")
def registry(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real registry server with the artifact as `team/model:v1`; its address."""

    async def publish(address: str) -> None:
        reference = parse_reference(f"{address}/team/model:v1")
        async with Registry(credentials=Credentials({}), user_agent="modelrunner-test/1") as hub:
            await copy(artifact, hub.repository(reference), artifact.content, [reference])

    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        asyncio.run(publish(address))
        yield address


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultProxy]:
    with fault_proxy(registry) as running_proxy:
        yield running_proxy


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with running(tmp_path / "home") as started:
        yield started


def _name(proxy: FaultProxy) -> str:
    return f"{proxy.address}/team/model:v1"


def _broken(runner: Runner, artifact: Artifact) -> list[str]:
    """The blobs of a store that are missing or not what their digests say, and files that are no blobs."""
    folder = runner.home / ".docker" / "models" / "blobs" / "sha256"
    expected = {blob.digest.hex for blob in artifact.content.blobs}
    return sorted(
        expected.symmetric_difference(path.name for path in folder.iterdir())
        | {path.name for path in folder.iterdir() if Digest.of(path.read_bytes()).hex != path.name}
    )


def _size(artifact: Artifact) -> int:
    return sum(blob.size for blob in artifact.content.blobs)


class Client:
    """One `POST /models/create`, read in a thread; the last line goes to `news`."""

    def __init__(self, runner: Runner, name: str, news: "queue.SimpleQueue[Any]") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", runner.port)
        body = json.dumps({"from": name})
        self._connection.request("POST", "/models/create", body, {"Accept": "application/json"})
        self._sock = self._connection.sock
        self._news = news
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        last: object = None
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            self._connection.getresponse() as response,
        ):
            for raw in response:
                last = json.loads(raw) if response.status == 200 else {"type": "error"}
        self._news.put(last)

    def leave(self) -> None:
        """Break the connection, and wait until nothing more is read."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(2)
        self.close()

    def close(self) -> None:
        self._thread.join()
        self._connection.close()


@dataclass
class Weather:
    """A plan that breaks every fetch of a blob somewhere, until there have been enough interruptions.

    Faults of the network happen here and are counted; for the others it falls silent and says whose turn it
    is. Cuts come sooner the less is left, so that the model is never complete before its time.
    """

    proxy: FaultProxy
    artifact: Artifact
    chance: random.Random
    turns: list[str]
    news: "queue.SimpleQueue[Any]" = field(default_factory=queue.SimpleQueue)
    count: int = 0
    waiting: bool = False

    def __call__(self, request: Request) -> Fault | None:
        if not request.is_blob or self.count >= len(self.turns) or self._asked(request) < 2:
            return None
        after = self._after(request)
        if self.waiting:  # somebody is about to leave; this one only waits for that
            return cut(after, Ending.STALL)
        turn = self.turns[self.count]
        if turn in {"leave", "kill"}:
            self.waiting = True
            return cut(after, Ending.STALL, lambda: self.news.put(turn))
        self.count += 1
        if turn == "reset":
            return reset()
        if turn == "busy":
            return unavailable(0)
        return cut(after, Ending.RESET if turn == "cut by reset" else Ending.CLOSE)

    def _asked(self, request: Request) -> int:
        """How many bytes are asked for; 0 of a configuration, which is too small to be broken off often."""
        blob = next((blob for blob in self.artifact.layers if blob.digest.hex in request.target), None)
        first, last = request.range or (0, None)
        return 0 if blob is None else (blob.size if last is None else last + 1) - first

    def _after(self, request: Request) -> int:
        """Where to break off: before the end of what was asked for."""
        left = max(_size(self.artifact) - self.proxy.fetched, 1 << 20)
        fair = left / (len(self.turns) - self.count + MOST_LANES)
        return min(int(self.chance.uniform(0.0, 1.4) * fair), self._asked(request) - 1)

    def passed(self) -> None:
        """Whoever it was has left."""
        self.count += 1
        self.waiting = False


def _turns(chance: random.Random) -> list[str]:
    others = ["cut", "cut", "cut", "cut by reset", "cut by reset", "reset", "busy", "leave", "leave"]
    turns = ["kill"] * KILLS + [chance.choice(others) for _ in range(INTERRUPTIONS - KILLS)]
    chance.shuffle(turns)
    return turns


@pytest.mark.timeout(240)  # half a minute when nothing else runs; each interruption waits for a back-off
def test_200_interruptions_in_a_row_end_in_an_intact_model(
    runner: Runner, proxy: FaultProxy, artifact: Artifact
) -> None:
    """Whatever interrupts a pull, it goes on, fetches no more than what was under way again, and ends well.

    Connections are cut at random points, closed or reset, refused, turned away; clients leave; the daemon is
    killed and another one goes on.
    """
    chance = random.Random(20)
    weather = Weather(proxy, artifact, chance, _turns(chance))
    proxy.plan = weather
    client = Client(runner, _name(proxy), weather.news)
    while True:
        news = weather.news.get(timeout=30)
        if news == "kill":
            runner.stop(signal.SIGKILL)
            client.leave()
            runner.start()
        elif news == "leave":
            client.leave()
        else:
            client.close()
            if news is not None and news["type"] == "success":
                break
        if news in {"kill", "leave"}:
            weather.news.get(timeout=30)  # the end of that client's answer
            proxy.wait_until_idle()
            weather.passed()
        client = Client(runner, _name(proxy), weather.news)

    assert weather.count == INTERRUPTIONS
    assert _broken(runner, artifact) == []
    assert proxy.fetched < 2 * _size(artifact)  # so early were the cuts that less than once was lost in all
    assert runner.must("list", "-q").split() == [artifact.id.short]


def test_a_killed_daemon_loses_what_was_under_way(
    runner: Runner, proxy: FaultProxy, artifact: Artifact
) -> None:
    """The next one fetches the rest, and at most what each lane was collecting again."""
    half, news = _size(artifact) // 2, queue.SimpleQueue[Any]()
    first = Client(runner, _name(proxy), news)
    proxy.wait_until(lambda: proxy.fetched >= half)
    runner.stop(signal.SIGKILL)
    first.leave()
    proxy.wait_until_idle()
    before = proxy.fetched
    runner.start()
    runner.must("pull", _name(proxy))

    assert _broken(runner, artifact) == []
    assert before < _size(artifact)
    assert proxy.fetched <= _size(artifact) + MOST_LANES * AT_RISK


@contextlib.contextmanager
def _pulling(runner: Runner, name: str) -> Iterator[subprocess.Popen[str]]:
    """`dmr pull` under way, as a person has it."""
    process = subprocess.Popen(
        [BIN / "dmr", "pull", name],
        env=runner.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _pause_in(proxy: FaultProxy, artifact: Artifact, after: int) -> None:
    """Have the first fetch of the largest layer fall silent until it is told to go on."""
    left = [cut(after, Ending.PAUSE)]
    digest = artifact.layers[0].digest.hex
    proxy.plan = lambda request: left.pop() if left and request.is_blob and digest in request.target else None


def test_ctrl_c_keeps_what_has_arrived_and_says_so(
    runner: Runner, proxy: FaultProxy, artifact: Artifact
) -> None:
    """Exit code 130, one line on stderr; the daemon stops, and the next pull fetches only the rest."""
    _pause_in(proxy, artifact, 8 << 20)
    with _pulling(runner, _name(proxy)) as process:
        proxy.wait_until(lambda: proxy.fetched >= 40 << 20)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        proxy.wait_until_idle()
    before = proxy.fetched
    again = runner.must("pull", _name(proxy))

    assert (process.returncode, said) == (
        130,
        "pull interrupted; run it again to continue where it stopped\n",
    )
    assert before < _size(artifact)
    assert proxy.fetched <= _size(artifact) + MOST_LANES * AT_RISK
    assert again.endswith("Model pulled successfully\n")
    assert _broken(runner, artifact) == []


def test_ctrl_c_of_a_push_says_that_it_can_go_on(
    runner: Runner, proxy: FaultProxy, artifact: Artifact
) -> None:
    """The daemon stops sending; the next push sends what had not arrived."""
    runner.must("pull", _name(proxy))
    name = f"{proxy.address}/team/again:v1"
    runner.must("tag", _name(proxy), name)
    runner.must("rm", _name(proxy))  # so that there is no neighbour to mount from
    proxy.plan = lambda request: cut(0, Ending.PAUSE) if "/uploads/" in request.target else None
    with subprocess.Popen(
        [BIN / "dmr", "push", name],
        env=runner.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        proxy.wait_until(lambda: sum(each.received for each in tuple(proxy.exchanges)) > 1 << 20)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        proxy.wait_until_idle()
    proxy.plan = lambda _: None
    runner.must("push", name)
    runner.must("rm", name)
    runner.must("pull", name)

    assert process.returncode == 130
    assert said == "push interrupted; run it again, and what has arrived is not sent again\n"
    assert _broken(runner, artifact) == []


def test_a_pull_goes_on_for_those_who_still_wait(
    runner: Runner, proxy: FaultProxy, artifact: Artifact
) -> None:
    """When one of two leaves, the other gets the model, and most of it comes only once."""
    _pause_in(proxy, artifact, 8 << 20)
    with _pulling(runner, _name(proxy)) as one, _pulling(runner, _name(proxy)) as other:
        proxy.wait_until(lambda: proxy.fetched >= 40 << 20 and _manifests(proxy) == 2)
        one.send_signal(signal.SIGINT)
        one.wait(timeout=30)
        proxy.go_on()
        out, _ = other.communicate(timeout=30)

    assert (one.returncode, other.returncode) == (130, 0)
    assert out.endswith("Model pulled successfully\n")
    assert proxy.fetched <= _size(artifact) + MOST_LANES * AT_RISK
    assert _broken(runner, artifact) == []


def _manifests(proxy: FaultProxy) -> int:
    return sum("/manifests/" in exchange.request.target for exchange in tuple(proxy.exchanges))
