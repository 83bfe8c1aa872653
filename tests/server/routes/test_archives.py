"""Several models in one archive, deltas, and what a broken one leaves behind, on a real socket."""

import gzip
import io
import json
import logging
import tarfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from modelrunner.oci import tar
from modelrunner.oci.image_layout import Selection, image_layout
from modelrunner.oci.index import NamedModel
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.transfer import copy
from modelrunner.testing.artifacts import Artifact, make_artifact

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Daemon, Make

MODEL = make_artifact(b"weights" * 1000, b"more weights")


async def _export(daemon: "Daemon", *models: str, **more: Any) -> bytes:
    body = {"models": models, **more}
    async with daemon.session.post(f"{daemon.url}/models/export", json=body) as reply:
        data = await reply.read()
        assert (200, "application/x-tar", str(len(data))) == (
            reply.status,
            reply.content_type,
            reply.headers["Content-Length"],
        )
    return data


async def _load(daemon: "Daemon", data: bytes) -> "Answer":
    return await daemon.ask("POST", "/models/load", data=data)


async def _listed(daemon: "Daemon") -> dict[str, list[str]]:
    return {each["id"]: each.get("tags", []) for each in (await daemon.ask("GET", "/models")).json}


async def _packed(artifact: Artifact, *names: str) -> bytes:
    model = NamedModel(artifact.content, tuple(map(parse_reference, names)))
    return b"".join([piece async for piece in image_layout(artifact, Selection((model,)))])


async def test_several_models_go_from_one_daemon_to_another(tiny: "Daemon", make_daemon: "Make") -> None:
    """With their names; the answer says which, and success comes last."""
    other = await make_daemon()
    second = await tiny.add("docker.io/ai/second:v1", title="second")
    first = (await tiny.ask("GET", "/models/ai/tiny")).json["id"]

    loaded = await _load(other, await _export(tiny, "ai/tiny", "ai/second:v1"))

    assert await _listed(other) == {first: ["ai/tiny:latest"], str(second): ["ai/second:v1"]}
    assert [(line["type"], line["message"]) for line in loaded.lines] == [
        ("progress", f"Loaded {first} as ai/tiny:latest"),
        ("progress", f"Loaded {second} as ai/second:v1"),
        ("success", "Model loaded successfully"),
    ]


async def test_a_model_comes_with_the_name_that_it_was_asked_for_by(tiny: "Daemon") -> None:
    """Each once, however often it is asked for; by its id, without a name."""
    await tiny.ask("POST", "/models/ai/tiny/tag?repo=ai/other&tag=v1")
    model_id = (await tiny.ask("GET", "/models/ai/tiny")).json["id"]

    def names(data: bytes) -> list[str | None]:
        with tarfile.open(fileobj=io.BytesIO(data)) as opened:
            member = opened.extractfile("index.json")
            assert member is not None
            entries = json.loads(member.read())["manifests"]
        return [entry.get("annotations", {}).get("io.containerd.image.name") for entry in entries]

    assert names(await _export(tiny, "ai/other:v1")) == ["docker.io/ai/other:v1"]
    assert names(await _export(tiny, "tiny", "ai/tiny", "ai/other:v1", model_id)) == [
        "docker.io/ai/tiny:latest",
        "docker.io/ai/other:v1",
    ]
    assert names(await _export(tiny, model_id)) == [None]


async def test_a_delta_has_only_what_the_other_side_lacks(tiny: "Daemon", make_daemon: "Make") -> None:
    """The other side says what it has; elsewhere the delta is refused, and the missing blob is named."""
    other, third = await make_daemon(), await make_daemon()
    await _load(other, await _export(tiny, "ai/tiny"))
    await tiny.ask("POST", "/models/ai/tiny/repackage", json={"target": "ai/long", "context_size": 4096})
    have = (await other.ask("GET", "/blobs")).json

    delta = await _export(tiny, "ai/long", **{"except": have})
    refused = await _load(third, delta)

    assert (await _load(other, delta)).status == 200
    assert ["ai/long:latest", "ai/tiny:latest"] == sorted(
        name for names in (await _listed(other)).values() for name in names
    )
    assert (400, True) == (refused.status, any(digest in refused.text for digest in have))
    assert await _listed(third) == {}


async def test_a_pure_layout_has_no_manifest_file(tiny: "Daemon") -> None:
    """Some programs take it for Docker's own."""
    with tarfile.open(fileobj=io.BytesIO(await _export(tiny, "ai/tiny", oci=True))) as opened:
        names = opened.getnames()

    assert "index.json" in names
    assert "manifest.json" not in names


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"models": []}, 400, "no model named"),
        ({}, 400, "invalid request body"),
        ({"models": ["ai/absent"]}, 404, "model not found: `ai/absent`"),
        ({"models": ["ai/tiny"], "except": ["../../etc/passwd"]}, 400, "invalid digest"),
    ],
)
async def test_an_export_that_cannot_be_is_a_status(
    tiny: "Daemon", body: dict[str, Any], status: int, words: str
) -> None:
    """Before the first byte."""
    answer = await tiny.ask("POST", "/models/export", json=body)

    assert status == answer.status
    assert words in answer.text


async def test_an_export_that_lacks_a_file_is_a_status(tiny: "Daemon") -> None:
    """Before the first byte, whichever way it is asked for, and with what to do."""
    (model,) = tiny.services.store.snapshot.models
    tiny.services.store.blob_path(model.manifest.layers[0].digest).unlink()
    one = await tiny.ask("GET", "/models/ai/tiny/export")
    several = await tiny.ask("POST", "/models/export", json={"models": ["ai/tiny"]})

    assert [500, 500] == [one.status, several.status]
    assert all(f"`{model.manifest.layers[0].digest}` is missing" in each.text for each in (one, several))


async def test_what_is_removed_during_its_export_cuts_the_connection(
    daemon: "Daemon", caplog: pytest.LogCaptureFixture
) -> None:
    """With a line in the log that says why."""
    artifact = make_artifact(b"w" * (32 << 20), b"second")
    await copy(artifact, daemon.services.store, artifact.content, [parse_reference("ai/large:latest")])
    async with daemon.session.get(f"{daemon.url}/models/ai/large/export") as reply:
        daemon.services.store.blob_path(artifact.layers[1].digest).unlink()
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()

    said = [record for record in caplog.records if "archive broke off" in record.getMessage()]
    assert [(logging.WARNING, None)] == [(record.levelno, record.exc_info) for record in said]
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_model_may_be_called_export(tiny: "Daemon") -> None:
    """`GET` asks for a model of that name; only `POST` is the route."""
    assert 404 == (await tiny.ask("GET", "/models/export")).status
    await tiny.ask("POST", "/models/ai/tiny/tag?repo=ai/export&tag=latest")

    assert 200 == (await tiny.ask("GET", "/models/export")).status


async def test_a_name_moves_to_the_model_that_is_loaded(tiny: "Daemon") -> None:
    """As with a pull: the model that had it stays, by its id."""
    before = (await tiny.ask("GET", "/models/ai/tiny")).json["id"]

    await _load(tiny, await _packed(MODEL, "ai/tiny:latest"))

    assert await _listed(tiny) == {before: [], str(MODEL.id): ["ai/tiny:latest"]}


async def test_an_archive_may_come_in_chunks_and_compressed(daemon: "Daemon") -> None:
    """Nobody knows its length before it ends."""
    data = gzip.compress(await _packed(MODEL, "ai/model:v1"))

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100):
            yield data[at : at + 100]

    answer = await daemon.ask("POST", "/models/load", data=pieces())

    assert answer.status == 200
    assert await _listed(daemon) == {str(MODEL.id): ["ai/model:v1"]}


async def test_a_cut_archive_keeps_what_has_come(daemon: "Daemon") -> None:
    """Nothing is visible; whole blobs stay for the next try, which may leave them out."""
    data = await _packed(MODEL, "ai/model:v1")
    layer = MODEL.layers[0]
    begin = 2 * tar.BLOCK + tar.entry_size(layer.size)  # directories and the first layer
    cut = await _load(daemon, data[: begin + tar.BLOCK])

    assert (400, "the archive ends too early") == (cut.status, cut.text.splitlines()[0])
    assert await _listed(daemon) == {}
    assert daemon.services.store.blob_path(layer.digest).read_bytes() == MODEL.contents[layer.digest]
    assert (await _load(daemon, data[: 2 * tar.BLOCK] + data[begin:])).status == 200


@pytest.mark.parametrize(
    "data",
    [
        tar.header("../x", 0),
        tar.header("/etc/passwd", 0),
        tar.header("index.json", 5 << 20),
        tar.header("manifest.json", 1 << 40),
        tar.header(f"blobs/sha256/{'a' * 64}", 1 << 62),
        tar.header("manifest.json", 0) * 2,
        b"\x1f\x8b" + b"nonsense" * 100,
        gzip.compress(bytes(70 << 20), 9),
    ],
)
async def test_a_bad_archive_has_an_error_of_its_own(daemon: "Daemon", data: bytes) -> None:
    """In our own form: a code, and a sentence."""
    answer = await daemon.ask(
        "POST",
        "/models/load",
        data=data,
        headers={"Accept": "application/vnd.modelrunner.error+json"},
    )

    assert (400, "invalid_archive") == (answer.status, answer.json["error"]["code"])
    assert await _listed(daemon) == {}
    assert not list(daemon.services.store.root.glob("blobs/*/*"))
