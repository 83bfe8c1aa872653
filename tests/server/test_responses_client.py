"""The official OpenAI client's `responses`, unchanged, against the daemon with the scripted engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types.responses import FunctionToolParam

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

TOOL: FunctionToolParam = {
    "type": "function",
    "name": "age",
    "description": "Tell an age.",
    "parameters": {"type": "object", "properties": {"of": {"type": "integer"}}},
    "strict": False,
}


def connect(daemon: "Daemon", prefix: str = "/v1") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{daemon.url}{prefix}", api_key="any", max_retries=0)


@pytest.fixture
async def client(tiny: "Daemon") -> AsyncIterator[openai.AsyncOpenAI]:
    async with connect(tiny) as made:
        yield made


def texts(items: Sequence[Any]) -> list[str]:
    return [item.content[0].text for item in items]


async def scripted(make: "Make", **engine: Any) -> "Daemon":
    daemon = await make(engine=engine)
    await daemon.add("docker.io/ai/tiny:latest", template="{{ messages }}{{ tools }}")
    return daemon


@pytest.mark.parametrize("prefix", ["", "/v1", "/engines", "/engines/v1", "/engines/llama.cpp/v1"])
async def test_a_response_is_made_kept_and_deleted(tiny: "Daemon", prefix: str) -> None:
    """Behind every prefix; what is retrieved is what was answered, until it is deleted."""
    async with connect(tiny, prefix) as client:
        made = await client.responses.create(model="ai/tiny", input="one two three", metadata={"a": "b"})
        found = await client.responses.retrieve(made.id)
        items = await client.responses.input_items.list(made.id)
        await client.responses.delete(made.id)

        assert ("completed", "one two three") == (made.status, made.output_text)
        assert made.to_dict() == found.to_dict()
        assert {"a": "b"} == made.metadata
        assert made.usage is not None
        assert (3, 3, 6) == (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens)
        assert ["one two three"] == texts(items.data)
        with pytest.raises(openai.NotFoundError, match="Response not found"):
            await client.responses.retrieve(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete(made.id)


async def test_a_stream_tells_of_each_step_in_order(client: openai.AsyncOpenAI) -> None:
    """Numbers without gaps from 0 on; the pieces are the text, and the last event has the response."""
    stream = await client.responses.create(model="ai/tiny", input="one two", stream=True)
    events = [event async for event in stream]

    assert [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ] == [event.type for event in events]
    assert list(range(len(events))) == [event.sequence_number for event in events]
    last = events[-1]
    assert last.type == "response.completed"
    assert "one two" == last.response.output_text
    assert last.response.usage is not None
    assert (2, 2) == (last.response.usage.input_tokens, last.response.usage.output_tokens)
    assert last.response.to_dict() == (await client.responses.retrieve(last.response.id)).to_dict()


async def test_the_clients_own_accumulation_agrees(client: openai.AsyncOpenAI) -> None:
    """`responses.stream` puts together the same response."""
    async with client.responses.stream(model="ai/tiny", input="one two") as stream:
        final = await stream.get_final_response()

    assert "one two" == final.output_text


async def test_a_chain_has_every_turn(make_daemon: "Make") -> None:
    """The third request has the first turn's user in it, and instructions are those of the moment."""
    daemon = await scripted(make_daemon, recite=True)
    async with connect(daemon) as client:
        first = await client.responses.create(model="ai/tiny", input="alpha", instructions="old")
        second = await client.responses.create(
            model="ai/tiny", input="beta", previous_response_id=first.id, stream=False
        )
        third = await client.responses.create(
            model="ai/tiny", input="gamma", previous_response_id=second.id, instructions="new"
        )

    assert "system:old user:alpha" == first.output_text
    assert f"user:alpha assistant:{first.output_text} user:beta" == second.output_text
    said = f"{second.output_text} assistant:{second.output_text} user:gamma"
    assert f"system:new {said}" == third.output_text
    assert second.id == third.previous_response_id


async def test_a_chain_outlives_the_daemon(make_daemon: "Make") -> None:
    """Another daemon on the same file goes on with it."""
    daemon = await scripted(make_daemon, recite=True)
    path = daemon.folder / ".local/state/modelrunner/responses.db"
    async with connect(daemon) as client:
        first = await client.responses.create(model="ai/tiny", input="alpha")
    other = await make_daemon(engine={"recite": True}, DMR_RESPONSES_PATH=str(path))
    await other.add("docker.io/ai/tiny:latest")
    async with connect(other) as client:
        second = await client.responses.create(model="ai/tiny", input="beta", previous_response_id=first.id)

    assert "user:alpha assistant:user:alpha user:beta" == second.output_text
    assert 0o600 == path.stat().st_mode & 0o777


@pytest.mark.parametrize("stream", [False, True])
async def test_a_function_is_called_and_its_result_is_used(make_daemon: "Make", stream: bool) -> None:
    """The call comes out as an item, whole although its arguments came in pieces."""
    daemon = await scripted(make_daemon, call="age", recite=True)
    async with connect(daemon) as client:
        if stream:
            async with client.responses.stream(model="ai/tiny", input="how old", tools=[TOOL]) as events:
                kinds = [event.type async for event in events]
                first: Any = await events.get_final_response()
            assert 2 == kinds.count("response.function_call_arguments.delta")
            assert 1 == kinds.count("response.function_call_arguments.done")
        else:
            first = await client.responses.create(model="ai/tiny", input="how old", tools=[TOOL])
        [call] = first.output
        second = await client.responses.create(
            model="ai/tiny",
            tools=[TOOL],
            previous_response_id=first.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "seven"}],
        )

    assert ("function_call", "age", '{"of": 7}') == (call.type, call.name, call.arguments)
    assert "user:how old assistant: tool:seven" == second.output_text


async def test_tools_are_refused_for_a_model_that_knows_none(client: openai.AsyncOpenAI) -> None:
    """Its template would leave them out without a word."""
    with pytest.raises(openai.BadRequestError, match="does not support tools"):
        await client.responses.create(model="ai/tiny", input="how old", tools=[TOOL])


async def test_what_is_not_to_be_stored_is_not(client: openai.AsyncOpenAI) -> None:
    """The answer says so."""
    made = await client.responses.create(model="ai/tiny", input="one", store=False)

    assert made.to_dict()["store"] is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_nothing_is_stored_where_the_operator_wants_it_so(make_daemon: "Make") -> None:
    """With no space for it, answers say that they are not stored, and no background is to be had."""
    daemon = await make_daemon(DMR_RESPONSES="0")
    await daemon.add("docker.io/ai/tiny:latest")
    async with connect(daemon) as client:
        made = await client.responses.create(model="ai/tiny", input="one")

        assert made.to_dict()["store"] is False
        with pytest.raises(openai.BadRequestError, match="nothing is kept"):
            await client.responses.create(model="ai/tiny", input="one", background=True)


async def finished(client: openai.AsyncOpenAI, name: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            found = await client.responses.retrieve(name)
            if found.status not in {"queued", "in_progress"}:
                return found
            await asyncio.sleep(0.01)


async def test_a_response_is_made_in_the_background(client: openai.AsyncOpenAI) -> None:
    """The answer comes at once, the response when it is complete."""
    made = await client.responses.create(model="ai/tiny", input="one two", background=True)
    found = await finished(client, made.id)

    assert "queued" == made.status
    assert ("completed", "one two", True) == (found.status, found.output_text, found.background)


async def test_a_background_response_is_cancelled(make_daemon: "Make") -> None:
    """The engine stops, what was answered before stays, and a second time changes nothing."""
    daemon = await scripted(make_daemon, tokens=100_000, tokens_per_second=200)
    async with connect(daemon) as client:
        made = await client.responses.create(model="ai/tiny", input="one two", background=True)
        await daemon.engine_says("generation started")
        cancelled = await client.responses.cancel(made.id)
        await daemon.engine_says("aborted by client")

        assert "cancelled" == cancelled.status
        assert cancelled == await client.responses.cancel(made.id)
        assert "cancelled" == (await client.responses.retrieve(made.id)).status
        assert [0] == [resident.leases for resident in daemon.residents]


async def test_a_background_stream_is_taken_up_where_it_broke_off(make_daemon: "Make") -> None:
    """While it is made, and after it has ended: each event once, in order."""
    daemon = await scripted(make_daemon, tokens=40, tokens_per_second=100)
    body = {"model": "ai/tiny", "input": "a b", "background": True, "stream": True}
    first: list[Any] = []
    async with daemon.session.post(f"{daemon.url}/v1/responses", json=body) as reply:
        while len(first) < 6:
            line = await reply.content.readline()
            first += [json.loads(line[6:])] if line.startswith(b"data: ") else []
    name = first[0]["response"]["id"]
    async with connect(daemon) as client:
        behind = await client.responses.retrieve(name, stream=True, starting_after=5)
        rest = [event.to_dict() async for event in behind]
        again = [event.to_dict() async for event in await client.responses.retrieve(name, stream=True)]
        stored = await client.responses.retrieve(name)

    assert ["response.created", "response.queued", "response.in_progress"] == [
        each["type"] for each in first[:3]
    ]
    assert list(range(len(again))) == [event["sequence_number"] for event in [*first, *rest]]
    assert again == [*first, *rest]
    assert "response.completed" == rest[-1]["type"]
    assert ("completed", stored.to_dict()) == (stored.status, rest[-1]["response"])


async def test_events_outlive_the_daemon(make_daemon: "Make", tmp_path: Path) -> None:
    """They are kept with the response."""
    kept = {"DMR_RESPONSES_PATH": str(tmp_path / "responses.db")}
    first, second = [await make_daemon(**kept) for _ in range(2)]
    await first.add("docker.io/ai/tiny:latest")
    async with connect(first) as client:
        stream = await client.responses.create(model="ai/tiny", input="a b", background=True, stream=True)
        told: list[Any] = [event.to_dict() async for event in stream]
    async with connect(second) as client:
        again = await client.responses.retrieve(told[0]["response"]["id"], stream=True, starting_after=3)

        assert told[4:] == [event.to_dict() async for event in again]


async def test_a_background_stream_that_is_cancelled_or_fails_says_so(make_daemon: "Make") -> None:
    """In its last event."""
    slow = await scripted(make_daemon, tokens=100_000, tokens_per_second=50)
    failing = await scripted(make_daemon, crash_after_tokens=2)
    body = {"model": "ai/tiny", "input": "a b c", "background": True, "stream": True}
    async with slow.session.post(f"{slow.url}/v1/responses", json=body) as reply:
        await reply.content.readline()
        name = json.loads((await reply.content.readline())[6:])["response"]["id"]
        await slow.ask("POST", f"/v1/responses/{name}/cancel")
        cancelled = (await reply.read()).decode()
    failed = (await failing.ask("POST", "/v1/responses", json=body)).text

    assert '"code":"cancelled"' in cancelled.splitlines()[-2]
    assert "crashed on purpose" in failed
    assert "event: response.failed" == failed.splitlines()[-3]


async def test_only_what_was_made_as_a_stream_in_the_background_has_events(
    client: openai.AsyncOpenAI,
) -> None:
    """400 with the way out; 404 for what is not there."""
    made = await client.responses.create(model="ai/tiny", input="a")
    for name, error in ((made.id, openai.BadRequestError), ("resp_0", openai.NotFoundError)):
        with pytest.raises(error):
            await client.responses.retrieve(name, stream=True)
    with pytest.raises(openai.BadRequestError, match="starting_after"):
        await client.get(f"/responses/{made.id}?stream=true&starting_after=x", cast_to=str)


async def test_a_conversation_is_made_short(able: "Daemon") -> None:
    """The user's messages stay, the rest becomes a summary, which the next request sends along."""
    async with connect(able) as client:
        first = await client.responses.create(model="ai/tiny", input="one two")
        short = await client.responses.compact(
            model="ai/tiny", previous_response_id=first.id, input=[{"role": "user", "content": "three"}]
        )
        said = [item.to_dict(warnings=False) for item in short.output]
        following: Any = [*said, {"role": "user", "content": "four"}]
        await client.responses.create(model="ai/tiny", input=following)
    [key] = [resident.key for resident in able.residents]
    lease = able.services.pool.try_lease(key)
    assert lease is not None
    async with lease.running.request("GET", "/asked", (), b"") as upstream:
        asked = json.loads(b"".join([piece async for piece in upstream.chunks()]))
    lease.release()
    *messages, summary, last = [message["content"] for message in asked["messages"]]

    assert ["message", "message", "compaction"] == [item["type"] for item in said]
    assert ("response.compaction", True) == (short.object, short.usage.output_tokens > 0)
    assert (["one two", "three"], "four") == (messages, last)
    assert summary.startswith("Summary of the conversation so far:\n")
    assert "Write a summary" in summary  # the scripted engine says what it is asked


async def test_a_conversation_too_long_for_a_summary_loses_its_beginning(make_daemon: "Make") -> None:
    """Rather than that nothing can be done about it."""
    daemon = await make_daemon(engine={"context": 150})
    await daemon.add("docker.io/ai/tiny:latest")
    items: Any = [{"role": "user", "content": "word " * 60} for _ in range(3)]
    async with connect(daemon) as client:
        short = await client.responses.compact(model="ai/tiny", input=items)
        with pytest.raises(openai.BadRequestError, match="prompt is too long"):
            await client.responses.compact(model="ai/tiny", input=f"{'word ' * 200}")

    assert 4 == len(short.output)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "ai/tiny"}, "nothing to make short"),
        ({"input": "a"}, "model is required"),
        (
            {"model": "ai/tiny", "input": [{"type": "compaction", "encrypted_content": "gAAA"}]},
            "not from here",
        ),
        (
            {"model": "ai/tiny", "input": [{"type": "compaction", "encrypted_content": "mr1.*"}]},
            "not from here",
        ),
    ],
)
async def test_what_cannot_be_made_short_is_refused(tiny: "Daemon", body: dict[str, Any], words: str) -> None:
    """In OpenAI's form."""
    answer = await tiny.ask("POST", "/v1/responses/compact", json=body)

    assert 400 == answer.status
    assert words in answer.json["error"]["message"]


@pytest.mark.parametrize("prefix", ["", "/v1", "/engines/llama.cpp/v1"])
async def test_the_tokens_of_a_prompt_are_counted(able: "Daemon", prefix: str) -> None:
    """As its engine reads it, with the chain that it follows."""
    async with connect(able, prefix) as client:
        first = await client.responses.create(model="ai/tiny", input="one two")
        alone = await client.responses.input_tokens.count(model="ai/tiny", input="one two")
        chained = await client.responses.input_tokens.count(
            model="ai/tiny", input="one two", previous_response_id=first.id
        )

    assert ("response.input_tokens", 2, 6) == (alone.object, alone.input_tokens, chained.input_tokens)


async def test_only_a_background_response_can_be_cancelled(client: openai.AsyncOpenAI) -> None:
    """And one that exists."""
    made = await client.responses.create(model="ai/tiny", input="one")

    with pytest.raises(openai.BadRequestError, match="not a background response"):
        await client.responses.cancel(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.cancel("resp_absent")


async def test_the_end_of_the_daemon_is_the_end_of_background_responses(make_daemon: "Make") -> None:
    """They are kept as failed, with the reason."""
    daemon = await scripted(make_daemon, tokens=100_000, tokens_per_second=200)
    async with connect(daemon) as client:
        made = await client.responses.create(model="ai/tiny", input="one", background=True)
        await daemon.engine_says("generation started")
        await daemon.services.responding.close()
        found = await client.responses.retrieve(made.id)

        assert "failed" == found.status
        assert found.error is not None
        assert "stopped before" in found.error.message
        with pytest.raises(openai.InternalServerError, match="shutting down"):
            await client.responses.create(model="ai/tiny", input="one", background=True)


async def test_a_client_that_leaves_stops_the_engine(make_daemon: "Make") -> None:
    """What was answered by then is kept as cancelled."""
    daemon = await scripted(make_daemon, tokens=100_000, tokens_per_second=200)
    async with connect(daemon) as client:
        stream = await client.responses.create(model="ai/tiny", input="one two", stream=True)
        first = await anext(aiter(stream))
        await stream.close()
        await daemon.engine_says("aborted by client")
        assert first.type == "response.created"

        assert "cancelled" == (await finished_or_absent(client, first.response.id)).status


async def finished_or_absent(client: openai.AsyncOpenAI, name: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.responses.retrieve(name)
            except openai.NotFoundError:
                await asyncio.sleep(0.01)


async def test_an_engine_that_breaks_off_fails_the_response(make_daemon: "Make") -> None:
    """In the stream as events, the last with the response, which is kept with what there was."""
    daemon = await scripted(make_daemon, tokens=10, crash_after_tokens=2, tokens_per_second=500)
    async with connect(daemon) as client:
        stream = await client.responses.create(model="ai/tiny", input="one two", stream=True)
        events = [event async for event in stream]
        last = events[-1]
        assert last.type == "response.failed"
        kept = await client.responses.retrieve(last.response.id)

    assert "error" in [event.type for event in events]
    assert list(range(len(events))) == [event.sequence_number for event in events]
    assert ("failed", "one two ") == (kept.status, kept.output_text)


async def test_an_error_before_the_stream_has_a_status(make_daemon: "Make") -> None:
    """It is the engine's, in OpenAI's form."""
    daemon = await scripted(make_daemon, status=429)
    async with connect(daemon) as client:
        with pytest.raises(openai.RateLimitError, match="refused on purpose"):
            await client.responses.create(model="ai/tiny", input="one", stream=True)


async def test_a_conversation_that_is_too_long_is_an_error_or_shortened(make_daemon: "Make") -> None:
    """As `truncation` says; then the oldest turns go, and the answer tells how much."""
    daemon = await scripted(make_daemon, context=8, recite=True)
    items: Any = [{"role": "user", "content": f"{word} {word}"} for word in ("a", "b", "c", "d", "e")]
    async with connect(daemon) as client:
        with pytest.raises(openai.BadRequestError, match="prompt is too long") as caught:
            await client.responses.create(model="ai/tiny", input=items, instructions="be brief")
        answer = await client.responses.with_raw_response.create(
            model="ai/tiny", input=items, instructions="be brief", truncation="auto"
        )
        made = answer.parse()
        with pytest.raises(openai.BadRequestError, match="prompt is too long"):
            await client.responses.create(model="ai/tiny", input="x " * 30, truncation="auto")

    assert "context_length_exceeded" == caught.value.code
    assert "system:be brief user:d d user:e e" == made.output_text
    assert "3" == answer.headers["x-context-dropped"]
    assert made.usage is not None
    assert 3 == made.usage.to_dict()["dropped_messages"]


async def test_length_makes_it_incomplete(client: openai.AsyncOpenAI) -> None:
    """With the reason, and a last event of that name."""
    stream = await client.responses.create(
        model="ai/tiny", input="one two three", max_output_tokens=2, stream=True
    )
    last = [event async for event in stream][-1]

    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert "max_output_tokens" == last.response.incomplete_details.reason


async def test_items_of_the_input_are_listed_in_pages(client: openai.AsyncOpenAI) -> None:
    """From either end."""
    items: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    made = await client.responses.create(model="ai/tiny", input=items)
    newest = await client.responses.input_items.list(made.id, limit=2)
    oldest = [item async for item in client.responses.input_items.list(made.id, order="asc", limit=2)]

    assert ["4", "3"] == texts(newest.data)
    assert ["0", "1", "2", "3", "4"] == texts(oldest)
    with pytest.raises(openai.BadRequestError, match="after"):
        await client.responses.input_items.list(made.id, after="msg_absent")


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (b"{", 400, "invalid_request", "invalid request"),
        (b"[]", 400, "invalid_request", "invalid request"),
        (b'{"input": "x"}', 400, "invalid_request", "model is required"),
        (b'{"model": "ai/absent", "input": "x"}', 404, "model_not_found", "model not found"),
        (
            b'{"model": "ai/tiny", "input": "x", "previous_response_id": "resp_no"}',
            400,
            "previous_response_not_found",
            "Previous response with id `resp_no` not found",
        ),
        (b'{"model": "ai/tiny", "input": 7}', 400, "invalid_request", "input"),
    ],
)
@pytest.mark.parametrize("path", ["/responses", "/v1/responses", "/engines/llama.cpp/v1/responses"])
async def test_errors_are_openais(
    tiny: "Daemon", path: str, body: bytes, status: int, code: str, words: str
) -> None:
    """With a status and a code, behind every prefix, and no engine is started for them."""
    answer = await tiny.ask("POST", path, data=body)

    assert (status, code) == (answer.status, answer.json["error"]["code"])
    assert words in answer.json["error"]["message"]
    assert () == tiny.residents


async def test_what_is_missing_is_told_in_openais_form(tiny: "Daemon") -> None:
    """For every action."""
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        answer = await tiny.ask(method, f"/responses/resp_absent{path}")
        assert (404, "not_found") == (answer.status, answer.json["error"]["code"])
