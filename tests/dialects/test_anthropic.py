"""Anthropic's requests in OpenAI's words."""

import base64
import json
import struct
from typing import Any

import pytest

from modelrunner.dialects.anthropic import Anthropic, body_of, has_pictures, read, read_count, wishes_of
from modelrunner.errors import Busy, ContextExceeded, InvalidRequest, ModelNotFound, RunnerError

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 8, 8)).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
TOOL = {"name": "f", "description": "does", "input_schema": {"type": "object", "properties": {}}}
FUNCTION: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "description": "does", "parameters": {"type": "object", "properties": {}}},
}
USER = {"role": "user", "content": "hi"}


def asked(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 5, "messages": messages or [USER], **more}).encode()


def turned(*messages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = body_of(read(asked(*messages, **more)))["messages"]
    return written


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (USER, [USER]),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            [{"role": "user", "content": "a\nb"}],
        ),
        (
            {"role": "user", "content": [IMAGE, {"type": "text", "text": "a"}]},
            [{"role": "user", "content": [PICTURE, {"type": "text", "text": "a"}]}],
        ),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            },
            [{"role": "user", "content": "a"}],
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "document", "title": "T", "source": {"type": "text", "data": "words"}},
                    {"type": "document", "source": {"type": "content", "content": "more"}},
                ],
            },
            [{"role": "user", "content": "T\nwords\nmore"}],
        ),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "so"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                ],
            },
            [
                {
                    "role": "assistant",
                    "content": "so",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {
                            "id": "t1",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"a":1}'},
                        }
                    ],
                }
            ],
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "42"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no"}, IMAGE],
                    },
                    {"type": "tool_result", "tool_use_id": "t3"},
                    {"type": "text", "text": "and?"},
                ],
            },
            [
                {"role": "tool", "tool_call_id": "t1", "content": "42"},
                {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
                {"role": "tool", "tool_call_id": "t3", "content": ""},
                {"role": "user", "content": [PICTURE, {"type": "text", "text": "and?"}]},
            ],
        ),
        ({"role": "system", "content": "now"}, [{"role": "system", "content": "now"}]),
    ],
)
def test_a_turn_is_turned(message: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    """Blocks become text, parts, calls and messages of tools; what only Anthropic can read is left out."""
    assert expected == turned(message)


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("be", [{"role": "system", "content": "be"}, USER]),
        (
            [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            [{"role": "system", "content": "a\nb"}, USER],
        ),
        ("", [USER]),
        ([], [USER]),
    ],
)
def test_a_system_prompt_comes_first(system: object, expected: list[dict[str, Any]]) -> None:
    """As a text, or as blocks."""
    assert expected == turned(system=system)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"tools": [FUNCTION, FUNCTION | {"function": FUNCTION["function"] | {"name": "g"}}]}),
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": "required", "tools": [FUNCTION]}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"parallel_tool_calls": False}),
    ],
)
def test_tools_and_their_choice_are_openais(choice: object, expected: dict[str, Any]) -> None:
    """A tool that is named is the only one there is."""
    body = body_of(read(asked(tools=[TOOL, TOOL | {"name": "g"}], tool_choice=choice)))

    assert expected == {name: body[name] for name in expected}


@pytest.mark.parametrize(
    ("thinking", "messages", "expected"),
    [
        (None, [USER], False),
        ({"type": "disabled"}, [USER], False),
        ({"type": "adaptive"}, [USER], True),
        ({"type": "between_tools"}, [USER], True),
        ({"type": "enabled", "budget_tokens": 1024}, [USER], True),
        ({"type": "enabled", "budget_tokens": 1024}, [USER, {"role": "assistant", "content": "so"}], False),
    ],
)
def test_a_model_thinks_when_it_is_asked_to(
    thinking: object, messages: list[dict[str, Any]], expected: bool
) -> None:
    """Not otherwise, and not in an answer that has been begun."""
    body = body_of(read(asked(*messages, thinking=thinking)))

    assert {"enable_thinking": expected} == body["chat_template_kwargs"]


def test_a_budget_is_passed_on() -> None:
    """In tokens, under llama.cpp's name."""
    body = body_of(read(asked(thinking={"type": "enabled", "budget_tokens": 1024})))

    assert 1024 == body["reasoning_budget_tokens"]


def test_an_effort_is_for_the_template() -> None:
    """Templates that know efforts take it from there."""
    body = body_of(read(asked(output_config={"effort": "low"})))

    assert "low" == body["chat_template_kwargs"]["reasoning_effort"]


def test_wishes_are_openais() -> None:
    """The stop sequences are not among them: they are looked for here."""
    schema = {"type": "object"}
    request = read(
        asked(
            temperature=0.5,
            top_p=0.9,
            top_k=3,
            stop_sequences=["x"],
            metadata={"user_id": "u"},
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
    )

    assert {
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "user": "u",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
    } == wishes_of(request)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "invalid request"),
        (b"[]", "invalid request"),
        (b"{}", "model"),
        (b'{"model": "m", "max_tokens": 5}', "messages"),
        (b'{"model": "m", "messages": []}', "max_tokens"),
        (b'{"model": "m", "max_tokens": 5, "messages": {}}', "messages"),
        (asked(max_tokens=0), "max_tokens"),
        (asked(max_tokens="5"), "max_tokens"),
        (asked({"role": "user"}), "content"),
        (asked({"content": "x"}), "role"),
        (asked({"role": "user", "content": 7}), "content"),
        (asked(stream="yes"), "stream"),
        (asked(tools={}), "tools"),
        (asked(tools=[{"input_schema": {}}]), "name"),
        (asked(stop_sequences="x"), "stop_sequences"),
    ],
)
def test_a_request_of_wrong_types_is_refused(body: bytes, words: str) -> None:
    """The sentence names the field."""
    with pytest.raises(InvalidRequest, match=words):
        read(body)


@pytest.mark.parametrize(
    ("message", "more", "words"),
    [
        ({"role": "robot", "content": "x"}, {}, "unexpected role `robot`"),
        ({"role": "user", "content": [{"type": "video"}]}, {}, "type `video`"),
        ({"role": "user", "content": [{"type": "text"}]}, {}, "no text"),
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]},
            {},
            "`image` from `url`",
        ),
        (
            {"role": "user", "content": [{"type": "document", "source": {"type": "base64", "data": ""}}]},
            {},
            "`document` from `base64`",
        ),
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "x"}}]},
            {},
            "invalid image",
        ),
        ({"role": "assistant", "content": [IMAGE]}, {}, "type `image`"),
        (USER, {"tools": [{"name": "f"}]}, "no schema"),
        (USER, {"tools": [{"name": "f", "input_schema": {"type": "string"}}]}, "no schema"),
        (USER, {"tools": [{"name": "bash", "type": "bash_20250124"}]}, "not supported here"),
        (USER, {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "no tool is called `g`"),
        (USER, {"tools": [TOOL], "tool_choice": {"type": "maybe"}}, "tool_choice"),
    ],
)
def test_what_has_no_place_here_is_refused(message: dict[str, Any], more: dict[str, Any], words: str) -> None:
    """Rather than left out in silence."""
    with pytest.raises(InvalidRequest, match=words):
        turned(message, **more)


def test_a_form_of_the_answer_that_is_none_is_refused() -> None:
    """Only schemas are known."""
    with pytest.raises(InvalidRequest, match="output_config"):
        wishes_of(read(asked(output_format={"type": "xml"})))


def test_no_message_is_refused() -> None:
    """There is nothing to answer."""
    with pytest.raises(InvalidRequest, match="at least one message"):
        body_of(read_count(b'{"model": "m", "messages": []}'))


def test_pictures_are_seen_wherever_they_are() -> None:
    """Also in what a tool has given back."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}

    assert not has_pictures(body_of(read(asked())))
    assert has_pictures(body_of(read(asked({"role": "user", "content": [IMAGE]}))))
    assert has_pictures(body_of(read(asked({"role": "user", "content": [result]}))))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelNotFound("model not found: `x`", hint="pull it"), "not_found_error"),
        (ContextExceeded("prompt is too long: 9 tokens > 8 maximum"), "invalid_request_error"),
        (Busy("too many"), "overloaded_error"),
        (RunnerError("oh"), "api_error"),
    ],
)
def test_errors_are_anthropics(error: RunnerError, kind: str) -> None:
    """Before the headers, and as an event."""
    body = json.loads(Anthropic().error(error))
    event = Anthropic().late_error(error).decode()

    assert ("error", kind) == (body["type"], body["error"]["type"])
    assert body["error"]["message"].startswith(error.message)
    assert event.startswith("event: error\ndata: {")
    assert event.endswith("}\n\n")
