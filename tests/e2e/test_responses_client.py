"""The official OpenAI client's `responses`, unchanged, against the daemon with the real engine."""

import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

MODEL = "ai/smollm2"
QUESTION = "What is the capital of France? Answer with one word."


class Capital(BaseModel):
    country: str
    size: Literal["small", "large"]


@pytest.fixture
def client(real: Runner) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_a_response_is_made_and_retrieved_and_deleted(client: openai.OpenAI) -> None:
    """With text and counts of tokens, and its input as items."""
    made = client.responses.create(model=MODEL, input=QUESTION, temperature=0, max_output_tokens=24)
    [item] = client.responses.input_items.list(made.id).data
    found = client.responses.retrieve(made.id)
    client.responses.delete(made.id)

    assert "Paris" in made.output_text
    assert made.usage is not None
    assert made.usage.input_tokens > 10
    assert made.usage.output_tokens > 0
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert made.output_text == found.output_text
    assert "message" == item.type
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_stream_is_the_response_in_pieces(client: openai.OpenAI) -> None:
    """Events are numbered without gaps, and the client's own accumulation is what the last one has."""
    with client.responses.stream(model=MODEL, input=QUESTION, temperature=0, max_output_tokens=24) as stream:
        events = list(stream)
        final = stream.get_final_response()
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]

    assert len(pieces) > 2
    assert final.output_text == "".join(pieces)
    assert "Paris" in final.output_text
    assert list(range(len(events))) == [event.sequence_number for event in events]
    assert final.usage is not None
    assert final.usage.output_tokens > 0


def test_a_chain_of_three_turns_knows_the_first(client: openai.OpenAI) -> None:
    """What the user said first is in the prompt of the third turn, whose tokens include it."""
    first = client.responses.create(
        model=MODEL, input="My name is Zebulon. Say hello.", temperature=0, max_output_tokens=16
    )
    second = client.responses.create(
        model=MODEL, input="Thanks.", previous_response_id=first.id, temperature=0, max_output_tokens=16
    )
    third = client.responses.create(
        model=MODEL,
        input="What is my name? Answer with my name only.",
        previous_response_id=second.id,
        temperature=0,
        max_output_tokens=16,
    )

    assert "Zebulon" in third.output_text
    assert first.usage is not None
    assert third.usage is not None
    assert third.usage.input_tokens > 2 * first.usage.input_tokens


def test_structured_output_is_parsed(client: openai.OpenAI) -> None:
    """`.parse` gives an object of the class that was asked for."""
    answer = client.responses.parse(
        model=MODEL,
        input="Is Paris small or large?",
        text_format=Capital,
        temperature=0,
        max_output_tokens=60,
    )

    assert answer.output_parsed is not None
    assert answer.output_parsed.size in {"small", "large"}


def test_a_json_schema_is_kept_to(client: openai.OpenAI) -> None:
    """Given as it is, in a stream."""
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    form: Any = {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    with client.responses.stream(
        model=MODEL, input="Choose.", text=form, temperature=0, max_output_tokens=40
    ) as stream:
        text = stream.get_final_response().output_text

    assert json.loads(text)["n"] in {1, 2}


def test_a_result_of_a_function_is_used(client: openai.OpenAI) -> None:
    """A call and its result, as an agent sends them, go to the engine as a conversation."""
    items: Any = [
        {"role": "user", "content": "What is the secret word? Use the tool."},
        {"type": "function_call", "call_id": "call_1", "name": "secret", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "The secret word is: xylophone"},
    ]
    tool: Any = {"type": "function", "name": "secret", "parameters": {"type": "object", "properties": {}}}
    made = client.responses.create(
        model=MODEL, input=items, tools=[tool], tool_choice="none", temperature=0, max_output_tokens=30
    )

    assert made.status in {"completed", "incomplete"}
    assert made.output_text


def test_a_background_response_is_finished_or_cancelled(client: openai.OpenAI) -> None:
    """One is complete after a while; another is cancelled on the way, and says so ever after."""
    made = client.responses.create(model=MODEL, input=QUESTION, background=True, max_output_tokens=8)
    long = client.responses.create(
        model=MODEL, input="Count from 1 to 1000.", background=True, max_output_tokens=1000
    )
    cancelled = client.responses.cancel(long.id)
    deadline = time.monotonic() + 40
    found = client.responses.retrieve(made.id)
    while found.status in {"queued", "in_progress"} and time.monotonic() < deadline:
        time.sleep(0.05)
        found = client.responses.retrieve(made.id)

    assert "queued" == made.status
    assert found.status in {"completed", "incomplete"}
    assert found.output_text
    assert "cancelled" == cancelled.status == client.responses.retrieve(long.id).status


def test_length_is_told(client: openai.OpenAI) -> None:
    """As incomplete, with the reason."""
    made = client.responses.create(model=MODEL, input="Count from 1 to 100.", max_output_tokens=5)

    assert "incomplete" == made.status
    assert made.incomplete_details is not None
    assert "max_output_tokens" == made.incomplete_details.reason


def test_a_prompt_that_does_not_fit_is_told_or_shortened(client: openai.OpenAI) -> None:
    """As the request wants it; the engine's own counts say how much has to go."""
    items: Any = [{"role": "user", "content": words} for words in ("word " * 9000, "Say hello.")]
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input=items, max_output_tokens=8)
    made = client.responses.create(model=MODEL, input=items, max_output_tokens=8, truncation="auto")

    assert "context_length_exceeded" == caught.value.code
    assert made.usage is not None
    assert 1 == made.usage.to_dict()["dropped_messages"]
    assert made.usage.input_tokens < 100
