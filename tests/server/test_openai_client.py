"""The official OpenAI client, unchanged, against the daemon."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "one two three"}]


@pytest.fixture(params=["/v1", "/engines/v1", "/engines/llama.cpp/v1"])
async def client(request: pytest.FixtureRequest, tiny: "Daemon") -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{tiny.url}{request.param}"
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as made:
        yield made


async def test_it_chats_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    """Both ways give the same words."""
    whole = await client.chat.completions.create(model="ai/tiny", messages=QUESTION)
    stream = await client.chat.completions.create(model="ai/tiny", messages=QUESTION, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]

    assert "one two three" == whole.choices[0].message.content == "".join(pieces)


async def test_it_completes_and_embeds(client: openai.AsyncOpenAI) -> None:
    """The older route and vectors."""
    completion = await client.completions.create(model="ai/tiny", prompt="one two")
    vectors = await client.embeddings.create(model="ai/tiny", input=["a", "b"], encoding_format="float")

    assert "one two" == completion.choices[0].text
    assert 2 == len(vectors.data)


async def test_it_lists_and_retrieves_models(client: openai.AsyncOpenAI) -> None:
    """With the slash of the name encoded, as the client does it."""
    [model] = (await client.models.list()).data

    assert "ai/tiny:latest" == model.id == (await client.models.retrieve("ai/tiny")).id


async def test_it_raises_its_own_errors(client: openai.AsyncOpenAI) -> None:
    """By status, with code and message."""
    with pytest.raises(openai.NotFoundError, match="model not found: `ai/absent`") as caught:
        await client.chat.completions.create(model="ai/absent", messages=QUESTION)

    assert ("model_not_found", "invalid_request_error") == (caught.value.code, caught.value.type)


async def test_it_raises_an_error_in_mid_stream(client: openai.AsyncOpenAI) -> None:
    """A crashed engine is no short answer."""
    stream = await client.chat.completions.create(
        model="ai/tiny", messages=QUESTION, stream=True, extra_body={"fake": {"crash_after_tokens": 2}}
    )

    with pytest.raises(openai.APIError, match="crashed on purpose"):
        async for _ in stream:
            pass
