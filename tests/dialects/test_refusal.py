"""Errors of engines, as they really write them, are read for what they mean."""

import json

import pytest

from modelrunner.dialects.refusal import refusal
from modelrunner.errors import ContextExceeded, EngineRefused


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        (400, '{"error":{"code":400,"message":"no","type":"invalid_request_error"}}', 400, "no"),
        (
            404,
            '{"object":"error","message":"The model `x` does not exist.","code":404}',
            404,
            "The model `x`",
        ),
        (422, '{"detail":[{"loc":["body"],"msg":"field required"}]}', 422, "field required"),
        (503, '{"error":{"code":503,"message":"Loading model"}}', 503, "Loading model"),
        (500, '{"error":{"code":500,"message":"out of luck"}}', 500, "out of luck"),
        (500, "plain words\n", 500, "plain words"),
        (500, "", 500, "no words"),
        (502, b"\xff\xfe", 502, ""),
        (304, "odd", 500, "odd"),
        (
            500,
            '{"error":{"code":500,"message":"image input is not supported - hint: provide the mmproj"}}',
            400,
            "image input is not supported",
        ),
    ],
)
def test_the_engines_status_and_words_are_kept(
    status: int, body: str | bytes, expected: int, words: str
) -> None:
    """Unless it blames itself for what the client did."""
    error = refusal(status, body if isinstance(body, bytes) else body.encode())

    assert isinstance(error, EngineRefused)
    assert expected == error.status
    assert words in error.message


@pytest.mark.parametrize(
    "error",
    [
        {"type": "exceed_context_size_error", "message": "no", "n_prompt_tokens": 5000, "n_ctx": 4096},
        {
            "message": "This model's maximum context length is 4096 tokens. However, you want 5000 tokens.",
            "type": "BadRequestError",
        },
        {"message": "input (5000 tokens) is too large to process. (current batch size: 4096)", "code": 500},
    ],
)
def test_a_prompt_that_does_not_fit_is_told_alike(error: dict[str, object]) -> None:
    """With both numbers, and with the way out."""
    exceeded = refusal(400, json.dumps({"error": error}).encode())

    assert isinstance(exceeded, ContextExceeded)
    assert "prompt is too long: 5000 tokens > 4096 maximum" == exceeded.message
    assert exceeded.hint


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (404, "invalid_request_error", "not_found_error"),
        (429, "invalid_request_error", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (503, "server_error", "overloaded_error"),
    ],
)
def test_a_status_says_who_is_at_fault(status: int, openai: str, anthropic: str) -> None:
    """In each dialect's own words."""
    error = refusal(status, b"no")

    assert (openai, anthropic) == (error.openai_type, error.anthropic_type)
