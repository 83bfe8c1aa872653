"""Verify and prune, over the API."""

import os
from pathlib import Path
from typing import Any

import pytest

from modelrunner.oci.reference import parse_reference
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving
from tests.server.conftest import Daemon

JSON = {"Accept": "application/json"}


async def _verify(daemon: Daemon, **request: object) -> list[Any]:
    return (await daemon.ask("POST", "/models/verify", json=request, headers=JSON)).lines


def _weights(store: Store) -> Path:
    (model,) = store.snapshot.models
    return store.blob_path(model.manifest.layers[0].digest)


def _flip(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


async def test_a_store_that_is_right_is_said_to_be(tiny: Daemon) -> None:
    """With how much was read, and how many files."""
    progress, *_, last = await _verify(tiny)

    assert ("success", "3 files are right") == (last["type"], last["message"])
    assert progress["total"] == progress["layer"]["current"] > 0


async def test_a_flipped_bit_is_an_error_that_says_what_to_do(tiny: Daemon) -> None:
    """The file is set aside, the model is not offered any more, and the second time it is missing."""
    path = _weights(tiny.services.store)
    _flip(path)
    first = await _verify(tiny)
    listed = (await tiny.ask("GET", "/models")).json
    second = await _verify(tiny, models=[])

    messages = [line["message"] for line in first]
    assert f"wrong content: sha256:{path.name} of ai/tiny:latest" in messages
    assert any(message.startswith("Set aside as ") for message in messages)
    assert ("error", "`dmr verify --repair`") == (first[-1]["type"], first[-1]["hint"][-21:])
    assert [] == listed
    assert f"missing: sha256:{path.name} of ai/tiny:latest" in [line["message"] for line in second]
    assert "Error: 1 model is damaged, of 1 that were checked" == second[-1]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/models/ai/tiny", None),
        ("GET", "/v1/models/ai/tiny", None),
        ("GET", "/models/ai/tiny/export", None),
        ("POST", "/models/export", {"models": ["tiny"]}),
        ("POST", "/models/ai/tiny/tag?repo=ai/other&tag=v1", None),
        ("POST", "/models/ai/tiny/push", None),
        ("POST", "/models/ai/tiny/repackage", {"target": "ai/other:v1"}),
        ("POST", "/v1/chat/completions", {"model": "ai/tiny", "messages": []}),
    ],
)
async def test_a_damaged_model_is_not_one_that_is_not_here(
    tiny: Daemon, method: str, path: str, body: object
) -> None:
    """Nobody is told to pull it; what is not here at all stays so."""
    _weights(tiny.services.store).unlink()
    await _verify(tiny)
    damaged = await tiny.ask(method, path, json=body)
    absent = await tiny.ask("GET", "/models/ai/absent")

    assert (500, 404) == (damaged.status, absent.status)
    assert "model is damaged: `" in damaged.text
    assert "dmr verify --repair" in damaged.text


async def test_a_damaged_model_is_found_by_its_name(tiny: Daemon) -> None:
    """Though it is not listed: whoever was told to repair it has nothing else to call it by."""
    path = _weights(tiny.services.store)
    path.unlink()
    await _verify(tiny)
    named = await _verify(tiny, models=["tiny"])

    assert f"missing: sha256:{path.name} of ai/tiny:latest" in [line["message"] for line in named]


async def test_a_repair_brings_the_model_itself(daemon: Daemon) -> None:
    """Asked for by its digest, since the name may mean another now; under each name that it has."""
    registry, model, other = FakeRegistry(), make_artifact(b"weights" * 1000), make_artifact(b"other")
    for artifact in (model, other):
        registry.add("team/model", "v1", artifact.content, artifact.contents)
    store = daemon.services.store
    async with serving(registry) as url:
        name = f"{url.removeprefix('http://')}/team/model:v1"
        elsewhere = name.replace("team/", "local/")
        await daemon.ask("POST", "/models/create", json={"from": f"{name[:-3]}@{model.id}"})
        for tag in (elsewhere, name):
            await store.tag(model.id, parse_reference(tag))
        _flip(_weights(store))
        said = await _verify(daemon, repair=True)

    assert "success" == said[-1]["type"]
    assert "warning" not in [line["type"] for line in said[-3:]]
    assert [(model.id, [elsewhere, name])] == [
        (each.id, [str(tag) for tag in each.tags]) for each in store.snapshot.models
    ]


async def test_a_repair_that_fails_does_not_recommend_itself(daemon: Daemon) -> None:
    """The name stays with the damaged model although its registry has another under it."""
    registry, model, other = FakeRegistry(), make_artifact(b"weights" * 1000), make_artifact(b"other")
    registry.add("team/model", "v1", model.content, model.contents)
    async with serving(registry) as url:
        name = f"{url.removeprefix('http://')}/team/model:v1"
        await daemon.ask("POST", "/models/create", json={"from": name})
        _flip(_weights(daemon.services.store))
        registry.manifests.clear()
        registry.add("team/model", "v1", other.content, other.contents)
        said = await _verify(daemon, repair=True)
        found = await daemon.services.store.upkeep.find(name)

    assert (model.id, ()) == (found, daemon.services.store.snapshot.models)
    assert f"{name} cannot be repaired" in said[-2]["message"]
    assert ("error", False) == (said[-1]["type"], "--repair" in said[-1]["hint"])


async def test_a_model_that_is_used_keeps_its_file(tiny: Daemon) -> None:
    """An engine reads it; it is said all the same."""
    await tiny.ask("POST", "/engines/v1/chat/completions", json=tiny.chat())
    path = _weights(tiny.services.store)
    _flip(path)
    said = await _verify(tiny, repair=True)

    assert path.exists()
    assert any("is in use, and is left where it is" in line["message"] for line in said)
    assert "error" == said[-1]["type"]


async def test_a_model_that_is_not_here_cannot_be_checked(daemon: Daemon) -> None:
    """A status, before the first line."""
    answer = await daemon.ask("POST", "/models/verify", json={"models": ["ai/nothing"]})

    assert 404 == answer.status


async def test_what_nothing_names_is_shown_and_then_deleted(tiny: Daemon) -> None:
    """Old files only, unless all are asked for; quarantine only when that is."""
    store = tiny.services.store
    old, young = (store.root / "blobs" / "sha256" / (letter * 64) for letter in "ab")
    for path in (old, young):
        path.write_bytes(b"12345")
    os.utime(old, (0, 0))
    aside = store.root / "quarantine" / "sha256" / ("c" * 64)
    aside.parent.mkdir(parents=True)
    aside.write_bytes(b"123")

    async def pruned(**request: object) -> tuple[list[str], int]:
        reply = (await tiny.ask("POST", "/models/prune", json=request)).json
        return [Path(file["path"]).name[:1] for file in reply["files"]], reply["freed"]

    assert (["a"], 5) == await pruned(dry_run=True)
    assert old.exists()
    assert (["a"], 5) == await pruned()
    assert (["b"], 5) == await pruned(all=True)
    assert (["c"], 3) == await pruned(damaged=True)
    assert ([], 0) == await pruned(all=True, damaged=True)
    assert [] == [path for path in (old, young, aside) if path.exists()]
    assert 1 == len(store.snapshot.models)
