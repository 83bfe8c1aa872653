"""OpenAI's routes around the chat, with the real engine."""

from collections.abc import Iterator

import openai
import pytest

from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

MODEL = "ai/smollm2"


@pytest.fixture
def client(real: Runner) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_tokens_become_their_text_again(client: openai.OpenAI) -> None:
    """There and back; a chat has more tokens than its words."""
    text = "The quick brown fox, naïve as ever"
    there = client.post("/tokenize", body={"model": MODEL, "prompt": text}, cast_to=object)
    assert isinstance(there, dict)
    back = client.post("/detokenize", body={"model": MODEL, "tokens": there["tokens"]}, cast_to=object)
    messages = [{"role": "user", "content": text}]
    chat = client.post("/tokenize", body={"model": MODEL, "messages": messages}, cast_to=object)

    assert isinstance(back, dict)
    assert isinstance(chat, dict)
    assert text == back["content"]
    assert len(there["tokens"]) == there["count"] < chat["count"]


def test_a_prompt_that_does_not_fit_has_openais_code(client: openai.OpenAI) -> None:
    """400, `context_length_exceeded`, with both numbers in the sentence."""
    with pytest.raises(
        openai.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"
    ) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}])

    assert ("context_length_exceeded", "invalid_request_error") == (caught.value.code, caught.value.type)


@pytest.mark.parametrize(
    "extra",
    [
        {"messages": [{"content": "no role"}]},
        {"tools": "no list"},
        {"tools": [{"type": "function"}]},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "nothing"}},
            }
        },
        {"messages": "no list"},
        {"messages": 5},
    ],
)
def test_what_the_client_did_wrong_is_no_fault_of_the_server(
    client: openai.OpenAI, extra: dict[str, object]
) -> None:
    """400, although llama.cpp says 500 to some of it."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=4, extra_body=extra
        )

    assert isinstance(caught.value.code, str)


def test_a_picture_for_a_model_that_reads_is_refused(client: openai.OpenAI) -> None:
    """400 with the reason."""
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    with pytest.raises(openai.BadRequestError, match="image input is not supported"):
        client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": pixel}}]}],
        )
