"""What an answer says, in every dialect; what is not as expected is as if it were not there."""

from typing import Any

import pytest

from modelrunner.recorder.answering import read_answered, times_in
from modelrunner.recorder.values import Call, Counts

TOOL = {"id": "c1", "function": {"name": "look", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("document", "text", "reasoning", "finish"),
    [
        (
            {
                "choices": [
                    {"message": {"content": "a", "reasoning_content": "why"}, "finish_reason": "stop"},
                    {"message": {"refusal": "no"}},
                ]
            },
            "a\n\nno",
            "why",
            "stop",
        ),
        ({"choices": [{"text": "plain", "finish_reason": "length"}]}, "plain", "", "length"),
        (
            {
                "output": [
                    {"type": "reasoning", "content": [{"text": "why"}]},
                    {"type": "message", "content": [{"text": "a"}, {"refusal": "b"}]},
                ],
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
            },
            "a\n\nb",
            "why",
            "max_output_tokens",
        ),
        (
            {
                "type": "message",
                "content": [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "a"}],
                "stop_reason": "end_turn",
            },
            "a",
            "why",
            "end_turn",
        ),
        (
            {"message": {"content": "a", "thinking": "why"}, "done_reason": "stop"},
            "a",
            "why",
            "stop",
        ),
        ({"response": "a", "thinking": "why"}, "a", "why", None),
        ({"text": "a transcript"}, "a transcript", "", None),
        ({"choices": [None, 3, {"message": {"content": 7}}]}, "", "", None),
        ([1, 2], "", "", None),
        (None, "", "", None),
    ],
)
def test_text_and_thoughts_are_found(document: Any, text: str, reasoning: str, finish: str | None) -> None:
    found = read_answered(document)

    assert (text, reasoning, finish) == (found.text, found.reasoning, found.counts.finish_reason)


@pytest.mark.parametrize(
    "document",
    [
        {"choices": [{"message": {"tool_calls": [TOOL]}}]},
        {"output": [{"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}]},
        {"type": "message", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]},
        {"message": {"tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": {}}}]}},
    ],
)
def test_calls_of_tools_are_found(document: Any) -> None:
    assert [Call("c1", "look", "{}")] == read_answered(document).calls


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 4}}, (9, None, 4, None)),
        (
            {
                "usage": {
                    "input_tokens": 9,
                    "output_tokens": 4,
                    "input_tokens_details": {"cached_tokens": 2},
                    "output_tokens_details": {"reasoning_tokens": 3},
                }
            },
            (9, 2, 4, 3),
        ),
        # Anthropic counts what was read from the cache apart.
        ({"usage": {"input_tokens": 9, "cache_read_input_tokens": 2, "output_tokens": 4}}, (11, 2, 4, None)),
        ({"timings": {"prompt_n": 9, "cache_n": 2, "predicted_n": 4}}, (11, 2, 4, None)),
        ({"prompt_eval_count": 9, "eval_count": 4}, (9, None, 4, None)),
        ({"usage": {"prompt_tokens": -1, "completion_tokens": "4"}}, (None, None, None, None)),
    ],
)
def test_tokens_are_counted_by_whichever_names(more: Any, expected: object) -> None:
    counts = read_answered({"choices": [], **more}).counts

    assert expected == (
        counts.prompt_tokens,
        counts.cached_tokens,
        counts.completion_tokens,
        counts.reasoning_tokens,
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [("broke", "broke"), ({"message": "broke"}, "broke"), ({"code": 1}, None), (None, None), ([], None)],
)
def test_an_error_is_a_text_or_has_a_message(error: object, expected: str | None) -> None:
    assert expected == read_answered({"error": error}).error


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        (b'_token":1},"timings":{"predicted_n":4,"predicted_per_second":21.337}}', 21.34),
        (b'"timings":{"predicted_per_second":1.0}} "timings":{"predicted_per_second":2.0}', 2.0),
        (b'"timings":{"predicted_per_', None),
        (b"", None),
    ],
)
def test_times_are_found_in_words_that_were_cut(words: bytes, rate: float | None) -> None:
    counts = Counts()
    times_in(words, counts)

    assert rate == counts.tokens_per_second


@pytest.mark.parametrize(("known", "cached"), [(None, 7), (0, 0)])
def test_cached_tokens_are_the_engine_s_where_the_dialect_has_no_place_for_them(
    known: int | None, cached: int
) -> None:
    """As in Ollama's."""
    counts = Counts(prompt_tokens=9, cached_tokens=known)
    times_in(b'"timings":{"prompt_n":2,"cache_n":7}', counts)

    assert (9, cached) == (counts.prompt_tokens, counts.cached_tokens)
