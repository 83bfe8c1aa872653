"""`/requests` and `/engines/requests`: one daemon with a few requests, asked in every way."""

import asyncio
import json
import shlex
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

CHAT = "/engines/v1/chat/completions"
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
async def recorded(make_daemon: "Make") -> "Daemon":
    """A daemon with three requests: one that talked of whales, one to Ollama, one that failed."""
    daemon = await make_daemon(DMR_REQUESTS="64MiB")
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.ask("POST", CHAT, json=daemon.chat(text="blue whales", temperature=0.5))
    await daemon.ask("POST", "/api/chat", json=daemon.chat(text="it's 'quoted' \x1b[1m"))
    await daemon.ask("POST", CHAT, json=daemon.chat("ai/nothing"))
    return daemon


async def ids(daemon: "Daemon", query: str) -> list[int]:
    answer = await daemon.ask("GET", f"/requests?{query}")
    assert 200 == answer.status, answer.text
    return [each["id"] for each in answer.json["requests"]]


async def test_requests_are_found(recorded: "Daemon") -> None:
    assert [3, 2, 1] == await ids(recorded, "")
    assert [1] == await ids(recorded, "q=whales")
    assert [2, 1] == await ids(recorded, "model=tiny")
    assert [3] == await ids(recorded, "model=ai/nothing")
    assert [3] == await ids(recorded, "status=4xx")
    assert [2, 1] == await ids(recorded, "status=200")
    assert [2] == await ids(recorded, "dialect=ollama&outcome=ok&since=1h")
    assert [] == await ids(recorded, "until=1h")
    assert [] == await ids(recorded, "slower=1h")
    assert [3] == await ids(recorded, "limit=1")
    assert [2] == await ids(recorded, "limit=1&before=3")


async def test_what_was_refused_early_is_found_by_every_name_of_its_model(recorded: "Daemon") -> None:
    """Before anybody looked at which model was meant."""
    refused = await recorded.ask("POST", "/api/chat", json={"model": "ai/tiny", "messages": "none"})

    assert 400 == refused.status
    for name in ("tiny", "ai/tiny", "ai/tiny:latest", "docker.io/ai/tiny"):
        assert [4, 2, 1] == await ids(recorded, f"model={name}"), name


async def test_a_query_that_means_nothing_is_refused(daemon: "Daemon") -> None:
    for query in (
        "status=4x",
        "outcome=fine",
        "since=never",
        "before=x",
        "limit=-1",
        "slower=fast",
        "follow=x",
    ):
        assert 400 == (await daemon.ask("GET", f"/requests?{query}")).status, query


async def test_one_is_found_by_number_and_by_name(recorded: "Daemon") -> None:
    await recorded.ask("POST", CHAT, json=recorded.chat(), headers={"X-Request-Id": "mine"})

    assert "blue whales" == (await recorded.ask("GET", "/requests/1")).json["prompt"]
    assert 4 == (await recorded.ask("GET", "/requests/mine")).json["id"]
    assert 404 == (await recorded.ask("GET", "/requests/99")).status
    assert 404 == (await recorded.ask("GET", "/requests/other")).status


async def test_a_replay_asks_again_with_what_is_changed(recorded: "Daemon") -> None:
    other = await recorded.add("docker.io/ai/other:latest", title="other")
    changes = {"model": "ai/other", "parameters": {"temperature": None, "seed": 7}}

    found = (await recorded.ask("POST", "/requests/1/replay", json=changes)).json

    assert (4, 1, str(other)) == (found["id"], found["replay_of"], found["model_id"])
    assert {"seed": 7} == found["parameters"]
    assert "blue whales" == found["answer"]
    same = (await recorded.ask("POST", "/requests/2/replay")).json
    assert ("ollama", "it's 'quoted' \x1b[1m") == (same["dialect"], same["prompt"])
    missing = (await recorded.ask("POST", "/requests/3/replay")).json
    assert ("failed", 404) == (missing["outcome"], missing["status"])


async def test_a_replay_is_of_its_own_body_whatever_is_said_of_the_caller_s(recorded: "Daemon") -> None:
    """An engine that is told of a body in gzip would unpack what is none."""
    headers = {"Content-Encoding": "gzip", "Content-Language": "fr", "Digest": "sha-256=x"}

    found = (await recorded.ask("POST", "/requests/1/replay", headers=headers)).json

    assert ("ok", "blue whales") == (found["outcome"], found["answer"])


async def test_a_replay_can_give_the_model_s_own_answer(recorded: "Daemon") -> None:
    answer = await recorded.ask(
        "POST", "/requests/1/replay?answer=true", json={"parameters": {"stream": True}}
    )

    assert "text/event-stream" == answer.headers["content-type"].partition(";")[0]
    found = (await recorded.ask("GET", f"/requests/{answer.headers['x-request-id']}")).json
    assert (1, "blue whales") == (found["replay_of"], found["answer"])


async def test_what_was_not_kept_whole_is_not_sent_again(recorded: "Daemon") -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 400, "format": "wav"}}
    await recorded.ask(
        "POST", CHAT, json={"model": "ai/tiny", "messages": [{"role": "user", "content": [sound]}]}
    )

    answer = await recorded.ask("POST", "/requests/4/replay")

    assert 409 == answer.status
    assert "media" in answer.text
    assert 400 == (await recorded.ask("POST", "/requests/1/replay", data=b"[]")).status


async def test_a_replay_of_what_is_no_longer_recorded_says_so(recorded: "Daemon") -> None:
    await recorded.ask("POST", "/engines/_configure", json={"model": "ai/tiny", "record": False})

    answer = await recorded.ask("POST", "/requests/1/replay")

    assert 409 == answer.status
    assert "not recorded" in answer.text


async def test_two_are_compared(recorded: "Daemon") -> None:
    await recorded.ask("POST", "/requests/1/replay", json={"parameters": {"temperature": 1}})

    found = (await recorded.ask("GET", "/requests/diff?a=1&b=4")).json

    assert [{"name": "temperature", "a": 0.5, "b": 1}] == found["parameters"]
    assert [] == found["answer"]
    assert 400 == (await recorded.ask("GET", "/requests/diff?a=1")).status
    assert 404 == (await recorded.ask("GET", "/requests/diff?a=1&b=77")).status


async def test_a_command_asks_the_same_again(recorded: "Daemon") -> None:
    text = (await recorded.ask("GET", "/requests/2/export?format=curl")).text

    assert "\x1b" not in text
    words = shlex.split(text)
    assert f"{recorded.url}/api/chat" in words
    body = json.loads(words[words.index("--data-raw") + 1])
    assert "it's 'quoted' \x1b[1m" == body["messages"][0]["content"]


async def test_exports_hold_what_fits(recorded: "Daemon") -> None:
    lines = (await recorded.ask("GET", "/requests/export")).lines
    archive = (await recorded.ask("GET", "/requests/export?format=har&model=tiny")).json
    one = (await recorded.ask("GET", "/requests/1/export?format=jsonl")).lines

    assert [1, 2, 3] == [each["id"] for each in lines]
    entries = archive["log"]["entries"]
    assert ["/engines/v1/chat/completions", "/api/chat"] == [
        each["request"]["url"].removeprefix(recorded.url) for each in entries
    ]
    assert "1.2" == archive["log"]["version"]
    assert "blue whales" in entries[0]["response"]["content"]["text"]
    assert [1] == [each["id"] for each in one]
    assert {"log"} == (await recorded.ask("GET", "/requests/export?format=har&q=nothing")).json.keys()
    for wrong in ("/requests/export?format=curl", "/requests/1/export?format=pdf"):
        assert 400 == (await recorded.ask("GET", wrong)).status


async def test_an_export_of_nothing_is_empty(daemon: "Daemon") -> None:
    """Before anything was recorded."""
    answer = await daemon.ask("GET", "/requests/export")

    assert (200, "") == (answer.status, answer.text)


async def test_sums(recorded: "Daemon") -> None:
    by_model = (await recorded.ask("GET", "/requests/statistics")).json
    by_status = (await recorded.ask("GET", "/requests/statistics?by=status")).json

    assert {"ai/tiny:latest": 2, "ai/nothing": 1} == {each["group"]: each["requests"] for each in by_model}
    assert {"200": 2, "404": 1} == {each["group"]: each["requests"] for each in by_status}
    assert 400 == (await recorded.ask("GET", "/requests/statistics?by=moon")).status


async def test_what_is_forgotten_is_gone(recorded: "Daemon") -> None:
    assert {"deleted": 1} == (await recorded.ask("DELETE", "/requests/2")).json
    assert {"deleted": 1} == (await recorded.ask("DELETE", "/requests?outcome=failed")).json
    assert [1] == await ids(recorded, "")
    for wrong in ("q=whales", "modle=tiny", "limit=1", "model=", "model=tiny&status="):
        assert 400 == (await recorded.ask("DELETE", f"/requests?{wrong}")).status, wrong
    assert {"deleted": 1} == (await recorded.ask("DELETE", "/requests")).json
    assert 404 == (await recorded.ask("DELETE", "/requests/1")).status


async def test_where_nothing_is_recorded_nobody_is_told_that_it_was_forgotten(daemon: "Daemon") -> None:
    """What was recorded before is still in the file (a review's B4)."""
    refused = await daemon.ask("DELETE", "/requests")

    assert 400 == refused.status
    assert str(daemon.services.settings.requests_path) in refused.text


async def events(reply: aiohttp.ClientResponse, count: int) -> list[tuple[str, Any]]:
    """The next events, but for comments."""
    found: list[tuple[str, Any]] = []
    name = ""
    async with asyncio.timeout(20):
        while len(found) < count:
            line = (await reply.content.readline()).decode().rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
                name = ""
    return found


async def test_new_requests_come_as_events_and_missed_ones_too(recorded: "Daemon") -> None:
    url = f"{recorded.url}/requests?model=tiny"
    async with recorded.session.get(url, headers={**EVENTS, "Last-Event-ID": "1"}) as reply:
        [(_, missed)] = await events(reply, 1)
        await recorded.ask("POST", CHAT, json=recorded.chat("ai/nothing"))
        await recorded.ask("POST", CHAT, json=recorded.chat(text="news"))
        [(_, new)] = await events(reply, 1)

    assert (2, "news") == (missed["id"], new["prompt"])


async def test_the_reference_s_form(recorded: "Daemon") -> None:
    model = str(recorded.services.catalogue.find("ai/tiny").id)

    [group] = (await recorded.ask("GET", "/engines/requests?model=ai/tiny")).json

    assert (2, model, {}) == (group["count"], group["model"], group["config"])
    first, second = group["records"]
    assert first["id"].startswith(f"{model}_")
    assert [
        "id",
        "model",
        "method",
        "url",
        "request",
        "timestamp",
        "status_code",
        "response",
        "user_agent",
    ] == [*first]
    assert ["messages", "model", "temperature"] == [*json.loads(first["request"])]
    assert "chat.completion" == json.loads(first["response"])["object"]
    assert "ollama/completion" == second["origin"]


async def test_the_reference_s_form_has_what_is_loaded_and_was_not_asked(make_daemon: "Make") -> None:
    daemon = await make_daemon(DMR_REQUESTS="64MiB")
    model = str(await daemon.add("docker.io/ai/tiny:latest"))
    options = {"model": "ai/tiny", "context-size": 2048}
    await daemon.ask("POST", "/engines/_configure", json=options)

    before = await daemon.ask("GET", "/engines/requests")
    await daemon.ask("POST", CHAT, json=daemon.chat(), headers={"X-Preload-Only": "true"})
    loaded = await daemon.ask("GET", "/engines/requests?model=tiny")
    other = await daemon.ask("GET", "/engines/requests?model=ai/nothing")
    await daemon.ask("POST", CHAT, json=daemon.chat())
    [asked] = (await daemon.ask("GET", "/engines/requests")).json

    assert ([], []) == (before.json, other.json)
    assert [{"count": 0, "model": model, "config": {"context-size": 2048}, "records": []}] == loaded.json
    assert (1, {"context-size": 2048}) == (asked["count"], asked["config"])


async def test_the_reference_s_events(recorded: "Daemon") -> None:
    model = str(recorded.services.catalogue.find("ai/tiny").id)
    url = f"{recorded.url}/engines/requests?include_existing=true"
    async with recorded.session.get(url, headers=EVENTS) as reply:
        before = await events(reply, 3)
        await recorded.ask("POST", CHAT, json=recorded.chat(fake={"status": 500}))
        [(name, [group])] = await events(reply, 1)

    assert ["existing_request", "existing_request", "connected"] == [each for each, _ in before]
    assert [1, model] == [before[0][1][0]["count"], before[0][1][0]["model"]]
    assert {"status": "connected"} == before[2][1]
    assert ("new_request", "ai/tiny") == (name, group["model"])
    [record] = group["records"]
    assert "refused on purpose" in record["error"]
    assert "response" not in record


async def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(recorded: "Daemon") -> None:
    for path in ("/requests", "/engines/requests"):
        async with recorded.session.get(f"{recorded.url}{path}", headers=EVENTS) as reply:
            await reply.content.readline()
    for _ in range(200):  # each is another turn of the loop, in which the streams notice
        await recorded.ask("GET", "/version")
        if not recorded.services.observing.recording._listeners:
            break

    assert not recorded.services.observing.recording._listeners
    assert [3, 2, 1] == await ids(recorded, "")
