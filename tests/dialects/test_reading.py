"""What is wrong with a request is said with the field."""

import msgspec
import pytest

from modelrunner.dialects.anthropic import MessagesRequest
from modelrunner.dialects.ollama import ChatRequest
from modelrunner.dialects.reading import read
from modelrunner.dialects.responses import Asked
from modelrunner.errors import InvalidRequest


@pytest.mark.parametrize(
    ("kind", "body", "field", "words"),
    [
        (ChatRequest, b'{"messages": 5}', "messages", "expected `array | null`, got `int`"),
        (ChatRequest, b'{"messages": [{"role": 7}]}', "messages[0].role", "expected `str`, got `int`"),
        (ChatRequest, b'{"messages": [{}]}', "messages[0].role", "it is required"),
        (MessagesRequest, b'{"model": "m", "messages": []}', "max_tokens", "it is required"),
        (Asked, b'{"temperature": "warm"}', "temperature", "expected `float | null`, got `str`"),
    ],
)
def test_a_field_of_another_type_is_named(
    kind: type[msgspec.Struct], body: bytes, field: str, words: str
) -> None:
    """In the sentence, in the hint, and for OpenAI's clients as `param`."""
    with pytest.raises(InvalidRequest) as caught:
        read(body, kind)

    assert f"invalid request: `{field}`: {words}" == caught.value.message
    assert {"param": field} == caught.value.detail
    assert caught.value.hint is not None
    assert f"`{field}`" in caught.value.hint


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"7", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_said_to_be_none(body: bytes) -> None:
    """Whatever it is instead."""
    with pytest.raises(InvalidRequest) as caught:
        read(body, ChatRequest)

    assert "the body has to be a JSON object" == caught.value.hint
