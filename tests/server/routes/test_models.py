"""`/models` and OpenAI's list, on a real socket, with a registry that is made up."""

import asyncio
import contextlib
import html
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.models.description import kinds
from modelrunner.oci.digest import Digest
from modelrunner.oci.layout import archive
from modelrunner.oci.reference import parse_reference
from modelrunner.testing.artifacts import Artifact, Artifacts, make_artifact, stream
from modelrunner.testing.registry import Access, FakeRegistry, Reply, cut, refuse, stall
from modelrunner.testing.serving import serving

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

JSON = {"Accept": "application/json"}
OURS = {"Accept": "application/vnd.modelrunner.error+json"}
CHAT = "/engines/v1/chat/completions"
MODEL = make_artifact(b"weights" * 1000)
UNREADABLE = [b"no JSON", b'{"config":{"format":"\xff"}}', b'{"config":{"gguf":{"a":' + b"[" * 100_000]


@pytest.fixture
def registry() -> FakeRegistry:
    made = FakeRegistry()
    made.add("team/model", "v1", MODEL.content, MODEL.contents)
    return made


@pytest.fixture
async def address(registry: FakeRegistry) -> AsyncIterator[str]:
    async with serving(registry) as url:
        yield url.removeprefix("http://")


def blob_of(artifact: Artifact) -> str:
    return f"/blobs/{artifact.layers[0].digest}"


async def test_a_pinned_name_is_loaded_anew_when_it_is_pulled_anew(
    make_daemon: "Make", registry: FakeRegistry, address: str
) -> None:
    """The newer model is there before anybody asks, and the older one may go."""
    daemon = await make_daemon(DMR_PLACES="2")
    name, newer = f"{address}/team/model:v1", make_artifact(b"newer" * 1000)
    await daemon.ask("POST", "/models/create", json={"from": name})
    await daemon.ask("PATCH", "/engines/_configure", json={"model": name, "pinned": True})
    await daemon.until(lambda: bool(daemon.residents) and not daemon.residents[0].loading)
    registry.add("team/model", "v1", newer.content, newer.contents)
    await daemon.ask("POST", "/models/create", json={"from": name})
    await daemon.until(lambda: len(daemon.residents) == 2 and not daemon.residents[1].loading)

    assert [(MODEL.id, 300.0), (newer.id, None)] == [(r.key.model, r.keep_alive) for r in daemon.residents]


# Looking


@pytest.mark.parametrize("path", ["/models", "/models/", "//models"])
async def test_the_list_has_each_model_once(tiny: "Daemon", path: str) -> None:
    """Names are familiar, `created` is in seconds, and the configuration is Docker's."""
    [model] = (await tiny.ask("GET", path)).json

    assert ["ai/tiny:latest"] == model["tags"]
    assert model["id"].startswith("sha256:")
    assert isinstance(model["created"], int)
    assert ("gguf", "llama", 2048) == tuple(
        model["config"][key] for key in ("format", "architecture", "context_size")
    )
    assert "2048" == model["config"]["gguf"]["llama.context_length"]


async def test_an_empty_store_lists_nothing(daemon: "Daemon") -> None:
    """An empty array, in JSON."""
    answer = await daemon.ask("GET", "/models")

    assert (200, "[]\n", "application/json") == (answer.status, answer.text, answer.headers["content-type"])


async def test_a_model_without_a_name_has_no_tags(daemon: "Daemon") -> None:
    """The key is left out, and OpenAI's list has the id instead."""
    model_id = str(await daemon.add())

    assert "tags" not in (await daemon.ask("GET", "/models")).json[0]
    assert model_id == (await daemon.ask("GET", "/v1/models")).json["data"][0]["id"]


@pytest.mark.parametrize(
    "name", ["ai/tiny", "tiny", "AI/Tiny:latest", "docker.io/ai/tiny:latest", "ai%2Ftiny"]
)
async def test_a_model_is_found_by_any_spelling(tiny: "Daemon", name: str) -> None:
    """Short, full, in capitals, percent-encoded."""
    assert ["ai/tiny:latest"] == (await tiny.ask("GET", f"/models/{name}")).json["tags"]


async def test_a_model_is_found_by_its_id_and_by_its_bare_name(daemon: "Daemon") -> None:
    """Whole id, short id, and the last part of the name."""
    model_id = await daemon.add("registry.example.com/team/deep/model:v3")
    for name in (str(model_id), model_id.hex, model_id.short, "model"):
        answer = await daemon.ask("GET", f"/models/{name}")

        assert (200, str(model_id)) == (answer.status, answer.json["id"])


async def test_an_absent_model_is_text_unless_json_is_asked_for(daemon: "Daemon") -> None:
    """Stock clients print the line; ours read the code and the hint."""
    text = await daemon.ask("GET", "/models/ai/absent")
    ours = await daemon.ask(
        "GET", "/models/ai/absent", headers={"Accept": "application/vnd.modelrunner.error+json"}
    )

    assert (404, "text/plain; charset=utf-8") == (text.status, text.headers["content-type"])
    assert text.text.startswith("model not found: `ai/absent`\n")
    assert ("model_not_found", True) == (ours.json["error"]["code"], "pull" in ours.json["error"]["hint"])


async def test_an_absent_id_is_not_found_either(daemon: "Daemon") -> None:
    """An id is a fair question, even when it is no name."""
    assert 404 == (await daemon.ask("GET", f"/models/{Digest.of(b'absent')}")).status


@pytest.mark.parametrize("prefix", ["/v1", "/engines/v1", "/engines/llama.cpp/v1"])
async def test_openai_lists_and_retrieves(tiny: "Daemon", prefix: str) -> None:
    """Under each prefix, also with the slash of the name encoded, and with JSON errors."""
    [item] = (await tiny.ask("GET", f"{prefix}/models")).json["data"]
    found = await tiny.ask("GET", f"{prefix}/models/ai%2Ftiny")
    absent = await tiny.ask("GET", f"{prefix}/models/ai/absent")

    assert ("ai/tiny:latest", "model", "docker") == (item["id"], item["object"], item["owned_by"])
    assert (2048, "llama") == (item["dmr"]["context_window"], item["dmr"]["architecture"])
    assert item == found.json
    assert (404, "model_not_found") == (absent.status, absent.json["error"]["code"])


# Pulling


async def test_a_pull_tells_its_progress_and_brings_the_model(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """Lines of progress with all fields, then success; afterwards the model is here under its name."""
    answer = await daemon.ask(
        "POST", "/models/create", json={"from": f"{address}/team/model:v1"}, headers=JSON
    )

    assert (200, "application/json") == (answer.status, answer.headers["content-type"])
    *progress, last = answer.lines
    assert ("success", "Model pulled successfully", "pull") == (last["type"], last["message"], last["mode"])
    assert {"progress"} == {line["type"] for line in progress}
    assert (7000, 7000, str(MODEL.layers[0].digest)) == (
        progress[-1]["total"],
        progress[-1]["layer"]["current"],
        progress[-1]["layer"]["id"],
    )
    assert [f"{address}/team/model:v1"] == (await daemon.ask("GET", f"/models/{MODEL.id}")).json["tags"]


@pytest.mark.parametrize(
    "content_type", [None, "application/x-www-form-urlencoded", "application/json", "text/plain"]
)
async def test_a_pull_works_with_any_content_type(
    daemon: "Daemon", address: str, content_type: str | None
) -> None:
    """Without asking for JSON the lines are escaped, as stock clients expect."""
    headers = {"Content-Type": content_type} if content_type else {}
    body = json.dumps({"from": f"{address}/team/model:v1"}).encode()
    answer = await daemon.ask(
        "POST", "/models/create", data=body, headers=headers, skip_auto_headers=("Content-Type", "Accept")
    )

    assert (200, "text/plain") == (answer.status, answer.headers["content-type"])
    assert answer.text.startswith("{&#34;type&#34;:")
    assert "success" == json.loads(html.unescape(answer.text.splitlines()[-1]))["type"]


async def test_the_second_pull_uses_what_is_here(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """No blob is fetched again; the only line says so."""
    for _ in range(2):
        answer = await daemon.ask(
            "POST", "/models/create", json={"from": f"{address}/team/model:v1"}, headers=JSON
        )
    [line] = answer.lines

    assert "success" == line["type"]
    assert line["message"].startswith("Using cached model")
    assert 1 == len(registry.lines(f"GET .*{blob_of(MODEL)}"))


@pytest.mark.parametrize("left", [None, b"wei"])
async def test_a_pull_brings_back_what_somebody_deleted(
    daemon: "Daemon", registry: FakeRegistry, address: str, left: bytes | None
) -> None:
    """A layer that is gone or cut short; whoever cannot ask the registry is told so."""
    name, store = f"{address}/team/model:v1", daemon.services.store
    await daemon.ask("POST", "/models/create", json={"from": name})
    weights = store.blob_path(MODEL.layers[0].digest)
    weights.unlink()
    if left is not None:
        weights.write_bytes(left)
    registry.fault("GET .*/manifests/", refuse(403, "DENIED"))
    refused = await daemon.ask("POST", "/models/create", json={"from": name}, headers=JSON)
    answer = await daemon.ask("POST", "/models/create", json={"from": name}, headers=JSON)

    assert refused.status >= 400
    assert "Model pulled successfully" == answer.lines[-1]["message"]
    assert b"weights" * 1000 == weights.read_bytes()
    assert [(MODEL.id, [name])] == [
        (model.id, [str(tag) for tag in model.tags]) for model in store.snapshot.models
    ]


async def test_the_same_model_under_another_name_gets_that_name(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """Nothing is moved but the tag."""
    registry.add("team/model", "v2", MODEL.content, MODEL.contents)
    for tag in ("v1", "v2"):
        await daemon.ask("POST", "/models/create", json={"from": f"{address}/team/model:{tag}"})

    assert [f"{address}/team/model:v1", f"{address}/team/model:v2"] == (
        await daemon.ask("GET", f"/models/{MODEL.id}")
    ).json["tags"]


async def test_a_moved_tag_brings_the_new_model(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """The name goes to the new one; the old one stays without."""
    await daemon.ask("POST", "/models/create", json={"from": f"{address}/team/model:v1"})
    newer = make_artifact(b"newer weights")
    registry.add("team/model", "v1", newer.content, newer.contents)
    await daemon.ask("POST", "/models/create", json={"from": f"{address}/team/model:v1"})

    assert str(newer.id) == (await daemon.ask("GET", f"/models/{address}/team/model:v1")).json["id"]
    assert 2 == len((await daemon.ask("GET", "/models")).json)


async def test_a_pull_by_digest_names_nothing(daemon: "Daemon", address: str) -> None:
    """The model is here, and no tag was moved to it."""
    name = f"{address}/team/model@{MODEL.id}"
    answer = await daemon.ask("POST", "/models/create", json={"from": name}, headers=JSON)

    assert "success" == answer.lines[-1]["type"]
    assert "tags" not in (await daemon.ask("GET", f"/models/{name}")).json


async def test_a_present_model_needs_no_registry(daemon: "Daemon") -> None:
    """What nobody answers for is fine when it is here, and an error when it is not."""
    async with serving(FakeRegistry()) as url:
        gone = url.removeprefix("http://")
    await daemon.services.store.tag(await daemon.add(), parse_reference(f"{gone}/team/model:v1"))
    present = await daemon.ask("POST", "/models/create", json={"from": f"{gone}/team/model:v1"}, headers=JSON)
    absent = await daemon.ask("POST", "/models/create", json={"from": f"{gone}/team/other:v1"})

    assert present.lines[-1]["message"].startswith("Using cached model")
    assert 502 == absent.status


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"no json", 400, "invalid request body"),
        (b"{}", 400, "invalid request body"),
        (b'{"from": ""}', 400, "no model named"),
        (b'{"from": "a:b:c"}', 400, "invalid model reference"),
        (b'{"from": "hf.co/a/b/c"}', 400, "invalid model reference"),
    ],
)
async def test_a_pull_of_nonsense_is_refused(
    daemon: "Daemon", body: bytes, status: int, message: str
) -> None:
    """Before anything is asked of anybody."""
    answer = await daemon.ask("POST", "/models/create", data=body)

    assert status == answer.status
    assert message in answer.text


async def test_an_error_before_the_first_line_is_a_status(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """Absent, refused, and no model: 404, 401 and 422."""
    foreign = make_artifact(b"x")
    raw = foreign.content.raw.replace(b"vnd.docker.ai.model.config.v0.1", b"vnd.oci.image.config.v1")
    registry.add(
        "team/image",
        "v1",
        type(foreign.content)(raw, foreign.content.media_type, foreign.config, foreign.layers),
        foreign.contents,
    )
    registry.fault("secret/model", refuse(401, "UNAUTHORIZED"), times=9)
    statuses = [
        (await daemon.ask("POST", "/models/create", json={"from": f"{address}/{name}"}, headers=JSON)).status
        for name in ("team/absent:v1", "secret/model:v1", "team/image:v1")
    ]

    assert [404, 401, 422] == statuses


async def test_a_pull_that_breaks_off_ends_with_an_error_line(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """The status is out, so the last line tells; the next pull resumes."""
    # So much has to be read before the cut, that some of it has been told by then.
    big = make_artifact(b"w" * (64 << 20))
    registry.add("team/big", "v1", big.content, big.contents)
    registry.fault(f"GET .*{blob_of(big)}", cut(48 << 20), times=1)
    registry.fault(f"GET .*{blob_of(big)}", refuse(403, "DENIED"), times=1)
    broken = await daemon.ask("POST", "/models/create", json={"from": f"{address}/team/big:v1"}, headers=JSON)
    again = await daemon.ask("POST", "/models/create", json={"from": f"{address}/team/big:v1"}, headers=JSON)

    assert (200, "error") == (broken.status, broken.lines[-1]["type"])
    assert {"code", "message"} <= set(broken.lines[-1])
    assert "success" == again.lines[-1]["type"]
    resumed = [seen for seen in registry.seen if seen.headers.get("range") and blob_of(big) in seen.line]
    assert resumed


async def test_what_another_daemon_deletes_meanwhile_is_fetched_again(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """It knows nothing of this pull, which counts on a blob that was complete."""
    several = make_artifact(b"first" * 1000, b"second" * 1000)
    registry.add("team/several", "v1", several.content, several.contents)
    store, (first, second) = daemon.services.store, several.layers
    async with store.claim(first):
        await store.write(first, 0, stream(several.contents[first.digest]))

    def prune(reply: Reply) -> Reply:
        store.blob_path(first.digest).unlink()
        return reply

    registry.fault(f"GET .*{second.digest}", prune)
    name = f"{address}/team/several:v1"
    answer = await daemon.ask("POST", "/models/create", json={"from": name}, headers=JSON)

    assert "success" == answer.lines[-1]["type"]
    assert 5000 == store.blob_path(first.digest).stat().st_size


async def test_a_client_that_leaves_ends_its_pull(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """And its turn goes to who waits: at most two pulls run at once."""
    async with contextlib.AsyncExitStack() as clients:
        for name in ("one", "two"):
            slow = make_artifact(name.encode() * 1000)
            registry.add(f"team/{name}", "v1", slow.content, slow.contents)
            registry.fault(f"GET .*{blob_of(slow)}", stall(1000))
            pull = daemon.session.post(
                f"{daemon.url}/models/create", json={"from": f"{address}/team/{name}:v1"}
            )
            reply = await clients.enter_async_context(pull)
            assert b"progress" in await reply.content.readline()
        third = asyncio.create_task(
            daemon.ask("POST", "/models/create", json={"from": f"{address}/team/model:v1"}, headers=JSON)
        )
        # Answered later than the request before it, which nevertheless has to wait.
        assert [] == (await daemon.ask("GET", "/models")).json

    assert "success" == (await third).lines[-1]["type"]


async def test_what_is_being_pulled_is_not_purged_under_its_feet(
    daemon: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """409 as long as it comes; when it was left, what came of it goes."""
    slow = make_artifact(b"slow" * 1000)
    registry.add("team/slow", "v1", slow.content, slow.contents)
    registry.fault(f"GET .*{blob_of(slow)}", stall(1000))
    body = {"from": f"{address}/team/slow:v1"}
    async with daemon.session.post(f"{daemon.url}/models/create", json=body) as reply:
        assert b"progress" in await reply.content.readline()
        refused = await daemon.ask("DELETE", "/models/purge")
    purged = refused
    while purged.status == 409:  # its end may be seen before the daemon has let go of the pull
        purged = await daemon.ask("DELETE", "/models/purge")

    assert (409, 200) == (refused.status, purged.status)
    assert "a model is on its way in" in refused.text
    assert not list(daemon.services.store.root.rglob("*.incomplete"))


async def test_a_remote_model_is_described_without_being_pulled(daemon: "Daemon", address: str) -> None:
    """`?remote` in each spelling; what is not there is 404 with the words that clients look for."""
    for query in ("remote", "remote=true", "remote=1"):
        answer = await daemon.ask("GET", f"/models/{address}/team/model:v1?{query}")
        assert (200, str(MODEL.id)) == (answer.status, answer.json["id"])
        assert "tags" not in answer.json
    absent = await daemon.ask("GET", f"/models/{address}/team/absent:v1?remote=true")

    assert 404 == absent.status
    assert "failed to pull model" in absent.text
    assert [] == (await daemon.ask("GET", "/models")).json


# Pushing, loading, exporting


async def test_a_push_brings_the_model_to_its_registry(
    tiny: "Daemon", registry: FakeRegistry, address: str
) -> None:
    """Tag, push, and the registry has it; the last line says so."""
    await tiny.ask("POST", f"/models/ai/tiny/tag?repo={address}/team/tiny&tag=v1")
    answer = await tiny.ask("POST", f"/models/{address}/team/tiny:v1/push", headers=JSON)

    assert ("success", "Model pushed successfully", "push") == tuple(
        answer.lines[-1][key] for key in ("type", "message", "mode")
    )
    assert ("team/tiny", "v1") in registry.manifests


async def test_a_push_that_is_refused_is_a_status(
    tiny: "Daemon", address: str, registry: FakeRegistry
) -> None:
    """401 before the first line; 404 when there is nothing to push."""
    registry.access = Access(users={"ada": "secret"})
    await tiny.ask("POST", f"/models/ai/tiny/tag?repo={address}/team/tiny&tag=v1")

    assert 401 == (await tiny.ask("POST", f"/models/{address}/team/tiny:v1/push", data=b" ")).status
    assert 404 == (await tiny.ask("POST", "/models/ai/absent/push")).status


async def test_an_export_can_be_loaded_elsewhere(tiny: "Daemon", make_daemon: "Make") -> None:
    """The archive has the announced length; the loaded model has the same id and no name."""
    other = await make_daemon()
    async with tiny.session.get(f"{tiny.url}/models/ai/tiny/export") as reply:
        archive = await reply.read()
        assert ("application/x-tar", str(len(archive))) == (
            reply.content_type,
            reply.headers["Content-Length"],
        )
        assert 'attachment; filename="ai_tiny.tar"' == reply.headers["Content-Disposition"]
    loaded = await other.ask("POST", "/models/load", data=archive)
    [model] = (await other.ask("GET", "/models")).json

    assert (200, "success", "Model loaded successfully") == (
        loaded.status,
        loaded.lines[-1]["type"],
        loaded.lines[-1]["message"],
    )
    assert (await tiny.ask("GET", "/models/ai/tiny")).json["id"] == model["id"]
    assert "tags" not in model


@pytest.mark.parametrize("body", [b"", b"no archive" * 100])
async def test_what_is_no_archive_is_not_loaded(daemon: "Daemon", body: bytes) -> None:
    """400 and a sentence."""
    assert 400 == (await daemon.ask("POST", "/models/load", data=body)).status


async def _archived(artifact: Artifact) -> bytes:
    return b"".join([chunk async for chunk in archive(artifact, artifact.content)])


async def test_a_blob_under_a_wrong_name_is_the_mistake_of_whoever_sent_it(daemon: "Daemon") -> None:
    """400, not 500."""
    layer = MODEL.layers[0].digest
    wrong = Artifact(MODEL.content, {**MODEL.contents, layer: b"WEIGHTS" * 1000})
    answer = await daemon.ask("POST", "/models/load", data=await _archived(wrong))

    assert 400 == answer.status
    assert layer.hex in answer.text


@pytest.mark.parametrize("config", UNREADABLE)
async def test_a_loaded_model_whose_configuration_cannot_be_read_is_refused(
    daemon: "Daemon", config: bytes
) -> None:
    """And is not listed."""
    answer = await daemon.ask(
        "POST", "/models/load", data=await _archived(make_artifact(b"weights", config=config))
    )

    assert 422 == answer.status
    assert [] == (await daemon.ask("GET", "/models")).json


@pytest.mark.parametrize("config", UNREADABLE)
async def test_a_pulled_model_whose_configuration_cannot_be_read_is_refused(
    daemon: "Daemon", registry: FakeRegistry, address: str, config: bytes
) -> None:
    """Before any of its weights are fetched."""
    model = make_artifact(b"weights", config=config)
    registry.add("team/odd", "v1", model.content, model.contents)
    answer = await daemon.ask("POST", "/models/create", json={"from": f"{address}/team/odd:v1"}, headers=JSON)

    assert 422 == answer.status
    assert [] == registry.lines(f"GET .*{blob_of(model)}")
    assert [] == (await daemon.ask("GET", "/models")).json


@pytest.mark.parametrize(
    "title", ["../../..", "a/..", "/etc/passwd", "C:/x", "a\\..\\b", "a\x1b[2Jb", "a\0b"]
)
@pytest.mark.parametrize("way", ["pull", "load"])
async def test_a_model_whose_files_have_names_that_lead_outside_is_refused(
    daemon: "Daemon", registry: FakeRegistry, address: str, tmp_path: Path, title: str, way: str
) -> None:
    """Before any of its weights are fetched, with an error of its own."""
    layers: list[tuple[str, str | None, bytes]] = [
        (kinds.GGUF_LAYER, "m.gguf", b"weights"),
        (kinds.FILE_LAYER, title, b"evil"),
    ]
    config = b'{"config":{"format":"gguf"}}'
    manifest, _ = Artifacts(tmp_path).make(layers, config_type=kinds.CONFIG_V02, config=config)
    contents = {Digest.of(data): data for data in (config, b"weights", b"evil")}
    if way == "pull":
        registry.add("team/evil", "v1", manifest, contents)
        body = {"from": f"{address}/team/evil:v1"}
        answer = await daemon.ask("POST", "/models/create", json=body, headers=OURS)
    else:
        archived = await _archived(Artifact(manifest, contents))
        answer = await daemon.ask("POST", "/models/load", data=archived, headers=OURS)

    assert (422, "unsafe_path") == (answer.status, answer.json["error"]["code"])
    assert answer.json["error"]["message"].isprintable()
    assert [] == registry.lines(f"GET .*{Digest.of(b'weights')}")
    assert [] == (await daemon.ask("GET", "/models")).json


async def test_an_archive_for_which_there_is_no_room_is_refused_at_once(daemon: "Daemon") -> None:
    """By the length that is announced, before any of it is read."""
    host, _, port = daemon.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /models/load HTTP/1.1\r\nHost: {host}\r\nContent-Length: {10**17}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n")
    writer.close()

    assert b" 507 " in head


# Names and variants


async def test_a_tag_moves_to_the_model_that_gets_it(daemon: "Daemon") -> None:
    """201 with the target; the model that had the name loses it."""
    first = await daemon.add("docker.io/ai/one:latest")
    second = await daemon.add("docker.io/ai/two:latest", title="two")
    answer = await daemon.ask("POST", f"/models/{second.short}/tag?repo=ai/one&tag=latest")

    assert (
        201,
        {"message": 'Model tagged successfully with "ai/one:latest"', "target": "ai/one:latest"},
    ) == (
        answer.status,
        answer.json,
    )
    assert "tags" not in (await daemon.ask("GET", f"/models/{first}")).json
    assert ["ai/two:latest", "ai/one:latest"] == (await daemon.ask("GET", f"/models/{second}")).json["tags"]


@pytest.mark.parametrize("query", ["", "?repo=ai/x", "?tag=v1", "?repo=&tag=v1"])
async def test_a_tag_needs_both_parts(tiny: "Daemon", query: str) -> None:
    """400 with the words of the reference."""
    answer = await tiny.ask("POST", f"/models/ai/tiny/tag{query}")

    assert (400, "missing repo or tag query parameter\n") == (answer.status, answer.text)


async def test_a_variant_shares_everything_but_its_context_size(tiny: "Daemon") -> None:
    """201; another id, the same layers, and the size that was asked for."""
    answer = await tiny.ask(
        "POST", "/models/ai/tiny/repackage", json={"target": "ai/tiny:small", "context_size": 512}
    )
    original, small = [
        (await tiny.ask("GET", f"/models/{name}")).json for name in ("ai/tiny", "ai/tiny:small")
    ]

    assert (201, "ai/tiny:small") == (answer.status, answer.json["target"])
    assert original["id"] != small["id"]
    assert (2048, 512) == (original["config"]["context_size"], small["config"]["context_size"])
    one, two = tiny.services.store.snapshot.models
    assert one.manifest.layers == two.manifest.layers


async def test_a_variant_without_changes_is_another_name(tiny: "Daemon") -> None:
    """Nothing is written but the tag."""
    await tiny.ask("POST", "/models/ai/tiny/repackage", json={"target": "ai/copy"})

    assert ["ai/tiny:latest", "ai/copy:latest"] == (await tiny.ask("GET", "/models/ai/tiny")).json["tags"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"target": ""}, 400),
        ({}, 400),
        ({"target": "ai/x", "context_size": 0}, 400),
        ({"target": "ai/x", "context_size": 2**31}, 400),
        ({"target": "A B"}, 400),
    ],
)
async def test_a_bad_variant_is_refused(tiny: "Daemon", body: dict[str, object], status: int) -> None:
    """Nothing is stored."""
    assert status == (await tiny.ask("POST", "/models/ai/tiny/repackage", json=body)).status
    assert 1 == len((await tiny.ask("GET", "/models")).json)


async def test_an_unknown_action_says_its_name(tiny: "Daemon") -> None:
    """404, in the words of the reference."""
    answer = await tiny.ask("POST", "/models/ai/tiny/dance")

    assert (404, 'unknown action "dance"\n') == (answer.status, answer.text)


# Deleting


async def test_deleting_the_only_name_deletes_the_model(tiny: "Daemon") -> None:
    """The reply has both steps, with the keys that clients read."""
    model_id = (await tiny.ask("GET", "/models/ai/tiny")).json["id"]
    answer = await tiny.ask("DELETE", "/models/ai/tiny")

    assert [{"Untagged": "ai/tiny:latest"}, {"Deleted": model_id}] == answer.json
    assert [] == (await tiny.ask("GET", "/models")).json
    assert 404 == (await tiny.ask("DELETE", "/models/ai/tiny")).status


async def test_deleting_one_of_two_names_keeps_the_model(daemon: "Daemon") -> None:
    """By name only that name goes; by id it is refused, unless forced."""
    model_id = await daemon.add("docker.io/ai/one:latest", "docker.io/ai/two:latest")
    refused = await daemon.ask("DELETE", f"/models/{model_id.short}")
    untagged = await daemon.ask("DELETE", "/models/ai/one")
    await daemon.services.store.tag(model_id, parse_reference("docker.io/ai/three:latest"))
    forced = await daemon.ask("DELETE", f"/models/{model_id}?force=true")

    assert 409 == refused.status
    assert "(must be forced) due to multiple tag references" in refused.text
    assert [{"Untagged": "ai/one:latest"}] == untagged.json
    assert [
        {"Untagged": "ai/two:latest"},
        {"Untagged": "ai/three:latest"},
        {"Deleted": str(model_id)},
    ] == forced.json


async def test_a_loaded_model_is_unloaded_before_it_is_deleted(tiny: "Daemon") -> None:
    """When it is idle nobody notices."""
    await tiny.ask("POST", CHAT, json=tiny.chat())

    assert 200 == (await tiny.ask("DELETE", "/models/ai/tiny")).status
    assert () == tiny.residents


async def test_a_model_in_use_is_deleted_by_force_only(tiny: "Daemon") -> None:
    """409 while it answers; with force it goes from the store, and the answer is completed."""
    async with tiny.stream(text="one two", fake={"tokens": 60, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"one")
        refused = await tiny.ask("DELETE", "/models/ai/tiny")
        forced = await tiny.ask("DELETE", "/models/ai/tiny?force=true")
        rest = await reply.read()

    assert (409, 200) == (refused.status, forced.status)
    assert "in use" in refused.text
    assert rest.endswith(b"[DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/models/ai/tiny", None),
        ("DELETE", "/models/purge", None),
        ("POST", "/engines/unload", {"models": ["ai/tiny"]}),
    ],
)
@pytest.mark.parametrize("at_start", [False, True])
async def test_a_load_that_no_request_began_is_in_nobodys_way(
    make_daemon: "Make", method: str, path: str, body: object, *, at_start: bool
) -> None:
    """One that a configuration brought about, or the start of the daemon."""
    daemon = await make_daemon(engine={"hang_at_load": True}, DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    if at_start:
        daemon.services.preload(["ai/tiny"])
    else:
        await daemon.ask("POST", "/engines/_configure", json={"model": "ai/tiny", "context-size": 512})
    await daemon.until(lambda: bool(daemon.residents))
    done = await daemon.ask(method, path, json=body)

    assert (200, ()) == (done.status, daemon.residents)
    assert "in_use" not in done.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("DELETE", "/models/purge", None), ("POST", "/engines/unload", {"all": True})],
)
async def test_of_what_the_start_would_load_nothing_comes_after_all(
    make_daemon: "Make", method: str, path: str, body: object
) -> None:
    """Neither what is being loaded nor what would have been next."""
    daemon = await make_daemon(engine={"hang_at_load": True}, DMR_DRAIN="0s")
    for title in ("one", "two", "three"):
        await daemon.add(f"docker.io/ai/{title}:latest", title=title)
    daemon.services.preload(["ai/one", "ai/two", "ai/three"])
    await daemon.until(lambda: bool(daemon.residents))
    done = await daemon.ask(method, path, json=body)

    assert (200, ()) == (done.status, daemon.residents)
    assert not daemon.services.preloading._tasks


async def test_a_bad_boolean_is_named(tiny: "Daemon") -> None:
    """Nothing is deleted by mistake."""
    answer = await tiny.ask("DELETE", "/models/ai/tiny?force=perhaps")

    assert 400 == answer.status
    assert 'invalid force parameter: "perhaps"' in answer.text


async def test_purging_empties_the_store(tiny: "Daemon") -> None:
    """What is loaded goes first; the store is usable afterwards."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    answer = await tiny.ask("DELETE", "/models/purge")

    assert (200, "") == (answer.status, answer.text)
    assert ([], ()) == ((await tiny.ask("GET", "/models")).json, tiny.residents)
    await tiny.add("docker.io/ai/tiny:latest")
    assert 200 == (await tiny.ask("POST", CHAT, json=tiny.chat())).status
