"""What Anthropic's answers are made of, beyond the recorded ones."""

import json
from typing import Any

import pytest

from modelrunner.dialects.anthropic_answers import Messages
from modelrunner.dialects.sse import Parser
from modelrunner.dialects.stream import Stream
from modelrunner.errors import EngineFailed


def sse(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"delta": fields, "finish_reason": finish}]}


def call(index: int | None, **function: Any) -> dict[str, Any]:
    piece = {"function": function} | ({} if index is None else {"index": index})
    return delta(tool_calls=[piece | ({"id": f"id{index}"} if "name" in function else {})])


def events(*chunks: dict[str, Any], stops: tuple[str, ...] = (), thinks: bool = True) -> list[dict[str, Any]]:
    translator = Messages("m", streams=True, thinks=thinks, stops=list(stops), max_tokens=9)
    stream = Stream(translator)
    return [json.loads(data) for data in Parser().feed(stream.feed(sse(*chunks)) + stream.end())]


def message(*chunks: dict[str, Any], stops: tuple[str, ...] = ()) -> dict[str, Any]:
    stream = Stream(Messages("m", streams=False, thinks=True, stops=list(stops), max_tokens=9))
    assert b"" == stream.feed(sse(*chunks))
    answer: dict[str, Any] = json.loads(stream.end())
    return answer


def test_events_come_in_their_order() -> None:
    """One block is open at a time; indexes count up; the message is begun and ended once."""
    given = events(
        delta(role="assistant", content=None),
        delta(reasoning_content="hm"),
        delta(content="so"),
        call(0, name="f", arguments=""),
        call(0, arguments='{"a":'),
        call(0, arguments="1}"),
        call(1, name="g", arguments="{}"),
        delta("tool_calls"),
    )

    assert [
        ("message_start", None),
        ("ping", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("content_block_start", 3),
        ("content_block_delta", 3),
        ("content_block_stop", 3),
        ("message_delta", None),
        ("message_stop", None),
    ] == [(event["type"], event.get("index")) for event in given]
    kinds = [event["content_block"]["type"] for event in given if event["type"] == "content_block_start"]
    assert ["thinking", "text", "tool_use", "tool_use"] == kinds
    assert "tool_use" == given[-2]["delta"]["stop_reason"]


def test_an_empty_answer_is_a_message_without_blocks() -> None:
    """Begun and ended all the same."""
    assert ["message_start", "ping", "message_delta", "message_stop"] == [
        event["type"] for event in events(delta("stop"))
    ]
    assert [] == message(delta("stop"))["content"]


def test_thoughts_that_nobody_wanted_are_left_out() -> None:
    """A model that cannot help it thinks for itself."""
    given = events(delta(reasoning_content="hm"), delta(content="so"), delta("stop"), thinks=False)

    assert ["text"] == [event["content_block"]["type"] for event in given if "content_block" in event]


@pytest.mark.parametrize(
    ("finish", "made", "expected"),
    [
        ("stop", 3, "end_turn"),
        ("length", 9, "max_tokens"),
        ("length", 3, "model_context_window_exceeded"),
        ("content_filter", 3, "refusal"),
    ],
)
def test_it_says_why_it_stopped(finish: str, made: int, expected: str) -> None:
    """Also that it was the context that was full, and not what the client allowed."""
    usage = {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": made}}
    answer = message(delta(content="x"), delta(finish), usage)

    assert (expected, None) == (answer["stop_reason"], answer["stop_sequence"])
    assert made == answer["usage"]["output_tokens"]


def test_a_stop_sequence_ends_the_answer() -> None:
    """It is named, and not part of the text; the engine is not heard any further."""
    chunks = [delta(content=word) for word in ("one", " tw", "o END", " three")]
    given = events(*chunks, delta("stop"), stops=("END",))
    text = "".join(event["delta"].get("text", "") for event in given if "delta" in event)
    answer = message(*chunks, delta("stop"), stops=("END",))

    assert "one two " == text == answer["content"][0]["text"]
    assert {"stop_reason": "stop_sequence", "stop_sequence": "END"} == given[-2]["delta"]
    assert ("stop_sequence", "END", 3) == (
        answer["stop_reason"],
        answer["stop_sequence"],
        answer["usage"]["output_tokens"],
    )


def test_a_stop_sequence_ends_the_engines_stream() -> None:
    """The relay is told, so that the engine stops generating."""
    translator = Messages("m", streams=True, thinks=False, stops=["x"])
    stream = Stream(translator)
    stream.feed(b'data: {"choices":[{"delta":{"content":"ax"}}]}\n\n')

    assert translator.finished


def test_what_was_held_back_is_said_in_the_end() -> None:
    """Before a tool's call, and at the end: nothing gets lost."""
    chunks = (delta(content="a E"), call(0, name="f", arguments="{}"), delta(content="b EN"), delta("stop"))
    answer = message(*chunks, stops=("END",))

    assert ["a E", {}, "b EN"] == [block.get("text", block.get("input")) for block in answer["content"]]


def test_counts_of_the_prompt_are_there_from_the_start() -> None:
    """llama.cpp tells them before the first word; what was in its cache is counted apart."""
    progress = {"choices": [], "prompt_progress": {"total": 10, "cache": 4, "processed": 4}}
    usage = {
        "choices": [],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }
    given = events(progress, delta(content="x"), delta("stop"), usage)
    expected = {"input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4}

    assert expected | {"output_tokens": 0} == given[0]["message"]["usage"]
    assert expected | {"output_tokens": 2} == given[-2]["usage"]


def test_a_name_may_come_after_its_arguments() -> None:
    """They wait for it."""
    answer = message(call(0, arguments='{"a"'), call(0, name="f", arguments=":1}"), delta("tool_calls"))

    assert [("f", {"a": 1})] == [(block["name"], block["input"]) for block in answer["content"]]


def test_calls_without_index_are_calls_of_their_own() -> None:
    """As in a whole answer."""
    translator = Messages("m", streams=False, thinks=False, stops=[])
    calls = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in ("f", "g")]
    body = {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    answer = json.loads(translator.whole(json.dumps(body).encode()))

    assert ["f", "g"] == [block["name"] for block in answer["content"]]


def test_a_call_that_is_no_json_is_the_engines_failure() -> None:
    """A client could not use it."""
    with pytest.raises(EngineFailed, match="tool call"):
        message(call(0, name="f", arguments="{"), delta("tool_calls"))
