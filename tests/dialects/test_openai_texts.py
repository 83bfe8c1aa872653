"""Requests about tokens and scores are read, and engines' answers with them."""

import json

import pytest

from modelrunner.dialects.openai_texts import (
    DetokenizeRequest,
    ScoreRequest,
    ranked,
    text_reply,
    tokens_reply,
)
from modelrunner.dialects.reading import read
from modelrunner.errors import EngineFailed, InvalidRequest


@pytest.mark.parametrize(
    ("first", "second", "groups"),
    [
        ("q", "a", [("q", ["a"])]),
        ("q", ["a", "b"], [("q", ["a", "b"])]),
        (["q"], ["a", "b"], [("q", ["a", "b"])]),
        (["q", "r"], ["a", "b"], [("q", ["a"]), ("r", ["b"])]),
    ],
)
def test_texts_are_paired(first: object, second: object, groups: object) -> None:
    """One with all, or each with its own."""
    body = json.dumps({"text_1": first, "text_2": second}).encode()

    assert groups == read(body, ScoreRequest).groups()


def test_texts_that_do_not_pair_are_refused() -> None:
    """And so are more than a request may have."""
    with pytest.raises(InvalidRequest, match="text_1 has `2` texts, text_2 `3`"):
        ScoreRequest(["a", "b"], ["a", "b", "c"]).groups()
    with pytest.raises(InvalidRequest, match="`2000` texts"):
        ScoreRequest("a", ["b"] * 2000).groups()


@pytest.mark.parametrize("tokens", [[-1], [2**40], ["x"], 5])
def test_tokens_are_numbers(tokens: object) -> None:
    """Of a size that an engine can read."""
    with pytest.raises(InvalidRequest, match="invalid request"):
        read(json.dumps({"tokens": tokens}).encode(), DetokenizeRequest)


def test_a_ranking_is_put_in_the_order_of_the_documents() -> None:
    """Engines give the best first."""
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]

    assert [0.1, 0.9] == ranked({"results": results}, 2)


def test_an_answer_of_another_shape_is_the_engines_fault() -> None:
    """And told as such."""
    with pytest.raises(EngineFailed, match="no scores"):
        ranked({"results": [{}]}, 1)
    with pytest.raises(EngineFailed, match="no tokens"):
        tokens_reply({})
    with pytest.raises(EngineFailed, match="no text"):
        text_reply({})
