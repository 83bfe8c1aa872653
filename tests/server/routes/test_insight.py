"""`/engines/events`, `/engines/queue`, `/engines/explain` and `/health`: what goes on, and why."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from modelrunner.runtime.events import Event, Kind
from modelrunner.runtime.scheduling.plan import Reason
from modelrunner.server.inspection.insight import Wanted

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Daemon, Make

CHAT = "/engines/v1/chat/completions"


@pytest.fixture
async def two(make_daemon: "Make") -> "Daemon":
    """A daemon with room for one model, and two models."""
    daemon = await make_daemon(DMR_PLACES="1")
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.add("docker.io/ai/other:latest", title="other")
    return daemon


@contextlib.asynccontextmanager
async def stream(daemon: "Daemon", query: str = "", **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """Follow the events."""
    url = f"{daemon.url}/engines/events{query}"
    async with daemon.session.get(url, headers={"Accept": "text/event-stream", **headers}) as reply:
        yield reply


async def message(reply: aiohttp.ClientResponse) -> tuple[str, dict[str, Any]]:
    """Read the next server-sent event: what it is called, and its data."""
    while True:
        raw = (await reply.content.readuntil(b"\n\n")).decode()
        if raw.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in raw.strip().splitlines())
        return fields.get("event", "message"), json.loads(fields["data"])


# Events


async def test_events_tell_the_story_of_a_model(two: "Daemon") -> None:
    """By name, with a reason for programs and one for people, and for whom it had to go."""
    await two.ask("POST", CHAT, json=two.chat())
    await two.ask("POST", CHAT, json=two.chat("ai/other"))
    events = (await two.ask("GET", "/engines/events?model=ai/tiny")).json

    assert ["starting", "ready", "stopping", "gone"] == [event["kind"] for event in events]
    last = events[-1]
    assert ("ai/tiny:latest", "llama.cpp", "completion") == (last["model"], last["backend"], last["mode"])
    assert ("place_needed", ["ai/other:latest"]) == (last["reason"], last["others"])
    assert "unloaded: another model needs its place (`ai/other`)" == last["text"]
    assert datetime.fromisoformat(last["at"]).tzinfo is not None


async def test_events_are_narrowed_down(two: "Daemon") -> None:
    """To a model, to a time, to the last few."""
    await two.ask("POST", CHAT, json=two.chat())
    every = (await two.ask("GET", "/engines/events")).json

    assert every == (await two.ask("GET", "/engines/events?since=10m")).json
    assert every[-1:] == (await two.ask("GET", "/engines/events", params={"since": every[-1]["at"]})).json
    assert every[-1:] == (await two.ask("GET", "/engines/events?limit=1")).json
    assert [] == (await two.ask("GET", "/engines/events?limit=0")).json
    assert [] == (await two.ask("GET", "/engines/events?model=other")).json


@pytest.mark.parametrize(
    ("query", "status"),
    [("model=ai/absent", 404), ("since=yesterday", 400), ("limit=-1", 400), ("follow=x", 400)],
)
async def test_a_question_without_meaning_is_refused(tiny: "Daemon", query: str, status: int) -> None:
    """It is no empty list."""
    assert status == (await tiny.ask("GET", f"/engines/events?{query}")).status


async def test_events_are_streamed_as_they_happen(tiny: "Daemon") -> None:
    """Those that are remembered first, each with its number, without a gap."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    async with stream(tiny) as reply:
        await tiny.ask("POST", "/engines/unload", json={"all": True})
        events = [(await message(reply))[1] for _ in range(4)]

    assert "text/event-stream" == reply.content_type
    assert ["starting", "ready", "stopping", "gone"] == [event["kind"] for event in events]
    assert [1, 2, 3, 4] == [event["id"] for event in events]


async def test_a_stream_goes_on_where_its_reader_was(tiny: "Daemon") -> None:
    """`Last-Event-ID`, as a browser sends it; a number that never was means nothing."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    async with stream(tiny, **{"Last-Event-ID": "1"}) as reply:
        assert 2 == (await message(reply))[1]["id"]
    async with stream(tiny, **{"Last-Event-ID": "999"}) as reply:
        assert 1 == (await message(reply))[1]["id"]


async def test_a_stream_can_be_asked_for_without_a_header(tiny: "Daemon") -> None:
    """With `?stream=true` or `?follow`, and only of one model."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    for query in ("?stream=true", "?follow", "?follow=1&model=ai/tiny"):
        async with tiny.session.get(f"{tiny.url}/engines/events{query}") as reply:
            assert "starting" == (await message(reply))[1]["kind"]


async def test_a_slow_reader_is_told_what_it_missed(tiny: "Daemon") -> None:
    """How many; the daemon keeps no more for it than its queue has room for."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    insight, key = tiny.services.insight, tiny.residents[0].key
    pool = tiny.services.pool
    async with contextlib.aclosing(insight.follow(Wanted(limit=0))) as pieces:
        await anext(pieces)
        for _ in range(150):
            pool.events.emit(Event(Kind.READY, key, Reason.REQUESTED, 1.0))
        first = await anext(pieces)

    assert b'event: lost\ndata: {"lost":50}\n\n' == first


async def test_a_stream_ends_with_the_daemon(tiny: "Daemon") -> None:
    """It says so, and does not hold the daemon up."""
    async with stream(tiny) as reply:
        await reply.content.readuntil(b"\n\n")
        tiny.services.streams.end()

        assert ("end", "shutting_down") == ((end := await message(reply))[0], end[1]["reason"])
        assert b"" == await reply.content.read()


async def test_a_reader_that_leaves_is_forgotten(tiny: "Daemon") -> None:
    """Nobody is sent events who does not listen."""
    listeners = tiny.services.pool.events._listeners
    others = set(listeners)
    async with stream(tiny) as reply:
        await reply.content.readuntil(b"\n\n")
        assert 1 == len(listeners - others)
    async with asyncio.timeout(10):
        while listeners - others:
            await tiny.ask("GET", "/health")


# Queue


async def test_a_request_sees_its_own_place(two: "Daemon") -> None:
    """By the name that its client gave it, with the reason, and for whom it waits."""
    async with two.stream(fake={"tokens": 1000, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"hello")
        ask = two.ask("POST", CHAT, json=two.chat("ai/other"), headers={"X-Request-Id": "mine"})
        request = asyncio.create_task(ask)
        await two.until(
            lambda: two.services.pool.waiting == 1 and "busy" in [w.why for w in two.services.pool.queue()]
        )
        row = (await two.ask("GET", "/engines/queue?id=mine")).json
        every = (await two.ask("GET", "/engines/queue")).json
    await request

    assert ("mine", "ai/other:latest", 1, "busy") == (row["id"], row["model"], row["position"], row["reason"])
    assert ["ai/tiny:latest"] == row["others"]
    assert 0 < row["waited"] < 60
    assert ["mine"] == [each["id"] for each in every]


async def test_a_request_that_does_not_wait_is_not_in_line(tiny: "Daemon") -> None:
    """404, with what that means; the whole line is empty."""
    answer = await tiny.ask("GET", "/engines/queue?id=mine")

    assert 404 == answer.status
    assert "no request waits by this name: `mine`" in answer.text
    assert [] == (await tiny.ask("GET", "/engines/queue")).json


# Explain


async def test_a_model_that_is_not_loaded_is_explained(two: "Daemon") -> None:
    """It would be loaded at once, after another one, or is there already."""
    first = (await two.ask("GET", "/engines/explain?model=ai/tiny")).json
    await two.ask("POST", CHAT, json=two.chat())
    here = (await two.ask("GET", "/engines/explain?model=ai/tiny")).json
    other = (await two.ask("GET", "/engines/explain?model=ai/other&mode=completion&backend=llama.cpp")).json

    assert ("unloaded", True, []) == (first["state"], first["starts"], first["stops"])
    assert "A request now loads it at once." == first["sentences"][-1]
    assert ("ready", False, None) == (here["state"], here["starts"], here["wait"])
    assert "A request now is served at once." == here["sentences"][-1]
    assert (["ai/tiny:latest"], "stopping") == (other["stops"], other["wait"]["reason"])
    assert "A request now has `ai/tiny` (idle for" in other["sentences"][-1]
    assert 1 == other["capacity"]["place"]
    assert {"place": 1} == other["need"]  # so small a model is not estimated


async def test_a_model_that_went_is_explained(two: "Daemon") -> None:
    """Why it went, and for whom."""
    await two.ask("POST", CHAT, json=two.chat())
    await two.ask("POST", CHAT, json=two.chat("ai/other"))
    explanation = (await two.ask("GET", "/engines/explain?model=ai/tiny")).json

    expected = "It was unloaded less than a second ago: another model needs its place (`ai/other`)."
    assert expected == explanation["sentences"][1]
    assert "gone" == explanation["events"][-1]["kind"]


async def test_a_model_that_fails_is_explained(make_daemon: "Make") -> None:
    """How often, with the engine's last words, and what lets it be tried again."""
    daemon = await make_daemon(engine={"crash_at_load": "no luck today"})
    await daemon.add("docker.io/ai/tiny:latest")
    for _ in range(3):
        await daemon.ask("POST", CHAT, json=daemon.chat())
    explanation = (await daemon.ask("GET", "/engines/explain?model=ai/tiny")).json

    assert (3, True) == (explanation["failures"]["count"], explanation["failures"]["refusing"])
    assert "no luck today" in explanation["failures"]["words"]
    assert "failing" == explanation["refusal"]["reason"]
    assert any("It failed 3 times in a row" in sentence for sentence in explanation["sentences"])


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("model=ai/absent", 404), ("model=ai/tiny&mode=x", 400), ("model=ai/tiny&backend=x", 404)],
)
async def test_what_cannot_be_explained_is_an_error(tiny: "Daemon", query: str, status: int) -> None:
    """No model, an unknown one, an unknown mode or engine."""
    assert status == (await tiny.ask("GET", f"/engines/explain?{query}")).status


# Health


async def test_a_daemon_with_nothing_to_do_is_well(tiny: "Daemon") -> None:
    """200."""
    answer = await tiny.ask("GET", "/health")

    assert (200, {"status": "ok"}) == (answer.status, answer.json)


async def stalled(daemon: "Daemon") -> "Answer":
    """Ask until the daemon says that nothing goes on."""
    async with asyncio.timeout(20):
        while (answer := await daemon.ask("GET", "/health")).status == 200:
            pass
    return answer


async def test_a_line_that_does_not_move_is_told(make_daemon: "Make") -> None:
    """503 with the model and the reason, when an engine hangs at its start and says nothing."""
    daemon = await make_daemon(engine={"hang_at_load": True}, DMR_STALLED_AFTER="200ms", DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    request = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat()))
    await daemon.until(lambda: bool(daemon.residents))
    early = await daemon.ask("GET", "/health")
    late = await stalled(daemon)
    request.cancel()

    assert 200 == early.status
    assert 503 == late.status
    assert ("stalled", 1, "ai/tiny:latest", "loading") == (
        late.json["status"],
        late.json["waiting"],
        late.json["model"],
        late.json["reason"],
    )
    assert late.json["seconds"] >= 0.2


async def test_an_engine_that_goes_on_talking_explains_a_long_load(make_daemon: "Make") -> None:
    """A large model is not mistaken for one that hangs."""
    daemon = await make_daemon(engine={"hang_at_load": True}, DMR_STALLED_AFTER="100ms", DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    request = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat()))
    await daemon.until(lambda: bool(daemon.residents))
    await stalled(daemon)
    daemon.services.loader._line(daemon.residents[0].key, "loading tensors: 12 %")

    assert 200 == (await daemon.ask("GET", "/health")).status
    request.cancel()


async def test_a_long_answer_is_no_standstill(make_daemon: "Make") -> None:
    """Who waits for a model in use waits for something that goes on."""
    daemon = await make_daemon(DMR_PLACES="1", DMR_STALLED_AFTER="0s", DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.add("docker.io/ai/other:latest", title="other")
    async with daemon.stream(fake={"tokens": 1000, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"hello")
        request = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat("ai/other")))
        await daemon.until(lambda: daemon.services.pool.waiting == 1)

        assert 200 == (await daemon.ask("GET", "/health")).status
    await request
