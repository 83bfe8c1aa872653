"""Tools through the gateway to Anthropic: OpenAI's client on one side, Anthropic's own types on the other."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx
import openai
import pydantic
import pytest
from anthropic import types
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from modelrunner.dialects import anthropic as dialect
from modelrunner.errors import InvalidRequest
from modelrunner.gateway.anthropic import request
from modelrunner.gateway.app import Gateway
from modelrunner.gateway.config import parse
from modelrunner.gateway.upstream import opened
from modelrunner.testing.serving import serving, serving_in_thread

_REQUESTS = pydantic.TypeAdapter(MessageCreateParamsBase)
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
NOW: ChatCompletionToolParam = {"type": "function", "function": {"name": "now"}}
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How is it in Oslo and in Rome?"}]
BLOCKS: list[types.ContentBlock] = [
    types.ThinkingBlock(type="thinking", thinking="Two towns.", signature="s"),
    types.TextBlock(type="text", text="Let me look."),
    types.ToolUseBlock(type="tool_use", id="toolu_1", name="weather", input={"town": "Oslo"}),
    types.ToolUseBlock(type="tool_use", id="toolu_2", name="weather", input={"town": "Rome"}),
    types.ToolUseBlock(type="tool_use", id="toolu_3", name="now", input={}),
]
USAGE = types.Usage(input_tokens=5, cache_creation_input_tokens=2, cache_read_input_tokens=3, output_tokens=1)


class Claude:
    """Answers in Anthropic's types with calls of tools, and takes nothing that its types do not have."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.breaks_off = False

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/messages", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        fields = {name: value for name, value in body.items() if name != "stream"}
        assert _drained(_REQUESTS.validate_python(fields)) == fields, "a field that is not known there"
        self.asked.append(body)
        if body.get("stream"):
            events = list(_events())[: 4 if self.breaks_off else None]
            text = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)
            return Response(text, media_type="text/event-stream")
        message = types.Message(
            id="msg_1",
            type="message",
            role="assistant",
            model="claude",
            content=BLOCKS,
            stop_reason="tool_use",
            usage=USAGE,
        )
        return JSONResponse(message.model_dump(mode="json"))


def _events() -> Iterator[dict[str, Any]]:
    """The same answer in pieces, each checked by its type."""
    adapter: pydantic.TypeAdapter[object] = pydantic.TypeAdapter(types.RawMessageStreamEvent)
    begun = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    usage = USAGE.model_dump(mode="json")
    raw: list[dict[str, Any]] = [{"type": "message_start", "message": {**begun, "usage": usage}}]
    for index, block in enumerate(BLOCKS):
        whole = block.model_dump(mode="json")
        match block:
            case types.ToolUseBlock():
                text = json.dumps(block.input) if block.input else ""
                start = {**whole, "input": {}}
                cut = [text[:4], text[4:]] if text else [""]
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in cut]
            case types.ThinkingBlock():
                start = {**whole, "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": block.thinking}]
            case _:
                start = {**whole, "text": ""}
                deltas = [{"type": "text_delta", "text": "Let me "}, {"type": "text_delta", "text": "look."}]
        raw.append({"type": "content_block_start", "index": index, "content_block": start})
        raw += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        raw.append({"type": "content_block_stop", "index": index})
    raw.append({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}})
    raw.append({"type": "message_stop"})
    for event in raw:
        adapter.validate_python(event)
        yield event


def _called(name: str, function: str, arguments: str) -> dict[str, object]:
    return {"id": name, "type": "function", "function": {"name": function, "arguments": arguments}}


def _drained(value: Any) -> Any:
    """Have validated what pydantic only validates when it is looked at."""
    if isinstance(value, dict):
        return {name: _drained(each) for name, each in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_drained(each) for each in value]


@pytest.fixture
def claude() -> Claude:
    return Claude()


@pytest.fixture
async def client(claude: Claude) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client of a gateway before it."""
    async with contextlib.AsyncExitStack() as stack:
        base = stack.enter_context(serving_in_thread(claude.app()))
        params = {"model": "anthropic/c", "api_base": base, "api_key": "k", "max_retries": 0}
        document = {"model_list": [{"model_name": "claude", "params": params}]}
        config = parse(json.dumps(document), {}, "http://127.0.0.1:9")
        upstream = await stack.enter_async_context(opened())
        url = await stack.enter_async_context(serving(Gateway(config, upstream).app()))
        yield await stack.enter_async_context(
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
        )


async def test_a_conversation_with_tools_goes_there_and_back(
    claude: Claude, client: openai.AsyncOpenAI
) -> None:
    """Calls side by side, their results, and a choice; the second request has the first answer in it."""
    first = await client.chat.completions.create(
        model="claude", messages=ASKED, tools=[WEATHER, NOW], tool_choice="required"
    )
    said = first.choices[0].message
    calls = said.tool_calls or []
    results: list[ChatCompletionMessageParam] = [
        {"role": "tool", "tool_call_id": call.id, "content": f"fine {number}"}
        for number, call in enumerate(calls)
    ]
    await client.chat.completions.create(
        model="claude",
        messages=[
            *ASKED,
            cast("ChatCompletionMessageParam", said.to_dict()),
            *results,
            {"role": "user", "content": "Well?"},
        ],
        tools=[WEATHER, NOW],
        tool_choice={"type": "function", "function": {"name": "now"}},
        parallel_tool_calls=False,
    )

    assert (first.choices[0].finish_reason, said.content) == ("tool_calls", "Let me look.")
    assert [call.to_dict() for call in calls] == [
        _called("toolu_1", "weather", '{"town":"Oslo"}'),
        _called("toolu_2", "weather", '{"town":"Rome"}'),
        _called("toolu_3", "now", "{}"),
    ]
    assert first.usage is not None
    assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (10, 1)
    assert claude.asked[0]["tools"] == [
        {
            "name": "weather",
            "description": "Tells the weather.",
            "input_schema": WEATHER["function"]["parameters"],
        },
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert claude.asked[0]["tool_choice"] == {"type": "any"}
    assert claude.asked[1]["tool_choice"] == {
        "type": "tool",
        "name": "now",
        "disable_parallel_tool_use": True,
    }
    question, answer, results_turn = claude.asked[1]["messages"]
    assert question["role"] == "user"
    assert answer["content"] == [block.model_dump(mode="json", exclude_none=True) for block in BLOCKS[1:]]
    assert results_turn["content"] == [
        *(
            {"type": "tool_result", "tool_use_id": f"toolu_{number + 1}", "content": f"fine {number}"}
            for number in range(3)
        ),
        {"type": "text", "text": "Well?"},
    ]


async def test_calls_of_tools_stream(client: openai.AsyncOpenAI) -> None:
    """In pieces, each with the number of its call, and whole when they are put together."""
    async with client.chat.completions.stream(
        model="claude", messages=ASKED, tools=[WEATHER, NOW], stream_options={"include_usage": True}
    ) as stream:
        kinds = [event.type async for event in stream]
        whole = await stream.get_final_completion()

    message = whole.choices[0].message
    assert (whole.choices[0].finish_reason, message.content) == ("tool_calls", "Let me look.")
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []] == [
        ("toolu_1", "weather", '{"town": "Oslo"}'),
        ("toolu_2", "weather", '{"town": "Rome"}'),
        ("toolu_3", "now", "{}"),
    ]
    assert kinds.count("tool_calls.function.arguments.done") == 3
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (10, 9)


async def test_a_stream_without_an_end_says_so(claude: Claude, client: openai.AsyncOpenAI) -> None:
    """Half of a call would be run as if it were whole."""
    claude.breaks_off = True
    stream = await client.chat.completions.create(
        model="claude", messages=ASKED, tools=[WEATHER], stream=True
    )

    with pytest.raises(openai.APIError, match="broke off"):
        [chunk async for chunk in stream]


MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "How is it?"},
    {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"town":"Oslo"}'}},
            {"id": "b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": "rain"},
    {"role": "tool", "tool_call_id": "b", "content": "noon"},
    {"role": "user", "content": "And?"},
]


def test_the_daemon_s_own_translation_is_the_way_back() -> None:
    """What is made of a question for Anthropic is, read by the daemon's dialect, the question again."""
    asked = {
        "messages": MESSAGES,
        "tools": [WEATHER],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }

    back = dialect.body_of(dialect.read(json.dumps(request(asked, "m")).encode()))

    assert back["messages"] == MESSAGES
    assert back["tools"] == [WEATHER]
    assert (back["tool_choice"], back["parallel_tool_calls"]) == ("required", False)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "now"}}, {"type": "tool", "name": "now"}),
    ],
)
def test_a_choice_of_tools_has_its_counterpart(choice: object, expected: object) -> None:
    asked = {"messages": ASKED, "tools": [WEATHER, NOW], "tool_choice": choice}

    assert request(asked, "m")["tool_choice"] == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": 7, "max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"max_tokens": None}, {}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
        ({"temperature": None, "stream": False}, {"stream": False}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
        ({"user": "me"}, {"metadata": {"user_id": "me"}}),
        ({"seed": 1, "n": 2, "tools": []}, {}),
    ],
)
def test_parameters_have_their_counterparts(body: dict[str, Any], expected: dict[str, Any]) -> None:
    """A zero is a value; what Anthropic does not know is left out, and a limit is always there."""
    written = request({"messages": [], **body}, "claude")

    assert written == {"model": "claude", "messages": [], "max_tokens": 4096, **expected}


def test_of_the_tools_those_that_are_allowed_are_sent() -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}

    written = request({"messages": ASKED, "tools": [WEATHER, NOW], "tool_choice": choice}, "m")

    assert ([tool["name"] for tool in written["tools"]], written["tool_choice"]) == (["now"], {"type": "any"})


def test_pictures_files_and_a_schema_have_their_places() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
    ]
    schema = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}

    written = request({"messages": [{"role": "user", "content": content}], "response_format": form}, "m")

    assert _drained(_REQUESTS.validate_python(written)) == written
    assert [block["type"] for block in written["messages"][0]["content"]] == ["image", "image", "document"]
    assert written["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": "hi"}, "`messages`: expected `array`"),
        ({"messages": [{"role": "function", "content": "x"}]}, "unexpected role `function`"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "type `input_audio`"),
        ({"messages": [], "tools": [{"type": "custom", "custom": {}}]}, "tools: `custom`"),
        ({"messages": [], "tool_choice": "always"}, "tool_choice: `always`"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
                ]
            },
            "the arguments of the call of `f` are no JSON object",
        ),
    ],
)
def test_what_has_no_place_there_is_refused_by_name(body: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        request(body, "m")


async def test_a_refusal_reaches_the_client(client: openai.AsyncOpenAI) -> None:
    """With what was wrong and where."""
    async with httpx.AsyncClient() as plain:
        body = {"model": "claude", "messages": [{"content": "hi"}]}
        answer = await plain.post(f"{client.base_url}chat/completions", json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[0].role")
