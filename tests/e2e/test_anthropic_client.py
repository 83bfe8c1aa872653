"""The official Anthropic client, unchanged, against the daemon with the real engine."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

MODEL = "smollm2"
QUESTION: list[MessageParam] = [
    {"role": "user", "content": "What is the capital of France? Answer with one word."}
]
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
EXAMPLE: list[MessageParam] = [
    {"role": "user", "content": "Weather in Rome?"},
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Rome"}}],
    },
]
ASKING: list[MessageParam] = [*EXAMPLE * 3, {"role": "user", "content": "Weather in Paris?"}]


@pytest.fixture(params=["/anthropic", "", "/engines/llama.cpp"])
def client(request: pytest.FixtureRequest, real: Runner) -> Iterator[anthropic.Anthropic]:
    """A client of each base address."""
    base = f"{real.url}{request.param}"
    with anthropic.Anthropic(base_url=base, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def usual(real: Runner) -> Iterator[anthropic.Anthropic]:
    """A client of the address that the documentation gives."""
    with anthropic.Anthropic(base_url=f"{real.url}/anthropic", api_key="x", max_retries=0) as client:
        yield client


def test_a_message_is_answered(client: anthropic.Anthropic) -> None:
    """With a block of text, a reason, and counts."""
    message = client.messages.create(model=MODEL, max_tokens=24, messages=QUESTION)

    assert "text" == message.content[0].type
    assert "Paris" in message.content[0].text
    assert ("end_turn", "assistant", MODEL) == (message.stop_reason, message.role, message.model)
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 20
    assert message.usage.output_tokens > 0
    assert message._request_id


def test_a_message_is_streamed(client: anthropic.Anthropic) -> None:
    """The client puts the events together to the same message, with the counts."""
    with client.messages.stream(model=MODEL, max_tokens=24, messages=QUESTION) as stream:
        words = list(stream.text_stream)
        message = stream.get_final_message()

    assert len(words) > 2
    assert "Paris" in "".join(words)
    assert "end_turn" == message.stop_reason
    assert message.usage.output_tokens >= len(words) - 1


async def test_a_message_is_streamed_to_the_asynchronous_client(real: Runner) -> None:
    """The same, awaited."""
    async with (
        anthropic.AsyncAnthropic(base_url=real.url, api_key="x", max_retries=0) as client,
        client.messages.stream(model=MODEL, max_tokens=24, messages=QUESTION) as stream,
    ):
        text = await stream.get_final_text()

    assert "Paris" in text


def test_a_system_prompt_and_blocks_are_read(usual: anthropic.Anthropic) -> None:
    """Texts in blocks are read as if they were one."""
    message = usual.messages.create(
        model=MODEL,
        max_tokens=24,
        system=[{"type": "text", "text": "You are a geographer."}],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is the capital of France?"},
                    {"type": "text", "text": "Answer with one word."},
                ],
            }
        ],
    )

    assert "Paris" in str(message.content[0])


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_is_named(usual: anthropic.Anthropic, stream: bool) -> None:
    """It ends the answer, and is not part of it."""
    arguments: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "hi"}],
        "stop_sequences": ["nowhere", "can"],
    }
    if stream:
        with usual.messages.stream(**arguments) as events:
            message = events.get_final_message()
    else:
        message = usual.messages.create(**arguments)

    assert ("stop_sequence", "can") == (message.stop_reason, message.stop_sequence)
    assert "text" == message.content[0].type
    assert "can" not in message.content[0].text


def test_an_answer_that_was_begun_goes_on(usual: anthropic.Anthropic) -> None:
    """A last message of the assistant is the beginning."""
    message = usual.messages.create(
        model=MODEL,
        max_tokens=8,
        messages=[
            {"role": "user", "content": "Count to nine."},
            {"role": "assistant", "content": "1, 2, 3, 4, 5,"},
        ],
    )

    assert "6" in str(message.content[0])


def test_too_few_tokens_are_told(usual: anthropic.Anthropic) -> None:
    """The reason is the client's own limit."""
    message = usual.messages.create(model=MODEL, max_tokens=2, messages=QUESTION)

    assert ("max_tokens", 2) == (message.stop_reason, message.usage.output_tokens)


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    """As many as the answer then says it has read."""
    counted = client.messages.count_tokens(model=MODEL, messages=QUESTION, system="Be brief.")
    message = client.messages.create(model=MODEL, max_tokens=1, messages=QUESTION, system="Be brief.")

    assert counted.input_tokens == message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)


def test_tools_are_called(usual: anthropic.Anthropic, calling: str) -> None:
    """A call has its arguments as an object, in a stream too, and its result is understood."""
    arguments: dict[str, Any] = {
        "model": calling,
        "max_tokens": 96,
        "tools": [WEATHER],
        "tool_choice": {"type": "tool", "name": "get_weather"},
        "messages": ASKING,
    }
    message = usual.messages.create(**arguments)
    with usual.messages.stream(**arguments) as stream:
        streamed = stream.get_final_message()
    (call,) = [block for block in message.content if block.type == "tool_use"]
    (again,) = [block for block in streamed.content if block.type == "tool_use"]
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."}],
    }
    last = usual.messages.create(
        model=calling,
        max_tokens=8,
        tools=[WEATHER],
        messages=[*ASKING, {"role": "assistant", "content": message.content}, result],
    )

    assert ("tool_use", "tool_use") == (message.stop_reason, streamed.stop_reason)
    assert ("get_weather", {"city": "Paris"}) == (call.name, call.input) == (again.name, again.input)
    assert last.usage.output_tokens > 0


def test_thoughts_are_blocks(usual: anthropic.Anthropic, thinking: str) -> None:
    """Where thinking is turned on, and none where it is not."""
    with_thoughts = usual.messages.create(
        model=thinking,
        max_tokens=48,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=QUESTION,
    )
    without = usual.messages.create(model=thinking, max_tokens=24, messages=QUESTION)

    assert "thinking" == with_thoughts.content[0].type
    assert ["text"] == [block.type for block in without.content]


def test_errors_are_the_clients_own_classes(client: anthropic.Anthropic) -> None:
    """With the status, the type, and a sentence."""
    with pytest.raises(anthropic.NotFoundError, match="model not found"):
        client.messages.create(model="no-such-model", max_tokens=1, messages=QUESTION)
    with pytest.raises(anthropic.BadRequestError, match="does not support tools"):
        client.messages.create(model=MODEL, max_tokens=1, messages=QUESTION, tools=[WEATHER])
    with pytest.raises(anthropic.BadRequestError, match="at least one message"):
        client.messages.create(model=MODEL, max_tokens=1, messages=[])


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_does_not_fit_is_refused(usual: anthropic.Anthropic, stream: bool) -> None:
    """In the words that Anthropic's own clients look for."""
    long: list[MessageParam] = [{"role": "user", "content": "word " * 9000}]

    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 8192 maximum"):
        usual.messages.create(model=MODEL, max_tokens=1, messages=long, stream=stream)


def test_models_are_listed(usual: anthropic.Anthropic) -> None:
    """And one can be looked at."""
    names = [model.id for model in usual.models.list()]

    assert "ai/smollm2:latest" in names
    assert "ai/smollm2:latest" == usual.models.retrieve("ai/smollm2:latest").id
