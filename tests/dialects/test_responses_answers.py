"""Engines' answers as responses: events in their order, and the same object however it was asked for."""

import itertools
import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.dialects.base import Timing
from modelrunner.dialects.responses import beginning_of, read
from modelrunner.dialects.responses_answers import Answering
from modelrunner.dialects.stream import Stream
from modelrunner.errors import EngineFailed

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def answering(*, streams: bool) -> Answering:
    made = Answering(beginning_of(read(b'{"model":"m","input":"x"}'), "resp_1", 0), streams=streams)
    made.begin(Timing(0, 0, 0))
    return made


def stream_of(*deltas: dict[str, Any], finish: str = "stop") -> bytes:
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({"choices": [], "usage": USAGE})
    lines = [f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks]
    return ("".join(lines) + "data: [DONE]\n\n").encode()


def call(index: int, name: str | None = None, arguments: str | None = None, key: str | None = None) -> Any:
    return {"index": index, "id": key, "function": {"name": name, "arguments": arguments}}


EVERYTHING = stream_of(
    {"role": "assistant", "content": None},
    {"reasoning_content": "hm"},
    {"reasoning_content": "…"},
    {"content": "grü"},
    {"content": "ße 😀"},
    {"tool_calls": [call(0, "f", "", "c0")]},
    {"tool_calls": [call(0, None, '{"a"')]},
    {"tool_calls": [call(1, "g", "{}", "c1"), call(0, None, ":1}")]},
    finish="tool_calls",
)


def events_of(text: bytes) -> list[dict[str, Any]]:
    events = []
    for block in text.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def anonymous(value: Any, names: dict[str, int]) -> Any:
    """The same with names by the order of their first use, so that two runs can be compared."""
    if isinstance(value, dict):
        return {
            key: names.setdefault(each, len(names))
            if key in {"id", "item_id"}
            else (None if key == "completed_at" else anonymous(each, names))
            for key, each in value.items()
        }
    return [anonymous(each, names) for each in value] if isinstance(value, list) else value


def turned(*pieces: bytes, streams: bool = True) -> bytes:
    stream = Stream(answering(streams=streams))
    return b"".join(map(stream.feed, pieces)) + stream.end()


def test_everything_comes_in_its_place() -> None:
    """Thoughts, text and calls are items with indexes of their own; numbers have no gaps."""
    events = events_of(turned(EVERYTHING))
    response = events[-1]["response"]

    assert list(range(len(events))) == [event["sequence_number"] for event in events]
    assert ["reasoning", "message", "function_call", "function_call"] == [
        item["type"] for item in response["output"]
    ]
    assert [0, 1, 2, 3] == [
        event["output_index"] for event in events if event["type"] == "response.output_item.added"
    ]
    assert [("c0", "f", '{"a":1}'), ("c1", "g", "{}")] == [
        (item["call_id"], item["name"], item["arguments"]) for item in response["output"][2:]
    ]
    assert "grüße 😀" == response["output_text"]
    assert "hm…" == response["output"][0]["content"][0]["text"]
    assert {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 14,
    } == response["usage"]


def test_deltas_add_up_to_what_is_done() -> None:
    """For each item; and what is done is what the response has."""
    sums: dict[str, str] = defaultdict(str)
    done, items = {}, []
    for event in events_of(turned(EVERYTHING)):
        if event["type"].endswith(".delta"):
            sums[event["item_id"]] += event["delta"]
        elif "text" in event or "arguments" in event:
            done[event["item_id"]] = event.get("text", event.get("arguments"))
        elif event["type"] == "response.output_item.done":
            items.append((event["output_index"], event["item"]))
        elif event["type"] == "response.completed":
            assert [item for _, item in sorted(items, key=lambda pair: pair[0])] == event["response"][
                "output"
            ]

    assert 4 == len(done)
    assert done == sums


@given(st.lists(st.integers(0, len(EVERYTHING)), max_size=8))
def test_cuts_anywhere_change_nothing(cuts: list[int]) -> None:
    """In characters and lines, too."""
    ends = [0, *sorted(cuts), len(EVERYTHING)]
    pieces = [EVERYTHING[start:end] for start, end in itertools.pairwise(ends)]

    assert anonymous(events_of(turned(EVERYTHING)), {}) == anonymous(events_of(turned(*pieces)), {})


def test_a_cut_at_any_byte_changes_nothing() -> None:
    """Each of them once."""
    whole = anonymous(events_of(turned(EVERYTHING)), {})
    for cut in range(len(EVERYTHING)):
        assert whole == anonymous(events_of(turned(EVERYTHING[:cut], EVERYTHING[cut:])), {}), cut


def test_whole_and_streamed_are_the_same_object() -> None:
    """An answer that the engine gave whole, one put together from a stream, and the last event's."""
    message = {
        "content": "hello",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
    }
    whole = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE}
    first = json.loads(answering(streams=False).whole(json.dumps(whole).encode()))
    pieces = stream_of(
        {"reasoning_content": "hm"}, {"content": "hello"}, {"tool_calls": [call(0, "f", "{}", "c")]}
    )
    second = json.loads(turned(pieces, streams=False))
    third = events_of(turned(pieces))[-1]["response"]

    assert anonymous(first, {}) == anonymous(second, {}) == anonymous(third, {})


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_the_end_says_why(finish: str, status: str, reason: str | None) -> None:
    """In the status, in the last event's name and in the item that was cut off."""
    last = events_of(turned(stream_of({"content": "a"}, finish=finish)))[-1]

    assert f"response.{status}" == last["type"]
    assert status == last["response"]["status"] == last["response"]["output"][0]["status"]
    assert (reason and {"reason": reason}) == last["response"]["incomplete_details"]


def test_a_name_may_come_after_arguments() -> None:
    """Nothing of them is lost."""
    text = turned(
        stream_of({"tool_calls": [call(0, None, '{"a"', "c")]}, {"tool_calls": [call(0, "f", ":1}")]})
    )
    [item] = events_of(text)[-1]["response"]["output"]

    assert ("c", "f", '{"a":1}') == (item["call_id"], item["name"], item["arguments"])


def test_calls_without_an_index_are_told_apart() -> None:
    """By their ids; a piece without one belongs to the call before it."""
    pieces = [
        {"id": "c0", "function": {"name": "f", "arguments": "{"}},
        {"function": {"arguments": "}"}},
        {"id": "c1", "function": {"name": "g", "arguments": "{}"}},
    ]
    output = events_of(turned(stream_of(*({"tool_calls": [piece]} for piece in pieces))))[-1]["response"][
        "output"
    ]

    assert [("f", "{}"), ("g", "{}")] == [(item["name"], item["arguments"]) for item in output]


def test_an_answer_without_words_is_complete() -> None:
    """It has no items, and is none the worse."""
    response = events_of(turned(stream_of()))[-1]["response"]

    assert ("completed", [], "") == (response["status"], response["output"], response["output_text"])


def test_a_refusal_is_a_part_of_its_own() -> None:
    """It is no text of the answer."""
    events = events_of(turned(stream_of({"refusal": "no"})))
    response = events[-1]["response"]

    assert [{"type": "refusal", "refusal": "no"}] == response["output"][0]["content"]
    assert "" == response["output_text"]
    assert ["no"] == [event["refusal"] for event in events if event["type"] == "response.refusal.done"]


def test_logprobs_are_passed_on() -> None:
    """In the pieces and in the whole."""
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    chunk = {
        "choices": [{"delta": {"content": "a"}, "logprobs": {"content": [token]}, "finish_reason": "stop"}]
    }
    events = events_of(turned(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()))

    assert [[token]] == [e["logprobs"] for e in events if e["type"] == "response.output_text.delta"]
    assert [token] == events[-1]["response"]["output"][0]["content"][0]["logprobs"]


def test_a_failure_ends_what_was_begun() -> None:
    """The error has the next number, and the failed response all that was said."""
    made = answering(streams=True)
    stream = Stream(made)
    text = stream.feed(stream_of({"content": "a"}).split(b"\n\n")[0] + b"\n\n")
    events = events_of(text + made.fail(EngineFailed("the engine is gone")))

    assert list(range(len(events))) == [event["sequence_number"] for event in events]
    error, last = events[-5], events[-1]
    assert ("error", "engine_failed", "the engine is gone") == (
        error["type"],
        error["code"],
        error["message"],
    )
    assert ("response.failed", "failed") == (last["type"], last["response"]["status"])
    assert {"code": "server_error", "message": "the engine is gone"} == last["response"]["error"]
    assert "a" == last["response"]["output_text"]


def test_what_there_is_can_be_seen_at_any_time() -> None:
    """While it is made, and when it is broken off."""
    made = answering(streams=False)
    Stream(made).feed(stream_of({"content": "a"}).split(b"\n\n")[0] + b"\n\n")

    assert ("in_progress", "a") == (made.response["status"], made.response["output_text"])
    assert ("cancelled", "incomplete") == (
        made.broken_off("cancelled")["status"],
        made.broken_off("cancelled")["output"][0]["status"],
    )
