"""LangChain's own plug-in for OpenAI's API, unchanged, against the daemon with the real engine."""

import math
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

QUESTION = "What is the capital of France? Answer with one word."
KEY = SecretStr("unused")


class Dog(BaseModel):
    """A dog."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}."


def examples(name: str, arguments: list[dict[str, Any]], question: str) -> list[BaseMessage]:
    """A conversation in which a tool was called each time: so small a model needs to be shown."""
    found: list[BaseMessage] = []
    for number, given in enumerate(arguments):
        call = {"id": f"call_{number}", "name": name, "args": given}
        found += [
            HumanMessage(question.format(**given)),
            AIMessage("", tool_calls=[call]),
            ToolMessage("Done.", tool_call_id=call["id"]),
        ]
    return found


def chat(real: Runner, model: str = "ai/smollm2", tokens: int = 24, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{real.url}/v1",
        api_key=KEY,
        model=model,
        temperature=0,
        max_completion_tokens=tokens,
        **more,
    )


@pytest.mark.parametrize("responses", [False, True])
def test_it_chats_whole_and_streamed(real: Runner, responses: bool) -> None:
    """By the chat, and by the Responses API; both count tokens."""
    model = chat(real, use_responses_api=responses)
    whole = model.invoke(QUESTION)
    pieces = list(model.stream(QUESTION))

    assert "Paris" in whole.text
    assert "Paris" in "".join(piece.text for piece in pieces)
    assert len(pieces) > 2
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0


async def test_it_chats_without_blocking(real: Runner) -> None:
    """Its other half."""
    assert "Paris" in (await chat(real).ainvoke(QUESTION)).text


def test_it_calls_tools(real: Runner, calling: str) -> None:
    """By name, and the result is taken."""
    model = chat(real, calling, 96)
    before = examples(
        "get_weather", [{"city": city} for city in ("Rome", "Oslo", "Bern")], "Weather in {city}?"
    )
    asked = [*before, HumanMessage("Weather in Paris?")]
    answer = model.bind_tools([get_weather], tool_choice="get_weather").invoke(asked)
    [call] = answer.tool_calls
    last = model.bind_tools([get_weather]).invoke(
        [*asked, answer, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
    )

    assert ("get_weather", {"city": "Paris"}) == (call["name"], call["args"])
    assert last.text or last.tool_calls


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_it_gets_objects(real: Runner, calling: str, method: Any) -> None:
    """Of a class of pydantic's, by either way."""
    dogs = [{"name": name, "age": age} for name, age in (("Rex", 3), ("Bella", 5), ("Max", 7))]
    asked = [
        *examples("Dog", dogs, "A dog called {name}, aged {age}."),
        HumanMessage("A dog called Ida, aged 4."),
    ]
    found = chat(real, calling, 96).with_structured_output(Dog, method=method).invoke(asked)

    assert isinstance(found, Dog)
    assert 4 == found.age


def test_it_embeds(real: Runner) -> None:
    """Texts, as it is told to send."""
    model = OpenAIEmbeddings(
        base_url=f"{real.url}/v1", api_key=KEY, model="ai/smollm2", check_embedding_ctx_length=False
    )
    first, second = model.embed_documents(["a cat", "a dog"])

    assert len(first) == len(second) == 576
    assert math.isclose(1.0, math.hypot(*first), abs_tol=1e-3)
