"""What Ollama's answers are made of, beyond the recorded ones."""

import json
from typing import Any

import msgspec
import pytest

from modelrunner.dialects.base import Timing
from modelrunner.dialects.clock import Clock
from modelrunner.dialects.completion import Completion, ToolCall
from modelrunner.dialects.ollama_answers import Chat, Embed, Generate, OldEmbed, ToolCalls, loaded, shortened
from modelrunner.dialects.stream import Stream
from modelrunner.errors import EngineFailed

CLOCK = Clock(wall=lambda: 0.0, steady=lambda: 1.0)


def pieces(*given: dict[str, Any]) -> list[ToolCall]:
    return msgspec.convert(list(given), list[ToolCall])


def test_calls_are_put_together_from_pieces() -> None:
    """By the engine's index, whatever the order; the index counts on over the whole answer."""
    calls = ToolCalls()
    calls.add(pieces({"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}))
    calls.add(pieces({"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}))
    calls.add(pieces({"index": 0, "function": {"arguments": ": 1}"}}, {"index": 1, "function": {}}))

    assert [
        {"id": "a", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}},
        {"id": "b", "function": {"index": 1, "name": "g", "arguments": {}}},
    ] == calls.take(cut=False)
    assert [] == calls.take(cut=False)


def test_a_call_that_was_cut_off_is_left_out() -> None:
    """Only in an answer that had to be short; else it is the engine's failure."""
    for cut in (True, False):
        calls = ToolCalls()
        calls.add(pieces({"index": 0, "function": {"name": "f", "arguments": '{"x"'}}))
        if cut:
            assert [] == calls.take(cut=True)
        else:
            with pytest.raises(EngineFailed, match="tool call"):
                calls.take(cut=False)


def test_a_call_without_end_is_refused() -> None:
    """Nothing is held without bounds."""
    calls = ToolCalls()
    piece = pieces({"index": 0, "function": {"arguments": "x" * (1 << 20)}})

    with pytest.raises(EngineFailed, match="without end"):
        list(map(calls.add, [piece] * 20))


@pytest.mark.parametrize(("stop_type", "expected"), [("limit", "length"), ("eos", "stop"), ("word", "stop")])
def test_gaps_are_filled_in_llamacpps_own_form(stop_type: str, expected: str) -> None:
    """`/infill` has no choices, and says `stop` itself."""
    stream = Stream(Generate("m", streams=True, clock=CLOCK))
    last = json.dumps({"content": "", "stop": True, "stop_type": stop_type, "timings": {"predicted_n": 1}})
    lines = stream.feed(b'data: {"content":"x","stop":false}\n\ndata: %b\n\n' % last.encode()) + stream.end()
    first, end = map(json.loads, lines.splitlines())

    assert ("x", False) == (first["response"], first["done"])
    assert (expected, 1) == (end["done_reason"], end["eval_count"])


def test_times_are_measured_when_the_engine_says_nothing() -> None:
    """From the question to the first word, and from there to the end; the rest is waiting and loading."""
    now = [10.0]
    chat = Chat("m", streams=True, clock=Clock(wall=lambda: 0.0, steady=lambda: now[0]))
    chat.begin(Timing(queued=1.0, loading=2.0, since=10.0))
    now[0] = 12.0
    chat.chunk(msgspec.convert({"choices": [{"delta": {"content": "x"}}]}, Completion))
    now[0] = 15.0
    last = json.loads(chat.end())

    assert [8e9, 2e9, 2e9, 3e9] == [
        last[name] for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    ]


@pytest.mark.parametrize(("unloads", "reason"), [(False, "load"), (True, "unload")])
def test_a_request_without_words_is_answered_at_once(unloads: bool, reason: str) -> None:
    """An empty message, or response, and why."""
    chat = json.loads(loaded("m", Chat, unloads=unloads, clock=CLOCK))
    generate = json.loads(loaded("m", Generate, unloads=unloads, clock=CLOCK))

    assert ({"role": "assistant", "content": ""}, True, reason) == (
        chat["message"],
        chat["done"],
        chat["done_reason"],
    )
    assert ("", True, reason) == (generate["response"], generate["done"], generate["done_reason"])


def test_vectors_come_in_the_order_of_their_texts() -> None:
    """As the engine wrote the numbers, to the last digit."""
    data = b'[{"index":1,"embedding":[0.10]},{"index":0,"embedding":[1e-9]}]'
    body = b'{"data":%b,"usage":{"prompt_tokens":5}}' % data
    answer = Embed("m", clock=CLOCK).whole(body)

    assert b'"embeddings":[[1e-9],[0.10]]' in answer
    assert 5 == json.loads(answer)["prompt_eval_count"]
    assert {"embedding": [0.10]} == json.loads(OldEmbed("m", clock=CLOCK).whole(body))


def test_a_shortened_vector_has_the_length_one() -> None:
    """Also one of zeros stays what it is; what is no vector is the engine's failure."""
    assert [0.6, 0.8] == shortened(msgspec.Raw(b"[3, 4, 12]"), 2)
    assert [0.0] == shortened(msgspec.Raw(b"[0, 0]"), 1)
    with pytest.raises(EngineFailed):
        shortened(msgspec.Raw(b"[[1]]"), 1)
