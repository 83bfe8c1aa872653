"""Ollama's options: which are passed on, under which names, and which are refused."""

from typing import Any

import pytest

from modelrunner.dialects.ollama_options import check, context_size, generation
from modelrunner.errors import InvalidRequest


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"temperature": 0, "top_p": 0.9, "top_k": 40}, {"temperature": 0, "top_p": 0.9, "top_k": 40}),
        ({"num_predict": 7}, {"max_tokens": 7}),
        ({"num_predict": -1}, {}),
        ({"num_predict": -2}, {}),
        ({"num_predict": 0}, {}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop": "a"}, {"stop": "a"}),
        ({"repeat_penalty": 1.1}, {"repeat_penalty": 1.1, "repetition_penalty": 1.1}),
        ({"num_keep": 4, "seed": 3.0}, {"n_keep": 4, "seed": 3}),
        ({"num_ctx": 8192, "num_gpu": 99, "use_mmap": True, "unheard_of": {}}, {}),
        ({"temperature": None}, {}),
    ],
)
def test_what_concerns_the_generation_is_passed_on(options: dict[str, Any], expected: dict[str, Any]) -> None:
    """How a model is loaded is not, and what is unknown is not."""
    check(options)

    assert expected == generation(options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("temperature", True),
        ("top_k", 1.5),
        ("num_predict", "9"),
        ("num_ctx", []),
        ("stop", 7),
        ("stop", [7]),
        ("seed", {}),
    ],
)
def test_an_option_of_a_wrong_type_is_named(name: str, value: object) -> None:
    """With what it should be."""
    with pytest.raises(InvalidRequest, match=f"option `{name}` must be"):
        check({name: value})


def test_a_context_is_a_positive_number() -> None:
    """Anything else asks for nothing."""
    assert [None, None, None, 2048] == [context_size({"num_ctx": size}) for size in (None, 0, -1, 2048)]
