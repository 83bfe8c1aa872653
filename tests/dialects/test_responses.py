"""Requests of the Responses API as chats: what goes in, what the engine gets."""

from typing import Any

import msgspec
import pytest

from modelrunner.dialects.responses import beginning_of, body_of, read, shortened
from modelrunner.dialects.responses_items import items_of, named
from modelrunner.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CHAT_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def body(before: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    return body_of(read(msgspec.json.encode({"model": "m", "input": "hi"} | fields)), before or [])


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ({"input": "hi"}, [USER]),
        ({"input": [USER]}, [USER]),
        ({"input": [{"content": "hi"}]}, [USER]),
        ({"instructions": "be"}, [{"role": "system", "content": "be"}, USER]),
        (
            {"instructions": "be", "input": [{"role": "developer", "content": "brief"}, USER]},
            [{"role": "system", "content": "be\n\nbrief"}, USER],
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}, [USER]),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]}]},
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}],
        ),
        (
            {"input": [USER, {"role": "assistant", "content": [{"type": "output_text", "text": "yo"}]}]},
            [USER, {"role": "assistant", "content": "yo"}],
        ),
        (
            {"input": [USER, {"type": "message", "role": "assistant", "content": "yo"}, CALL]},
            [USER, {"role": "assistant", "content": "yo", "tool_calls": [CHAT_CALL]}],
        ),
        (
            {
                "input": [
                    USER,
                    {
                        "type": "reasoning",
                        "summary": [],
                        "content": [{"type": "reasoning_text", "text": "hm"}],
                    },
                    CALL,
                    CALL | {"call_id": "c2"},
                    {"type": "function_call_output", "call_id": "c1", "output": "7"},
                    {
                        "type": "function_call_output",
                        "call_id": "c2",
                        "output": [{"type": "input_text", "text": "8"}],
                    },
                ]
            },
            [
                USER,
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "hm",
                    "tool_calls": [CHAT_CALL, CHAT_CALL | {"id": "c2"}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "7"},
                {"role": "tool", "tool_call_id": "c2", "content": "8"},
            ],
        ),
    ],
)
def test_items_become_messages(fields: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """Turns of the user and of the model, calls and results, each in its place."""
    assert messages == body(**fields)["messages"]


def test_what_came_before_stands_between_instructions_and_input() -> None:
    """With the users' turns."""
    response = {
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yo"}]}
        ]
    }
    before = items_of([([USER], response)])

    assert ["system", "user", "assistant", "user"] == [
        message["role"] for message in body(before, instructions="be")["messages"]
    ]


def test_a_call_that_broke_off_was_never_made() -> None:
    """Its arguments may be no JSON, and nobody has answered it."""
    response = {"output": [CALL | {"status": "incomplete", "arguments": '{"a'}]}

    assert [USER] == items_of([([USER], response)])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 7}, {"max_tokens": 7}),
        ({"temperature": 0, "top_p": 0.5, "user": "u"}, {"temperature": 0.0, "top_p": 0.5, "user": "u"}),
        ({"tools": [TOOL]}, {"tools": [CHAT_TOOL]}),
        ({"tools": [{"type": "function", "function": TOOL | {"strict": True}}]}, {"tools": [CHAT_TOOL]}),
        (
            {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
            {"tools": [CHAT_TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"tools": [TOOL, TOOL | {"name": "g"}], "tool_choice": {"type": "function", "name": "f"}},
            {"tools": [CHAT_TOOL], "tool_choice": "required"},
        ),
        (
            {
                "tools": [TOOL, TOOL | {"name": "g"}],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "f"}]},
            },
            {"tools": [CHAT_TOOL], "tool_choice": "auto"},
        ),
        ({"text": {"format": {"type": "text"}}}, {}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {}, "strict": True},
                }
            },
        ),
        (
            {"reasoning": {"effort": "low"}},
            {
                "reasoning_effort": "low",
                "chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "low"},
            },
        ),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True, "top_logprobs": 0}),
        ({"background": False, "truncation": "disabled", "stream_options": None, "conversation": None}, {}),
    ],
)
def test_fields_have_a_counterpart(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """And nothing else is added."""
    assert {"model": "m", "messages": [USER], **expected} == body(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": ""}, "model is required"),
        ({"input": None}, "input is required"),
        ({"input": [7]}, "invalid request"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "`item_reference` is not supported"),
        ({"input": [{"role": "robot", "content": "x"}]}, "no role is called `robot`"),
        ({"input": [{"role": "user", "content": 7}]}, "content must be a string or an array"),
        ({"input": [{"role": "user", "content": [7]}]}, "content must be a string or an array"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "`input_file` is not supported"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "has no text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x/y"}]}]},
            "an image has to be inline",
        ),
        ({"input": [{"type": "function_call_output", "call_id": "c9", "output": "x"}]}, "no tool call found"),
        ({"input": [{"type": "function_call_output", "call_id": [], "output": "x"}]}, "no tool call found"),
        ({"input": [{"type": ["message"], "content": "x"}]}, "is not supported here"),
        ({"input": [{"role": ["user"], "content": "x"}]}, "no role is called"),
        ({"input": [{"role": "user", "content": [{"type": {}, "text": "x"}]}]}, "is not supported here"),
        ({"input": [CALL | {"arguments": {}}]}, "`arguments` of a function call must be a string"),
        (
            {"input": [CALL, {"type": "function_call_output", "call_id": "c1", "output": 7}]},
            "the output of a",
        ),
        ({"tools": [{"type": "web_search"}]}, "tool type `web_search` is not supported"),
        ({"tools": [{"type": "function"}]}, "a function has no name"),
        ({"tools": [TOOL | {"parameters": {"type": "array"}}]}, "no schema of an object"),
        ({"tools": [TOOL], "tool_choice": "must"}, "none of `auto`"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "no tool is called `g`"),
        ({"tools": [TOOL], "tool_choice": {"type": "web_search"}}, "`web_search` is not supported"),
        ({"text": {"format": {"type": "xml"}}}, "unsupported text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name is required"),
        ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "text.format.name must"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema is required"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": []}}}, "must be a JSON object"),
        ({"include": ["file_search_call.results"]}, "include: `file_search_call.results`"),
        ({"truncation": "some"}, "truncation: `some`"),
        ({"conversation": "conv_1"}, "conversation is not supported"),
        ({"prompt": {"id": "x"}}, "prompt is not supported"),
        ({"service_tier": "priority"}, "service_tier: `priority`"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort: `huge`"),
        ({"max_output_tokens": 0}, "at least 1"),
        ({"top_logprobs": 21}, "from 0 to 20"),
        ({"metadata": {str(number): "" for number in range(17)}}, "more than 16"),
        ({"background": True, "store": False}, "background needs `store`"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_what_is_not_to_be_had_is_named(fields: dict[str, Any], words: str) -> None:
    """Before any engine is asked."""
    with pytest.raises(InvalidRequest, match=words):
        body(**fields)


def test_the_beginning_says_what_was_asked() -> None:
    """With lists and maps where nothing was sent, as clients expect."""
    asked = read(b'{"model": "m", "input": "hi", "metadata": {"a": "b"}, "tool_choice": "none"}')
    beginning = beginning_of(asked, "resp_1", 7.9)

    assert ("resp_1", 7, "in_progress", [], {"a": "b"}, "none", True) == tuple(
        beginning[name]
        for name in ("id", "created_at", "status", "tools", "metadata", "tool_choice", "store")
    )


def test_listed_items_have_names_and_parts() -> None:
    """Whatever short form they were sent in."""
    [user, said, call] = named([USER, {"role": "assistant", "content": "yo"}, CALL])

    assert [{"type": "input_text", "text": "hi"}] == user["content"]
    assert [{"type": "output_text", "text": "yo", "annotations": []}] == said["content"]
    assert ["msg", "msg", "fc"] == [item["id"].partition("_")[0] for item in (user, said, call)]


SYSTEM = {"role": "system", "content": "s"}
ANSWER = {"role": "assistant", "content": "", "tool_calls": [CHAT_CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "7"}


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        ([USER], None),
        ([SYSTEM, USER], None),
        ([], None),
        ([SYSTEM, USER, ANSWER, RESULT], None),
        ([SYSTEM, USER, ANSWER, RESULT, USER], [SYSTEM, USER]),
        ([SYSTEM, USER, USER, USER, USER], [SYSTEM, USER, USER]),
    ],
)
def test_the_oldest_turns_are_left_out(
    messages: list[dict[str, Any]], left: list[dict[str, Any]] | None
) -> None:
    """Instructions and the last turn stay, and a result keeps its call."""
    assert left == shortened(messages, asked=10, most=7)
