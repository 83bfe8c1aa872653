"""Anthropic's messages, from a client's socket to the engine's and back."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Daemon, Make

SLOW = {"tokens": 100_000, "tokens_per_second": 100}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def asking(text: str = "hello world", **more: Any) -> dict[str, Any]:
    return {"model": "ai/tiny", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **more}


def events(answer: "Answer") -> list[Any]:
    return [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data: ")
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/anthropic/v1/messages",
        "/v1/messages",
        "/engines/v1/messages",
        "/engines/llama.cpp/v1/messages",
        "//anthropic//v1/messages/",
    ],
)
async def test_every_path_leads_to_the_model(tiny: "Daemon", path: str) -> None:
    """With and without prefix and engine."""
    answer = await tiny.ask("POST", path, json=asking())

    assert (200, "application/json") == (answer.status, answer.headers["content-type"])
    assert [{"type": "text", "text": "hello world"}] == answer.json["content"]
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


async def test_a_message_is_streamed_as_events(tiny: "Daemon") -> None:
    """Each has its name and its type, alike."""
    answer = await tiny.ask("POST", "/v1/messages", json=asking(stream=True))
    names = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]

    assert "text/event-stream" == answer.headers["content-type"]
    assert names == [event["type"] for event in events(answer)]
    assert "message_start" == names[0]
    assert "message_stop" == names[-1]
    assert "hello world" == "".join(event.get("delta", {}).get("text", "") for event in events(answer))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_sequence_stops_the_engine(make_daemon: "Make", stream: bool) -> None:
    """It is not heard out, however much it would still say."""
    daemon = await make_daemon(engine=SLOW)
    await daemon.add("docker.io/ai/tiny:latest")
    body = asking("one two three", stream=stream, stop_sequences=["thr"])
    answer = await daemon.ask("POST", "/v1/messages", json=body)
    await daemon.engine_says("aborted by client")
    last = events(answer)[-2]["delta"] if stream else answer.json

    assert ("stop_sequence", "thr") == (last["stop_reason"], last["stop_sequence"])
    assert [0] == [resident.leases for resident in daemon.residents]


async def test_tokens_are_counted_by_any_engine(tiny: "Daemon") -> None:
    """One that has no route for it reads the prompt instead; the fake takes a word for a token."""
    answer = await tiny.ask("POST", "/v1/messages/count_tokens", json=asking("one two three"))

    assert (200, {"input_tokens": 3}) == (answer.status, answer.json)


async def test_models_are_listed(tiny: "Daemon") -> None:
    """With the page's ends; one can be looked at."""
    listed = (await tiny.ask("GET", "/anthropic/v1/models")).json
    one = (await tiny.ask("GET", "/anthropic/v1/models/ai/tiny")).json

    versioned = {"anthropic-version": "2023-06-01"}
    at_the_root = (await tiny.ask("GET", "/v1/models", headers=versioned)).json
    one_at_the_root = (await tiny.ask("GET", "/v1/models/ai/tiny", headers=versioned)).json

    assert (listed, one) == (at_the_root, one_at_the_root)
    assert [one] == listed["data"]
    assert ("model", "ai/tiny:latest") == (one["type"], one["id"])
    assert (False, "ai/tiny:latest", "ai/tiny:latest") == (
        listed["has_more"],
        listed["first_id"],
        listed["last_id"],
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "words"),
    [
        ("/v1/messages", b"{", 400, "invalid_request_error", "invalid request"),
        ("/v1/messages", b"\xff", 400, "invalid_request_error", "invalid request"),
        ("/v1/messages", b"{}", 400, "invalid_request_error", "model"),
        ("/anthropic/v1/messages", b'{"model": ""}', 400, "invalid_request_error", "messages"),
        ("/v1/messages", asking(messages={}), 400, "invalid_request_error", "messages"),
        ("/v1/messages", asking(max_tokens="x"), 400, "invalid_request_error", "max_tokens"),
        ("/v1/messages", asking(model=" "), 400, "invalid_request_error", "model is required"),
        ("/v1/messages", asking(model="ai/absent"), 404, "not_found_error", "model not found: `ai/absent`"),
        ("/v1/messages", asking(tools=[TOOL]), 400, "invalid_request_error", "does not support tools"),
        ("/v1/messages", asking(tools=[{"name": "f"}]), 400, "invalid_request_error", "no schema"),
        ("/v1/messages/count_tokens", b"{", 400, "invalid_request_error", "invalid request"),
        ("/v1/messages/count_tokens", asking(model="x"), 404, "not_found_error", "model not found"),
        ("/engines/no-such/v1/messages", b"{", 404, "not_found_error", "backend not found"),
    ],
)
async def test_errors_are_anthropics(
    tiny: "Daemon", path: str, body: object, status: int, kind: str, words: str
) -> None:
    """A status, a type, and a sentence; the lease is free."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await tiny.ask("POST", path, data=data)

    assert (status, "error", kind) == (answer.status, answer.json["type"], answer.json["error"]["type"])
    assert words in answer.json["error"]["message"]
    assert {0} >= {resident.leases for resident in tiny.residents}


async def test_a_body_over_the_limit_is_refused(make_daemon: "Make") -> None:
    """With Anthropic's own type for it."""
    daemon = await make_daemon(DMR_BODY_LIMIT="1KiB")
    answer = await daemon.ask("POST", "/v1/messages", data=b"x" * 2000)

    assert (413, "request_too_large") == (answer.status, answer.json["error"]["type"])


async def test_a_model_that_is_not_there_is_anthropics_error_too(tiny: "Daemon") -> None:
    """Also where a model is only looked at."""
    answer = await tiny.ask("GET", "/anthropic/v1/models/ai/absent")

    assert (404, "not_found_error") == (answer.status, answer.json["error"]["type"])


@pytest.mark.parametrize(
    ("engine", "status", "kind", "words"),
    [
        ({"status": 429}, 429, "rate_limit_error", "refused on purpose"),
        ({"status": 400}, 400, "invalid_request_error", "refused on purpose"),
        ({"crash_on_request": True}, 500, "api_error", "crashed on purpose"),
        ({"crash_at_load": "out of memory"}, 500, "api_error", "out of memory"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engines_error_before_its_answer_is_a_status(
    make_daemon: "Make", engine: dict[str, Any], status: int, kind: str, words: str, stream: bool
) -> None:
    """With the engine's words."""
    daemon = await make_daemon(engine=engine)
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await daemon.ask("POST", "/v1/messages", json=asking(stream=stream))

    assert (status, kind) == (answer.status, answer.json["error"]["type"])
    assert words in answer.json["error"]["message"]
    assert {0} >= {resident.leases for resident in daemon.residents}


async def test_a_crash_in_mid_stream_is_an_event(make_daemon: "Make") -> None:
    """The last one, after what has been said."""
    daemon = await make_daemon(engine={"crash_after_tokens": 1})
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await daemon.ask("POST", "/v1/messages", json=asking("one two", stream=True))
    *before, last = events(answer)

    assert 200 == answer.status
    assert "content_block_delta" == before[-1]["type"]
    assert ("error", "api_error") == (last["type"], last["error"]["type"])
    assert "crashed on purpose after 1 tokens" in last["error"]["message"]


async def test_a_client_that_leaves_stops_the_generation(make_daemon: "Make") -> None:
    """The lease is given back at once."""
    daemon = await make_daemon(engine=SLOW)
    await daemon.add("docker.io/ai/tiny:latest")
    request = asyncio.create_task(daemon.ask("POST", "/v1/messages", json=asking(stream=True)))
    await daemon.engine_says("generation started")
    request.cancel()
    await asyncio.wait([request])
    await daemon.engine_says("aborted by client")

    assert [0] == [resident.leases for resident in daemon.residents]
