"""`/transfers` and `/search`: what goes on when nobody watches, and what there is to pull."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.registry import FakeRegistry, refuse, stall
from modelrunner.testing.serving import serving

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

ARTIFACT = make_artifact(b"weights" * 200_000, b"more")
NAME = "team/model"


async def _ended(daemon: "Daemon", name: str) -> dict[str, Any]:
    """Wait until a transfer has ended."""
    async with asyncio.timeout(20):
        while True:
            found = next(each for each in (await daemon.ask("GET", "/transfers")).json if each["id"] == name)
            if found["state"] != "running":
                return dict(found)
            await asyncio.sleep(0.02)


def _registry() -> FakeRegistry:
    fake = FakeRegistry()
    fake.add(NAME, "v1", ARTIFACT.content, ARTIFACT.contents)
    return fake


async def test_a_pull_goes_on_without_who_began_it(daemon: "Daemon") -> None:
    """The answer comes at once; later the model is here, and the transfer says how much that was."""
    async with serving(_registry()) as url:
        model = f"{url.removeprefix('http://')}/{NAME}:v1"
        begun = await daemon.ask("POST", "/transfers", json={"kind": "pull", "model": model})
        ended = await _ended(daemon, begun.json["id"])

    assert (begun.status, begun.json["state"]) == (202, "running")
    assert ended["state"] == "done"
    assert ended["done"] == ended["total"] == sum(layer.size for layer in ARTIFACT.layers)
    assert daemon.services.store.snapshot.find(model) is not None


async def test_the_same_pull_is_begun_once(daemon: "Daemon") -> None:
    """Who asks for what is under way joins it; after it was cancelled, the next try takes its place."""
    fake = _registry()
    fake.fault("/blobs/", stall(1000), times=9)
    async with serving(fake) as url:
        wanted = {"kind": "pull", "model": f"{url.removeprefix('http://')}/{NAME}:v1"}
        first = (await daemon.ask("POST", "/transfers", json=wanted)).json["id"]
        second = (await daemon.ask("POST", "/transfers", json=wanted)).json["id"]
        cancelled = (await daemon.ask("DELETE", f"/transfers/{first}")).json
        fake.faults.clear()
        third = (await daemon.ask("POST", "/transfers", json=wanted)).json["id"]
        ended = await _ended(daemon, third)
        listed = [each["id"] for each in (await daemon.ask("GET", "/transfers")).json]

    assert first == second != third
    assert cancelled["state"] == "cancelled"
    assert ended["state"] == "done"
    assert listed == [third]


async def test_a_transfer_that_failed_says_why(daemon: "Daemon") -> None:
    """Its error is kept, with what helps, until somebody has it forgotten."""
    fake = _registry()
    fake.fault("/manifests/", refuse(401, "UNAUTHORIZED"), times=9)
    async with serving(fake) as url:
        model = f"{url.removeprefix('http://')}/{NAME}:v1"
        begun = await daemon.ask("POST", "/transfers", json={"kind": "pull", "model": model})
        failed = await _ended(daemon, begun.json["id"])
    forgotten = await daemon.ask("DELETE", f"/transfers/{failed['id']}")

    assert failed["state"] == "failed"
    assert failed["message"]
    assert failed["hint"]
    assert forgotten.status == 200
    assert (await daemon.ask("GET", "/transfers")).json == []
    assert (await daemon.ask("DELETE", f"/transfers/{failed['id']}")).status == 404


async def test_a_push_is_a_transfer_too(tiny: "Daemon") -> None:
    """What is here goes to the registry of its name; what is not here is refused at once."""
    async with serving(FakeRegistry()) as url:
        host = url.removeprefix("http://")
        await tiny.ask("POST", f"/models/ai/tiny/tag?repo={host}/mine&tag=v1")
        begun = await tiny.ask("POST", "/transfers", json={"kind": "push", "model": f"{host}/mine:v1"})
        ended = await _ended(tiny, begun.json["id"])
    unknown = await tiny.ask("POST", "/transfers", json={"kind": "push", "model": "ai/unknown"})

    assert ended["state"] == "done"
    assert ended["done"] == ended["total"] > 0
    assert unknown.status == 404


@pytest.mark.parametrize("body", [{"kind": "steal", "model": "x"}, {"kind": "pull", "model": " "}, {}])
async def test_a_request_that_makes_no_sense_is_refused(daemon: "Daemon", body: dict[str, Any]) -> None:
    """No transfer begins, and nothing is remembered of it."""
    refused = await daemon.ask("POST", "/transfers", json=body)

    assert refused.status == 400
    assert (await daemon.ask("GET", "/transfers")).json == []


async def _docker_hub(scope: Any, receive: Any, send: Any) -> None:
    """One page of Docker Hub's list; its registry has nothing."""
    rows = [{"name": name, "description": name, "pull_count": 10} for name in ("small", "other")]
    body = json.dumps({"results": rows}).encode() if scope["path"].startswith("/v2/repositories") else b"{}"
    status = 200 if scope["path"].startswith("/v2/repositories") else 404
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def test_models_are_found_by_words(make_daemon: "Make") -> None:
    """What cannot be found out is null; a source that is none is refused with those that are."""
    async with serving(_docker_hub) as url:
        daemon = await make_daemon(DMR_HUB_ENDPOINT=url, DMR_MIRRORS=url)
        found = await daemon.ask("GET", "/search?q=small&source=dockerhub")
        wrong = await daemon.ask("GET", "/search?source=moon")
    gone = await daemon.ask("GET", "/search?source=dockerhub")

    assert [(each["name"], each["fits"], each["size"]) for each in found.json["models"]] == [
        ("ai/small", None, None)
    ]
    assert found.json["memory"] > 0
    assert gone.status == 502
    assert gone.text.startswith("failed to search Docker Hub: cannot reach")
    assert wrong.status == 400
    assert "`dockerhub`, `huggingface`" in wrong.text


async def test_a_configuration_is_weighed_before_it_is_made(daemon: "Daemon") -> None:
    """More context needs more memory; too much says what would fit; nothing is configured by asking."""
    await daemon.add("docker.io/ai/shaped:latest", shape=SHAPE)

    async def ask(size: int) -> Any:
        body = {"model": "ai/shaped", "context-size": size}
        return (await daemon.ask("POST", "/engines/explain", json=body)).json

    small, large, huge = await ask(1024), await ask(8192), await ask(1 << 30)
    bad = await daemon.ask(
        "POST", "/engines/explain", json={"model": "ai/shaped", "raw-runtime-flags": "--no"}
    )

    assert small["fits"]
    assert small["context_size"] == 1024
    assert small["need"]["ram"] < large["need"]["ram"] < huge["need"]["ram"]
    assert huge["fits"] is False
    assert huge["hint"]
    assert bad.status == 400
    assert (await daemon.ask("GET", "/engines/_configure")).json == []


SHAPE = {
    "context_length": 1 << 30,
    "block_count": 2,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 4,
    "feed_forward_length": 64,
    "vocab_size": 64,
}
