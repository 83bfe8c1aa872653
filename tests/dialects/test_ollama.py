"""Ollama's requests in OpenAI's words."""

import base64
import json
import struct
from typing import Any

import pytest

from modelrunner.dialects import ollama
from modelrunner.dialects.ollama import (
    ChatRequest,
    GenerateRequest,
    Ollama,
    chat_messages,
    grammar,
    recall,
    remember,
    response_format,
    thinking,
    tools,
)
from modelrunner.dialects.reading import read
from modelrunner.errors import InvalidRequest, ModelNotFound

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 8, 8)).decode()
URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def turned(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    asked = read(json.dumps({"model": "x", "messages": messages}).encode(), ChatRequest)
    return chat_messages(asked.messages or [])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}),
        ({"role": "system", "content": "be"}, {"role": "system", "content": "be"}),
        ({"role": "user"}, {"role": "user", "content": ""}),
        (
            {"role": "user", "content": "see", "images": [PNG, PNG]},
            {"role": "user", "content": [{"type": "text", "text": "see"}, URL, URL]},
        ),
        ({"role": "user", "content": "", "images": [f" {PNG}\n"]}, {"role": "user", "content": [URL]}),
        (
            {"role": "user", "content": "", "images": [f"data:image/jpeg;base64,{PNG}"]},
            {"role": "user", "content": [URL]},
        ),
        (
            {"role": "assistant", "content": "so", "thinking": "hm"},
            {"role": "assistant", "content": "so", "reasoning_content": "hm"},
        ),
        ({"role": "user", "content": "hi", "unknown": 1}, {"role": "user", "content": "hi"}),
    ],
)
def test_a_message_is_turned(message: dict[str, Any], expected: dict[str, Any]) -> None:
    """Text stays a text; with images it becomes parts, in their order, with their true type."""
    assert [expected] == turned(message)


def test_calls_and_results_find_each_other() -> None:
    """Ollama's have no names of their own, so they are matched by function, else in their order."""
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    other = {"function": {"name": "g", "arguments": '{"b": 2}'}}
    messages = turned(
        {"role": "assistant", "tool_calls": [call, other]},
        {"role": "tool", "tool_name": "g", "content": "G"},
        {"role": "tool", "content": "F"},
        {"role": "assistant", "tool_calls": [{"id": "mine", **call}]},
        {"role": "tool", "tool_call_id": "mine", "content": "again"},
        {"role": "tool", "content": "nobody asked"},
    )

    first, second = messages[0]["tool_calls"]
    assert {"name": "f", "arguments": '{"a":1}'} == first["function"]
    assert {"name": "g", "arguments": '{"b": 2}'} == second["function"]
    assert [("call_1", "G"), ("call_0", "F"), ("mine", "again"), ("call_0", "nobody asked")] == [
        (message["tool_call_id"], message["content"]) for message in messages if message["role"] == "tool"
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "invalid request"),
        (b"[]", "invalid request"),
        (b"\xff", "invalid request"),
        (b"[" * 100_000, "invalid request"),
        (b'{"messages": {}}', "messages"),
        (b'{"messages": [{"content": "no role"}]}', "role"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "content"),
        (b'{"messages": [], "stream": "yes"}', "stream"),
        (b'{"messages": [], "options": []}', "options"),
        (b'{"messages": [], "tools": [{"function": {}}]}', "name"),
        (b'{"messages": [], "tools": {}}', "tools"),
        (b'{"messages": [], "keep_alive": true}', "keep_alive"),
        (b'{"model": 7}', "model"),
    ],
)
def test_a_request_of_wrong_types_is_refused(body: bytes, words: str) -> None:
    """The sentence names the field."""
    with pytest.raises(InvalidRequest, match=words):
        read(body, ChatRequest)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "robot", "content": "x"}, "invalid role: `robot`"),
        ({"role": "user", "images": ["no base64!"]}, "invalid image"),
        ({"role": "user", "images": [""]}, "invalid image"),
        ({"role": "user", "images": [base64.b64encode(b"text").decode()]}, "invalid image"),
        ({"role": "user", "images": ["https://example.com/a.png"]}, "is an address"),
    ],
)
def test_a_message_that_is_none_is_refused(message: dict[str, Any], words: str) -> None:
    """Before an engine sees it."""
    with pytest.raises(InvalidRequest, match=words):
        turned(message)


def test_tools_are_openais() -> None:
    """A tool without parameters has none; parameters of another type than an object are refused."""
    asked = read(b'{"tools": [{"type": "function", "function": {"name": "f"}}]}', ChatRequest)
    wrong = read(b'{"tools": [{"function": {"name": "f", "parameters": {"type": "string"}}}]}', ChatRequest)

    assert [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "",
                "parameters": {"type": "object", "properties": {}},
            },
        }
    ] == tools(asked.tools or [])
    with pytest.raises(InvalidRequest, match="no schema of an object"):
        tools(wrong.tools or [])


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_a_format_is_openais() -> None:
    """The word, a schema, or nothing; where no chat is, llama.cpp has a field of its own."""
    strict = {"name": "answer", "schema": SCHEMA, "strict": True}

    assert {} == response_format(None) == response_format("") == grammar(None)
    assert {"response_format": {"type": "json_object"}} == response_format("json")
    assert {"response_format": {"type": "json_schema", "json_schema": strict}} == response_format(SCHEMA)
    assert SCHEMA == grammar(SCHEMA)["json_schema"]


@pytest.mark.parametrize("asked", ["xml", 7, [], {}, True])
def test_a_format_that_is_none_is_refused(asked: object) -> None:
    """The hint says what there is."""
    with pytest.raises(InvalidRequest, match="invalid format"):
        response_format(asked)


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (None, {}),
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        ("high", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_think_is_for_the_template(think: bool | str | None, expected: dict[str, Any]) -> None:
    """Whether, and how much."""
    assert expected == thinking(think).get("chat_template_kwargs", {})


def test_an_effort_that_is_none_is_refused() -> None:
    """The hint lists them."""
    with pytest.raises(InvalidRequest, match="think"):
        thinking("very")


@pytest.mark.parametrize(
    ("keep_alive", "expected"),
    [(0, True), (0.0, True), ("0", True), ("0s", True), ("0m", True), (5, False), ("5m", False), (-1, False)],
)
def test_zero_unloads(keep_alive: object, expected: bool) -> None:
    """In all its forms."""
    body = json.dumps({"keep_alive": keep_alive}).encode()

    assert expected is read(body, GenerateRequest).unloads


def test_without_keep_alive_nothing_is_unloaded() -> None:
    """An empty prompt loads."""
    assert not read(b"{}", GenerateRequest).unloads


def test_the_older_name_of_a_model_wins() -> None:
    """As the reference has it."""
    assert "a" == read(b'{"name": "a", "model": "b"}', ChatRequest).wanted
    assert "b" == read(b'{"name": "", "model": "b"}', ChatRequest).wanted


def test_a_conversation_is_remembered() -> None:
    """It comes back as it was, and one that is too long is not sent at all."""
    said = [{"role": "user", "content": "grüße 😀"}]

    assert said == recall(remember(said))
    assert [] == recall(None) == recall([])
    assert remember([{"role": "user", "content": "x" * (ollama.MOST_REMEMBERED + 1)}]) is None


@pytest.mark.parametrize("context", [[1, 2, 3], [300], [-1], list(b"{}"), list(b"[7]")])
def test_a_context_of_somebody_else_is_refused(context: list[int]) -> None:
    """Tokens of another server mean nothing here."""
    with pytest.raises(InvalidRequest, match="invalid context"):
        recall(context)


def test_errors_have_a_text_and_nothing_around_it() -> None:
    """Clients print it, so the way out stands in it too."""
    error = ModelNotFound("model not found: `x`", hint="pull it")

    assert {"error": "model not found: `x` (pull it)", "code": "model_not_found"} == json.loads(
        Ollama().error(error)
    )
    assert Ollama().late_error(error).endswith(b"}\n")
