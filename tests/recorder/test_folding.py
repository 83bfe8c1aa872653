"""Streams are put together to what the same answer would have been as a whole."""

import json
from typing import Any

import pytest

from modelrunner.recorder.answering import read_answered
from modelrunner.recorder.folding import folded

SSE = "text/event-stream; charset=utf-8"


def events(*documents: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in documents) + b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, **more}]}


def test_a_chat_s_text_thoughts_tools_and_counts_survive() -> None:
    body = events(
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "let me "}),
        chunk({"reasoning_content": "think"}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({"tool_calls": [{"index": 0, "id": "t1", "function": {"name": "f", "arguments": '{"a"'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "t2", "function": {"name": "g", "arguments": "{}"}}]}),
        chunk({}, finish_reason="tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}},
    )

    whole = folded("openai", SSE, body)

    assert "chat.completion" == whole["object"]
    answered = read_answered(whole)
    assert ("Hello", "let me think") == (answered.text, answered.reasoning)
    assert [("t1", "f", '{"a":1}'), ("t2", "g", "{}")] == [
        (c.id, c.name, c.arguments) for c in answered.calls
    ]
    assert (7, 9, "tool_calls") == (
        answered.counts.prompt_tokens,
        answered.counts.completion_tokens,
        answered.counts.finish_reason,
    )


def test_plain_completions_and_several_choices_are_kept_apart() -> None:
    body = events(
        {"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "x"}]},
        {"choices": [{"index": 0, "text": "b"}, {"index": 1, "text": "y"}]},
    )

    whole = folded("openai", SSE, body)

    assert ["ab", "xy"] == [choice["text"] for choice in whole["choices"]]
    assert "ab\n\nxy" == read_answered(whole).text


def test_an_error_in_a_stream_is_told() -> None:
    whole = folded("openai", SSE, events(chunk({"content": "Hel"}), {"error": {"message": "it broke"}}))

    answered = read_answered(whole)
    assert ("Hel", "it broke") == (answered.text, answered.error)


def test_anthropic_s_blocks_are_joined() -> None:
    body = events(
        {"type": "message_start", "message": {"id": "m", "type": "message", "usage": {"input_tokens": 5}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "lo"}},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'},
        },
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    )

    answered = read_answered(folded("anthropic", SSE, body))

    assert ("Hello", "hm", "end_turn") == (answered.text, answered.reasoning, answered.counts.finish_reason)
    assert ["f"] == [call.name for call in answered.calls]
    assert (5, 3) == (answered.counts.prompt_tokens, answered.counts.completion_tokens)


def test_ollama_s_lines_are_joined() -> None:
    lines = [
        {"message": {"role": "assistant", "content": "Hel", "thinking": "hm"}, "done": False},
        {"message": {"role": "assistant", "content": "lo"}, "done": False},
        {
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 4,
            "eval_count": 2,
            "eval_duration": 1_000_000_000,
        },
    ]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    answered = read_answered(folded("ollama", "application/x-ndjson", body))

    assert ("Hello", "hm") == (answered.text, answered.reasoning)
    assert (4, 2, 2.0) == (
        answered.counts.prompt_tokens,
        answered.counts.completion_tokens,
        answered.counts.tokens_per_second,
    )


def test_a_response_is_what_its_last_event_says() -> None:
    done = {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    body = events(
        {"type": "response.created", "response": {"status": "in_progress", "output": []}},
        {"type": "response.output_text.delta", "delta": "Hello"},
        {"type": "response.completed", "response": done},
    )

    assert done == folded("responses", SSE, body)
    assert "Hello" == read_answered(done).text


def test_a_response_that_was_broken_off_has_what_came() -> None:
    call = {"type": "function_call", "call_id": "t1", "name": "f", "arguments": ""}
    done = {"type": "message", "content": [{"type": "output_text", "text": "Let me see."}]}
    body = events(
        {"type": "response.created", "response": {"status": "in_progress", "output": []}},
        {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "think"},
        {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "ing"},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "Let me see."},
        {"type": "response.output_item.done", "output_index": 1, "item": done},
        {"type": "response.output_item.added", "output_index": 2, "item": call},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a'},
        {"type": "response.output_text.delta", "output_index": 3, "delta": "Hel"},
        {"type": "response.output_text.delta", "output_index": 3, "delta": "lo"},
    )

    answered = read_answered(folded("responses", SSE, body))

    assert ("Let me see.\n\nHello", "thinking") == (answered.text, answered.reasoning)
    assert [("t1", "f", '{"a')] == [(c.id, c.name, c.arguments) for c in answered.calls]


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [([], "{}"), (['{"a"'], '{"a"'), (['{"a"', ":1}"], '{"a":1}')],
    ids=["nothing came", "broken off", "whole"],
)
def test_a_call_to_anthropic_has_what_came_of_its_arguments(pieces: list[str], arguments: str) -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    body = events(
        {"type": "message_start", "message": {"type": "message"}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in pieces
        ),
    )

    [call] = read_answered(folded("anthropic", SSE, body)).calls

    assert arguments == call.arguments


def test_what_is_no_stream_of_json_gives_nothing() -> None:
    assert folded("openai", SSE, b"data: nonsense\n\n") is None
    assert folded("ollama", "application/x-ndjson", b"nonsense\n") is None
    assert folded("openai", "application/json", b"\xff\xfe") is None
