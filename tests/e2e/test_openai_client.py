"""The official OpenAI client, unchanged, against the daemon with the real engine."""

import json
import math
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam
from pydantic import BaseModel

from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

MODEL = "ai/smollm2"
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France? Answer with one word."}
]
WEATHER: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
EXAMPLE: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Weather in Rome?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
]
ASKING: list[ChatCompletionMessageParam] = [*EXAMPLE * 3, {"role": "user", "content": "Weather in Paris?"}]


class Capital(BaseModel):
    country: str
    inhabitants: int


@pytest.fixture
def usual(real: Runner) -> Iterator[openai.OpenAI]:
    """A client of the address that the documentation gives."""
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


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


def test_tools_are_called(usual: openai.OpenAI, calling: str) -> None:
    """A call comes whole, and in a stream in pieces that make the same; its result is understood."""
    whole = usual.chat.completions.create(
        model=calling, messages=ASKING, tools=[WEATHER], temperature=0, max_tokens=96
    )
    with usual.chat.completions.stream(
        model=calling, messages=ASKING, tools=[WEATHER], temperature=0, max_tokens=96
    ) as stream:
        streamed = stream.get_final_completion()
    (call,) = whole.choices[0].message.tool_calls or []
    (again,) = streamed.choices[0].message.tool_calls or []
    assert call.type == "function"
    said: ChatCompletionMessageParam = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
        ],
    }
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}
    last = usual.chat.completions.create(
        model=calling, messages=[*ASKING, said, result], tools=[WEATHER], max_tokens=8
    )

    assert "tool_calls" == whole.choices[0].finish_reason == streamed.choices[0].finish_reason
    assert {"city": "Paris"} == json.loads(call.function.arguments) == json.loads(again.function.arguments)
    assert last.usage is not None


def test_an_answer_is_parsed(usual: openai.OpenAI) -> None:
    """`.parse` gives an object of the class that was asked for."""
    answer = usual.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell of Paris."}],
        response_format=Capital,
        temperature=0,
        max_tokens=60,
    )

    assert answer.choices[0].message.parsed is not None
    assert answer.choices[0].message.parsed.country


def test_fields_of_the_generation_are_heeded(usual: openai.OpenAI) -> None:
    """Several answers, probabilities, an end where it was asked for, the same again for a seed, counts."""
    question: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Count: one two three four"}]
    several = usual.chat.completions.create(
        model=MODEL, messages=question, n=2, logprobs=True, top_logprobs=2, max_completion_tokens=4
    )
    stopped = usual.completions.create(
        model=MODEL, prompt="1, 2, 3, 4,", stop=["6"], max_tokens=24, temperature=0
    )
    seeded = [
        usual.chat.completions.create(model=MODEL, messages=question, seed=7, temperature=1.5, max_tokens=12)
        for _ in range(2)
    ]
    counted = list(
        usual.chat.completions.create(
            model=MODEL,
            messages=question,
            stream=True,
            stream_options={"include_usage": True},
            max_completion_tokens=4,
        )
    )

    assert 2 == len(several.choices)
    assert several.choices[0].logprobs is not None
    assert 2 == len((several.choices[0].logprobs.content or [])[0].top_logprobs)
    assert ("stop", False) == (stopped.choices[0].finish_reason, "6" in stopped.choices[0].text)
    assert 1 == len({answer.choices[0].message.content for answer in seeded})
    assert counted[-1].usage is not None
    assert 4 == counted[-1].usage.completion_tokens


async def test_its_other_half_does_the_same(real: Runner, calling: str) -> None:
    """Chat, stream, tools, `.parse`, embeddings and responses without blocking."""
    async with openai.AsyncOpenAI(base_url=f"{real.url}/v1", api_key="unused", max_retries=0) as client:
        chat = await client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=24
        )
        stream = await client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=24, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        called = await client.chat.completions.create(
            model=calling, messages=ASKING, tools=[WEATHER], temperature=0, max_tokens=96
        )
        parsed = await client.chat.completions.parse(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell of Paris."}],
            response_format=Capital,
            temperature=0,
            max_tokens=60,
        )
        vectors = await client.embeddings.create(model=MODEL, input=["a cat", "a dog"])
        response = await client.responses.create(
            model=MODEL,
            input="What is the capital of France? Answer with one word.",
            temperature=0,
            max_output_tokens=24,
        )

    assert "Paris" in (chat.choices[0].message.content or "")
    assert "Paris" in "".join(pieces)
    assert "tool_calls" == called.choices[0].finish_reason
    assert parsed.choices[0].message.parsed is not None
    assert 2 == len(vectors.data)
    assert "Paris" in response.output_text
