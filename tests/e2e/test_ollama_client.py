"""The official Ollama client, unchanged, against the daemon with the real engine."""

import base64
import hashlib
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

MODEL = "smollm2"
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
SHORT = {"temperature": 0, "num_predict": 24}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
EXAMPLE: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather in Rome?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}],
    },
]


@pytest.fixture
def client(real: Runner) -> Iterator[ollama.Client]:
    """A client of the daemon."""
    client = ollama.Client(host=real.url)
    yield client
    client._client.close()


def test_chat_answers_whole(client: ollama.Client) -> None:
    """The answer has text, counts, and durations."""
    answer = client.chat(MODEL, QUESTION, options=SHORT)

    assert "Paris" in (answer.message.content or "")
    assert "stop" == answer.done_reason
    assert answer.prompt_eval_count
    assert answer.eval_count
    assert (answer.total_duration or 0) >= (answer.eval_duration or 0) > 0


def test_chat_streams(client: ollama.Client) -> None:
    """Many parts, of which the last has the counts, are together the answer."""
    parts = list(client.chat(MODEL, QUESTION, options=SHORT, stream=True))

    assert len(parts) > 2
    assert "Paris" in "".join(part.message.content or "" for part in parts)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count


async def test_chat_streams_to_the_asynchronous_client(real: Runner) -> None:
    """The same, awaited."""
    client = ollama.AsyncClient(host=real.url)
    parts = [part async for part in await client.chat(MODEL, QUESTION, options=SHORT, stream=True)]
    await client._client.aclose()

    assert "Paris" in "".join(part.message.content or "" for part in parts)


def test_an_answer_fits_a_schema(client: ollama.Client) -> None:
    """In a chat, and where a raw prompt is continued."""
    schema = {"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"]}
    options = {"temperature": 0, "num_predict": 60}
    shown = 'As JSON: {"n": 7}\nAs JSON: {"n": 8}\nAs JSON: '
    chat = client.chat(MODEL, QUESTION, format=schema, options=options)
    raw = client.generate(MODEL, shown, raw=True, format=schema, options=options)

    assert json.loads(chat.message.content or "")["n"] in {7, 8}
    assert json.loads(raw.response or "")["n"] in {7, 8}


def test_generate_goes_on_where_it_was(client: ollama.Client) -> None:
    """With the context of the answer before, the model knows what was said."""
    first = client.generate(MODEL, "My name is Ada. Say hello.", options=SHORT)
    assert first.context
    second = client.generate(MODEL, "What is my name?", context=list(first.context), options=SHORT)

    assert second.response
    assert (second.prompt_eval_count or 0) > (first.prompt_eval_count or 0)


def test_generate_takes_a_system_prompt_and_a_template(client: ollama.Client) -> None:
    """A template of the request is filled in, and continued."""
    template = "{{ .System }}\n{{ range .Absent }}{{ end }}{{ .Prompt }}"
    answer = client.generate(
        MODEL,
        "1, 2, 3, 4,",
        system="Numbers:",
        template=template,
        options={"num_predict": 6, "temperature": 0},
    )

    assert "5" in (answer.response or "")


def test_embeddings_are_vectors_of_length_one(client: ollama.Client) -> None:
    """One for each text, and the older call gives the same."""
    answer = client.embed(MODEL, ["a cat", "a dog"])
    short = client.embed(MODEL, "a cat", dimensions=8).embeddings[0]
    old = client.embeddings(MODEL, "a cat").embedding

    assert [576, 576] == [len(vector) for vector in answer.embeddings]
    assert math.isclose(1.0, math.hypot(*answer.embeddings[0]), abs_tol=1e-3)
    assert 8 == len(short)
    assert math.isclose(1.0, math.hypot(*short), abs_tol=1e-6)
    assert list(answer.embeddings[0]) == pytest.approx(list(old), abs=1e-3)
    assert answer.prompt_eval_count


def test_a_model_is_shown(client: ollama.Client) -> None:
    """With its template, its abilities, and what its header says."""
    shown = client.show(MODEL)
    listed = {model.model: model for model in client.list().models}

    assert "<|im_start|>" in (shown.template or "")
    assert ["completion"] == shown.capabilities
    assert shown.modelinfo is not None
    assert 8192 == shown.modelinfo["llama.context_length"]
    assert shown.details is not None
    assert ("gguf", "Q4_1") == (shown.details.format, shown.details.quantization_level)
    assert (listed["ai/smollm2:latest"].size or 0) > 98_000_000


def test_a_model_is_loaded_and_unloaded(client: ollama.Client) -> None:
    """Without a prompt; `ps` says until when it stays."""
    client.generate(MODEL, keep_alive="30m")
    (here,) = [
        model for model in client.ps().models if model.model == "ai/smollm2:latest" and model.context_length
    ][:1]
    client.generate(MODEL, keep_alive=0)

    assert here.expires_at is not None
    assert 8192 == here.context_length
    assert "ai/smollm2:latest" not in [model.model for model in client.ps().models]


def test_tools_are_called(client: ollama.Client, calling: str) -> None:
    """Each call comes whole, also in a stream, and its result is understood."""
    messages = [*EXAMPLE * 3, {"role": "user", "content": "Weather in Paris?"}]
    options = {"temperature": 0, "num_predict": 96}
    whole = client.chat(calling, messages, tools=[WEATHER], options=options)
    parts = list(client.chat(calling, messages, tools=[WEATHER], options=options, stream=True))
    (call,) = whole.message.tool_calls or []
    streamed = [call for part in parts for call in part.message.tool_calls or []]

    assert ("get_weather", {"city": "Paris"}) == (call.function.name, call.function.arguments)
    assert [call.function] == [each.function for each in streamed]
    result = {"role": "tool", "tool_name": "get_weather", "content": "Sunny."}
    last = client.chat(calling, [*messages, whole.message, result], options=SHORT)
    assert last.done


def test_thoughts_come_apart(client: ollama.Client, thinking: str) -> None:
    """Where they are wanted, and not where they are not."""
    with_thoughts = client.chat(thinking, QUESTION, think=True, options=SHORT)
    without = client.chat(thinking, QUESTION, think=False, options=SHORT)

    assert "thinking" in (client.show(thinking).capabilities or [])
    assert with_thoughts.message.thinking
    assert not without.message.thinking
    assert without.message.content


def test_what_a_model_cannot_is_refused(client: ollama.Client) -> None:
    """With a sentence, and before anything is generated."""
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 8, 8)).decode()
    looking = [{"role": "user", "content": "what?", "images": [picture]}]

    with pytest.raises(ollama.ResponseError, match="does not support tools") as tools:
        client.chat(MODEL, QUESTION, tools=[WEATHER])
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        client.chat(MODEL, QUESTION, think=True)
    with pytest.raises(ollama.ResponseError, match="does not support vision"):
        client.chat(MODEL, looking)
    with pytest.raises(ollama.ResponseError, match="does not support insert"):
        client.generate(MODEL, "a", suffix="b")
    assert 400 == tools.value.status_code


def test_a_prompt_that_does_not_fit_is_refused(client: ollama.Client) -> None:
    """With both lengths; streamed or not."""
    long = [{"role": "user", "content": "word " * 9000}]

    for stream in (False, True):
        with pytest.raises(ollama.ResponseError, match=r"prompt is too long: \d+ tokens > 8192"):
            list(client.chat(MODEL, long, stream=stream))


def test_an_unknown_model_is_not_found(client: ollama.Client) -> None:
    """The client raises its own class, with the status."""
    with pytest.raises(ollama.ResponseError, match="model not found") as caught:
        client.chat("no-such-model", QUESTION)

    assert 404 == caught.value.status_code


def test_a_model_is_created_used_copied_and_deleted(client: ollama.Client) -> None:
    """With a system prompt and options of its own, which apply to every request."""
    steps = list(
        client.create(
            "pirate",
            from_=MODEL,
            system="You always answer with the word Arrr.",
            parameters={"temperature": 0, "num_predict": 3, "stop": ["\n\n"]},
            license="Ours",
            stream=True,
        )
    )
    shown = client.show("pirate")
    answer = client.chat("pirate", QUESTION)
    client.copy("pirate", "pirate:two")
    client.delete("pirate")
    names = [model.model for model in client.list().models]
    client.delete("pirate:two")

    assert "success" == steps[-1].status
    assert "Ours" == shown.license
    assert "num_predict" in (shown.parameters or "")
    assert "Arrr" in (shown.modelfile or "")
    assert ("length", 3) == (answer.done_reason, answer.eval_count)
    assert "ai/pirate:two" in names
    assert "ai/pirate:latest" not in names


def test_a_model_is_created_from_a_file(client: ollama.Client, smollm2: Path) -> None:
    """The file is sent, verified, and described by its own header; the template is turned into Jinja."""
    digest = client.create_blob(smollm2)
    template = (
        "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
        "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
    )
    client.create("sent", files={"SmolLM2.gguf": digest}, template=template)
    shown = client.show("sent")
    answer = client.chat("sent", QUESTION, options=SHORT)
    client.delete("sent")

    assert f"sha256:{hashlib.sha256(smollm2.read_bytes()).hexdigest()}" == digest
    assert "for m in messages" in (shown.template or "")
    assert shown.details is not None
    assert "Q4_1" == shown.details.quantization_level
    assert "Paris" in (answer.message.content or "")


def test_quantizing_is_refused(client: ollama.Client) -> None:
    """With the way to have it done."""
    with pytest.raises(ollama.ResponseError, match="llama-quantize"):
        client.create("small", from_=MODEL, quantize="q4_K_M")
