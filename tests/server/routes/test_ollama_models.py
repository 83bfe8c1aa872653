"""Ollama's routes about models, on a real socket, with a registry that is made up."""

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelrunner.models.artifacts.speech_packages import package_piper
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.transfer import copy
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.registry import Access, FakeRegistry
from modelrunner.testing.serving import serving
from modelrunner.testing.speech import write_voice

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

MODEL = make_artifact(b"weights" * 1000)


@pytest.fixture
def registry() -> FakeRegistry:
    made = FakeRegistry()
    made.add("team/model", "v1", MODEL.content, MODEL.contents)
    return made


@pytest.fixture
async def address(registry: FakeRegistry) -> AsyncIterator[str]:
    async with serving(registry) as url:
        yield url.removeprefix("http://")


def statuses(lines: list[Any]) -> list[str]:
    return [line["status"] for line in lines]


async def send(daemon: "Daemon", data: bytes, *, measured: bool = True) -> str:
    """Send a file as a blob; its digest."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:100]
        yield data[100:]

    answer = await daemon.ask("POST", f"/api/blobs/{digest}", data=data if measured else pieces())
    assert 201 == answer.status, answer.text
    return digest


async def test_the_version_is_that_of_the_api(daemon: "Daemon") -> None:
    """Clients compare it before they use what is newer."""
    answer = await daemon.ask("GET", "/api/version")

    assert [0, 12] == [int(part) for part in answer.json["version"].split(".")[:2]]


async def test_every_name_is_listed(tiny: "Daemon") -> None:
    """One entry each, with the size of all files and the digest as hex."""
    await tiny.ask("POST", "/api/copy", json={"source": "ai/tiny", "destination": "other:v2"})
    models = (await tiny.ask("GET", "/api/tags")).json["models"]

    assert ["ai/other:v2", "ai/tiny:latest"] == sorted(model["name"] for model in models)
    assert models[0]["digest"] == models[1]["digest"]
    assert 64 == len(models[0]["digest"])
    assert models[0]["size"] > 400
    assert ("gguf", "llama", ["llama"], "F16") == tuple(
        models[0]["details"][key] for key in ("format", "family", "families", "quantization_level")
    )
    assert datetime.fromisoformat(models[0]["modified_at"]).tzinfo is not None


async def test_an_empty_store_lists_nothing(daemon: "Daemon") -> None:
    """An empty array, for what is stored and for what is loaded."""
    for path in ("/api/tags", "/api/ps"):
        assert {"models": []} == (await daemon.ask("GET", path)).json


@pytest.mark.parametrize(("keep_alive", "seconds"), [("10m", 600), (-1, 86_400 * 365 * 200)])
async def test_what_is_loaded_says_until_when(tiny: "Daemon", keep_alive: object, seconds: int) -> None:
    """For ever is far away, as clients expect."""
    await tiny.ask("POST", "/api/generate", json={"model": "ai/tiny", "keep_alive": keep_alive})
    (row,) = (await tiny.ask("GET", "/api/ps")).json["models"]
    left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)

    assert ("ai/tiny:latest", 2048, 0) == (row["name"], row["context_length"], row["size_vram"])
    assert row["size"] > 0
    assert left.total_seconds() > seconds - 60


async def test_a_model_is_shown(daemon: "Daemon") -> None:
    """Its header's values with their types; long arrays are null, tensors only when asked for."""
    header: dict[str, Any] = {"tokenizer.chat_template": "{{ messages }}{% if tools %}{% endif %}<think>"}
    await daemon.add("docker.io/ai/tiny:latest", header=header)
    short = (await daemon.ask("POST", "/api/show", json={"model": "ai/tiny"})).json
    long = (await daemon.ask("POST", "/api/show", json={"name": "tiny", "verbose": True})).json

    assert header["tokenizer.chat_template"] == short["template"]
    assert ["completion", "tools", "thinking"] == short["capabilities"]
    assert (2048, 64) == (
        short["model_info"]["llama.context_length"],
        short["model_info"]["general.parameter_count"],
    )
    assert "FROM ai/tiny:latest" in short["modelfile"]
    assert "tensors" not in short
    assert [{"name": "token_embd.weight", "type": "F16", "shape": [8, 4]}] == long["tensors"][:1]


async def test_a_model_that_fills_gaps_says_so(daemon: "Daemon") -> None:
    """By a key of its header, or by a token of its vocabulary."""
    by_key: dict[str, Any] = {"tokenizer.ggml.fim_pre_token_id": 7}
    by_token: dict[str, Any] = {"tokenizer.ggml.tokens": ("a", "<|fim_prefix|>")}
    for name, header in (("one", by_key), ("two", by_token)):
        await daemon.add(f"docker.io/ai/{name}:latest", title=name, header=header)
        shown = (await daemon.ask("POST", "/api/show", json={"model": name})).json

        assert "insert" in shown["capabilities"]


async def test_a_pull_is_told_in_ollamas_words(daemon: "Daemon", address: str) -> None:
    """The digest and the bytes of each layer; afterwards the model is there."""
    name = f"{address}/team/model:v1"
    answer = await daemon.ask("POST", "/api/pull", json={"model": name})
    layers = [line for line in answer.lines if line.get("digest")]

    assert "application/x-ndjson" == answer.headers["content-type"]
    assert ["pulling manifest", "success"] == [answer.lines[0]["status"], answer.lines[-1]["status"]]
    assert "writing manifest" in statuses(answer.lines)
    assert (7000, 7000) == (layers[-1]["total"], layers[-1]["completed"])
    assert f"pulling {layers[-1]['digest'].removeprefix('sha256:')[:12]}" == layers[-1]["status"]
    assert [name] == [model["name"] for model in (await daemon.ask("GET", "/api/tags")).json["models"]]


async def test_a_pull_that_is_not_streamed_is_one_object(daemon: "Daemon", address: str) -> None:
    """How it ended."""
    wanted = {"name": f"{address}/team/model:v1", "stream": False}
    answer = await daemon.ask("POST", "/api/pull", json=wanted)

    assert ("application/json", {"status": "success"}) == (answer.headers["content-type"], answer.json)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_pull_that_fails_at_once_has_a_status(daemon: "Daemon", address: str, stream: bool) -> None:
    """And Ollama's form."""
    wanted = {"model": f"{address}/team/absent:v1", "stream": stream}
    answer = await daemon.ask("POST", "/api/pull", json=wanted)

    assert 404 == answer.status
    assert "not found" in answer.json["error"].lower()


async def test_a_push_is_told_in_ollamas_words(tiny: "Daemon", registry: FakeRegistry, address: str) -> None:
    """The model is there afterwards."""
    name = f"{address}/team/tiny:v1"
    await tiny.ask("POST", "/api/copy", json={"source": "ai/tiny", "destination": name})
    answer = await tiny.ask("POST", "/api/push", json={"model": name})

    assert ["retrieving manifest", "success"] == [answer.lines[0]["status"], answer.lines[-1]["status"]]
    assert any(status.startswith("pushing ") for status in statuses(answer.lines))
    await tiny.ask("DELETE", "/api/delete", json={"model": name})
    await tiny.ask("DELETE", "/api/delete", json={"model": "ai/tiny"})
    again = await tiny.ask("POST", "/api/pull", json={"model": name, "stream": False})
    assert {"status": "success"} == again.json


@pytest.mark.parametrize("name", ["model", "name"])
async def test_a_registry_gets_the_password_that_a_request_has(
    tiny: "Daemon", registry: FakeRegistry, address: str, name: str
) -> None:
    """As its token; `insecure`, which is the operator's affair, changes nothing."""
    registry.access = Access(bearer=True, users={"ann": "secret"})
    body = {name: f"{address}/team/model:v1", "stream": False, "password": "token-7", "insecure": True}
    pulled = await tiny.ask("POST", "/api/pull", json=body)
    refused = [each.headers.get("authorization") for each in registry.seen]
    registry.access = None
    again = await tiny.ask("POST", "/api/pull", json=body)
    pushed = await tiny.ask("POST", "/api/push", json=body)

    assert 401 == pulled.status
    assert "Bearer token-7" in refused
    assert [{"status": "success"}] * 2 == [again.json, pushed.json]


async def test_a_model_is_copied_and_deleted(tiny: "Daemon") -> None:
    """A copy is another name; the last name takes the model with it."""
    copied = await tiny.ask("POST", "/api/copy", json={"source": "tiny", "destination": "mine"})
    first = await tiny.ask("DELETE", "/api/delete", json={"model": "ai/tiny"})
    second = await tiny.ask("DELETE", "/api/delete", json={"name": "mine"})
    third = await tiny.ask("DELETE", "/api/delete", json={"model": "mine"})

    assert [200, 200, 200, 404] == [answer.status for answer in (copied, first, second, third)]
    assert "model not found" in third.json["error"]
    assert {"models": []} == (await tiny.ask("GET", "/api/tags")).json


@pytest.mark.parametrize("measured", [True, False])
async def test_a_file_is_sent_and_verified(daemon: "Daemon", tmp_path: Path, measured: bool) -> None:
    """Whether its length is known or not; a second time is not needed."""
    path = tiny_gguf(tmp_path / "a.gguf")
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"

    assert 404 == (await daemon.ask("HEAD", f"/api/blobs/{digest}")).status
    assert digest == await send(daemon, path.read_bytes(), measured=measured)
    assert 200 == (await daemon.ask("HEAD", f"/api/blobs/{digest}")).status
    assert 200 == (await daemon.ask("POST", f"/api/blobs/{digest}", data=path.read_bytes())).status


@pytest.mark.parametrize("measured", [True, False])
async def test_a_file_that_is_another_is_refused(daemon: "Daemon", measured: bool) -> None:
    """Nothing of it is kept."""
    digest = f"sha256:{'0' * 64}"

    async def pieces() -> AsyncIterator[bytes]:
        yield b"other bytes"

    answer = await daemon.ask("POST", f"/api/blobs/{digest}", data=b"other bytes" if measured else pieces())

    assert 400 <= answer.status
    assert "digest" in answer.json["error"].lower()
    assert 404 == (await daemon.ask("HEAD", f"/api/blobs/{digest}")).status
    folder = daemon.services.store.root / "blobs"
    assert [] == [path for path in folder.rglob("*") if path.is_file()]


async def test_a_model_is_created_from_a_file(daemon: "Daemon", tmp_path: Path) -> None:
    """It is described by its own header, runs at once, and is the same artifact as when packaged."""
    digest = await send(daemon, tiny_gguf(tmp_path / "a.gguf").read_bytes())
    answer = await daemon.ask("POST", "/api/create", json={"model": "new", "files": {"a.gguf": digest}})
    talk = await daemon.ask(
        "POST",
        "/api/chat",
        json={"model": "new", "stream": False, "messages": [{"role": "user", "content": "hello"}]},
    )

    assert "success" == answer.lines[-1]["status"]
    assert "hello" == talk.json["message"]["content"]
    shown = (await daemon.ask("POST", "/api/show", json={"model": "new"})).json
    assert "llama" == shown["details"]["family"]


async def test_a_created_model_has_its_own_ways(tiny: "Daemon") -> None:
    """System prompt, options, messages, licence and template; what stems from it inherits them."""
    answer = await tiny.ask(
        "POST",
        "/api/create",
        json={
            "model": "mine",
            "from": "ai/tiny",
            "system": "be brief",
            "parameters": {"num_predict": 1, "stop": ["x", "y"], "num_ctx": 512},
            "messages": [{"role": "user", "content": "before"}],
            "license": ["one", "two"],
            "template": "{{ .System }}{{ .Prompt }}{{ .Response }}",
        },
    )
    await tiny.ask(
        "POST", "/api/create", json={"model": "child", "from": "mine", "system": "be long", "stream": False}
    )
    mine = (await tiny.ask("POST", "/api/show", json={"model": "mine"})).json
    child = (await tiny.ask("POST", "/api/show", json={"model": "child"})).json
    body = {"stream": False, "messages": [{"role": "user", "content": "hello world"}]}
    talk = (await tiny.ask("POST", "/api/chat", json={"model": "child", **body})).json
    (row,) = (await tiny.ask("GET", "/api/ps")).json["models"]

    assert ["writing manifest", "success"] == statuses(answer.lines)[-2:]
    assert "be brief" == mine["system"]
    assert ["num_ctx", "num_predict", "stop", "stop"] == [
        line.split()[0] for line in mine["parameters"].splitlines()
    ]
    assert "one\ntwo" == mine["license"]
    assert "for m in messages" in mine["template"]
    assert [{"role": "user", "content": "before"}] == [
        {key: message[key] for key in ("role", "content")} for message in mine["messages"]
    ]
    assert ("be long", mine["parameters"]) == (child["system"], child["parameters"])
    assert ("hello", "length") == (talk["message"]["content"].strip(), talk["done_reason"])
    assert 512 == row["context_length"]


async def test_what_a_model_brings_along_reaches_the_engine(tiny: "Daemon") -> None:
    """Its system prompt comes first, its messages next; a request's own system prompt takes its place."""
    made = {
        "model": "mine",
        "from": "ai/tiny",
        "system": "S",
        "messages": [{"role": "user", "content": "before"}],
        "stream": False,
    }
    await tiny.ask("POST", "/api/create", json=made)
    context = (
        await tiny.ask("POST", "/api/generate", json={"model": "mine", "prompt": "now", "stream": False})
    ).json["context"]
    other = (
        await tiny.ask(
            "POST",
            "/api/generate",
            json={"model": "mine", "prompt": "now", "system": "T", "stream": False},
        )
    ).json["context"]

    assert [("system", "S"), ("user", "before"), ("user", "now"), ("assistant", "now")] == [
        (message["role"], message["content"]) for message in json.loads(bytes(context))
    ]
    assert "T" == json.loads(bytes(other))[0]["content"]


async def test_a_base_that_is_elsewhere_is_pulled(daemon: "Daemon", address: str) -> None:
    """As part of the same answer."""
    answer = await daemon.ask(
        "POST", "/api/create", json={"model": "mine", "from": f"{address}/team/model:v1", "system": "S"}
    )

    assert "success" == answer.lines[-1]["status"]
    assert 1 == statuses(answer.lines).count("success")
    assert any(status.startswith("pulling ") for status in statuses(answer.lines))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"files": {"a.gguf": f"sha256:{'1' * 64}"}}, "blob not found"),
        ({"files": {"a.gguf": "BLOB", "b.gguf": f"sha256:{'1' * 64}"}}, "blob not found"),
        ({"from": "ai/tiny", "adapters": {"a.gguf": "BLOB"}}, "not a LoRA adapter"),
        ({"files": {"a.gguf": "TEXT"}}, "`a.gguf`"),
        ({"files": {"a.gguf": "ADAPTER"}}, "no weights"),
        ({"from": "ai/tiny", "parameters": {"top_k": "x"}}, "top_k"),
    ],
)
async def test_what_cannot_be_created_is_refused(
    tiny: "Daemon", tmp_path: Path, body: dict[str, Any], words: str
) -> None:
    """Nothing has that name afterwards."""
    (tmp_path / "text").write_text("no model" * 100)
    adapter: dict[str, Any] = {"general.type": "adapter"}
    digests = {
        "BLOB": await send(tiny, tiny_gguf(tmp_path / "a.gguf", **{"general.name": "sent"}).read_bytes()),
        "ADAPTER": await send(tiny, tiny_gguf(tmp_path / "b.gguf", **adapter).read_bytes()),
        "TEXT": await send(tiny, (tmp_path / "text").read_bytes()),
    }
    text = json.dumps({"model": "mine", **body})
    for name, digest in digests.items():
        text = text.replace(f'"{name}"', f'"{digest}"')
    answer = await tiny.ask("POST", "/api/create", data=text)

    assert words in (answer.lines[-1]["error"])
    assert 404 == (await tiny.ask("POST", "/api/show", json={"model": "mine"})).status


async def test_an_adapter_goes_along(tiny: "Daemon", tmp_path: Path) -> None:
    """It is a layer of its own, which the engine is told of."""
    adapter: dict[str, Any] = {"general.type": "adapter"}
    digest = await send(tiny, tiny_gguf(tmp_path / "b.gguf", **adapter).read_bytes())
    body = {"model": "mine", "from": "ai/tiny", "adapters": {"lora.gguf": digest}, "stream": False}
    answer = await tiny.ask("POST", "/api/create", json=body)
    layers = tiny.services.catalogue.find("mine").manifest.layers

    assert {"status": "success"} == answer.json
    assert digest in [str(layer.digest) for layer in layers]


async def test_a_model_that_speaks_does_nothing_that_ollama_knows(daemon: "Daemon") -> None:
    """It is no model for embeddings, and does not pass for one."""
    draft = package_piper(write_voice(daemon.folder / "joe.onnx"))
    await copy(
        draft, daemon.services.store, draft.manifest_value, [parse_reference("docker.io/ai/joe:latest")]
    )
    answer = await daemon.ask("POST", "/api/show", json={"model": "ai/joe"})

    assert "capabilities" not in answer.json
    assert "piper" == answer.json["details"]["family"]
