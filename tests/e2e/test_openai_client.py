"""The official OpenAI client, unchanged, against the daemon with the real engine."""

import math
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

MODEL = "ai/smollm2"
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France? Answer with one word."}
]


@pytest.fixture(params=["/v1", "/engines/v1", "/engines/llama.cpp/v1"])
def client(request: pytest.FixtureRequest, real: Runner) -> Iterator[openai.OpenAI]:
    """A client of each base address."""
    with openai.OpenAI(base_url=f"{real.url}{request.param}", api_key="unused", max_retries=0) as client:
        yield client


def test_chat_answers_whole(client: openai.OpenAI) -> None:
    """A chat completion that is not streamed has one choice with text and counts its tokens."""
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24)

    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_chat_streams(client: openai.OpenAI) -> None:
    """A streamed chat completion arrives in many chunks, which together are the answer."""
    with client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=24, stream=True
    ) as stream:
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]

    assert len(pieces) > 2
    assert "Paris" in "".join(pieces)


def test_a_plain_completion_continues_the_text(client: openai.OpenAI) -> None:
    """The older completions route works too."""
    answer = client.completions.create(model=MODEL, prompt="1, 2, 3, 4,", max_tokens=6, temperature=0)

    assert "5" in answer.choices[0].text


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    """The list names the model, and that name can be retrieved and used."""
    [listed] = [model for model in client.models.list().data if model.id == "ai/smollm2:latest"]

    assert "ai/smollm2:latest" == client.models.retrieve(listed.id).id


def test_embeddings_are_vectors_of_length_one(client: openai.OpenAI) -> None:
    """Two texts give two vectors of the same dimension."""
    answer = client.embeddings.create(model=MODEL, input=["a cat", "a dog"])
    first, second = (item.embedding for item in answer.data)

    assert len(first) == len(second) == 576
    assert math.isclose(1.0, math.hypot(*first), abs_tol=1e-3)


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    """The client raises its own class for 404, with our code and the name in the sentence."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="ai/no-such-model", messages=QUESTION)

    assert "model_not_found" == caught.value.code
    assert "ai/no-such-model" in caught.value.message
