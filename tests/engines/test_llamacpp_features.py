"""What llama.cpp can do besides talking, as the daemon starts it: each shown with the real engine."""

import base64
import json
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest

from modelrunner.engines.base import Address, Draft, EngineSettings, Options
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.gguf_config import describe
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.models.weights.gguf import read_header
from modelrunner.testing.program import started
from tests.templates import OBEYING, THINKING, TOOLS

pytestmark = pytest.mark.engine

CHAT = "/v1/chat/completions"
HEADER = {"general.architecture": "llama", "llama.context_length": "8192"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def socket() -> Iterator[Path]:
    """A short path: the name of a Unix socket has 107 bytes."""
    with TemporaryDirectory(prefix="mr-") as name:
        yield Path(name) / "x.sock"


class Engine:
    """A running engine, to be asked."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str) -> Any:
        async with self._session.get(path) as response:
            assert response.status == 200
            return json.loads(await response.read())

    async def ask(self, path: str, **body: object) -> dict[str, Any]:
        async with self._session.post(path, json={"temperature": 0, **body}) as response:
            answer = await response.read()
            assert response.status == 200, answer
            found: dict[str, Any] = json.loads(answer)
            return found

    async def say(self, text: str, tokens: int = 16, **body: object) -> dict[str, Any]:
        message = {"role": "user", "content": text}
        return await self.ask(CHAT, messages=[message], max_tokens=tokens, **body)


@asynccontextmanager
async def serving(bundle: Bundle, socket: Path, mode: Mode, options: Options) -> AsyncIterator[Engine]:
    """The engine as the daemon starts it."""
    launch = LlamaCpp(EngineSettings()).launch(bundle, mode, options, Address(socket=socket))
    async with started(launch.argv, launch.env) as program:
        await program.said("listening on")
        connector = aiohttp.UnixConnector(path=str(socket))
        async with aiohttp.ClientSession("http://engine", connector=connector) as session:
            yield Engine(session)


def chatting(model: Path, **files: Any) -> Bundle:
    config = ModelConfig(format=Format.GGUF, metadata=HEADER)
    return Bundle(root=model.parent, config=config, weights=(model,), **files)


def packaged(model: Path) -> Bundle:
    """A bundle with the configuration that packaging gives the model."""
    return Bundle(root=model.parent, config=describe([read_header(model)]), weights=(model,))


def words(answer: dict[str, Any]) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


async def test_an_embedding_model_needs_no_flag(embedder: Path, socket: Path) -> None:
    """Its header says how it pools; equal texts have equal vectors, others do not."""
    async with serving(packaged(embedder), socket, Mode.EMBEDDING, Options()) as engine:
        answer = await engine.ask("/v1/embeddings", input=["cat", "cat", "dog"])

    first, same, other = (item["embedding"] for item in answer["data"])
    assert len(first) == 32
    assert first == pytest.approx(same, abs=1e-5)
    assert first != pytest.approx(other, abs=1e-3)


async def test_a_long_text_is_embedded_whole(embedder: Path, socket: Path) -> None:
    """An encoder has to take it in one go, which is as long as its context."""
    async with serving(packaged(embedder), socket, Mode.EMBEDDING, Options()) as engine:
        answer = await engine.ask("/v1/embeddings", input="cat " * 3000)

    assert 3002 == answer["usage"]["prompt_tokens"]


async def test_a_chat_model_embeds_whatever_its_context(smollm2: Path, socket: Path) -> None:
    """An odd one, which its slots cannot share evenly, made the engine fail as it started."""
    async with serving(packaged(smollm2), socket, Mode.EMBEDDING, Options(context_size=513)) as engine:
        answer = await engine.ask("/v1/embeddings", input=["one", "two"])

    assert 2 == len(answer["data"])


async def test_documents_are_ranked(reranker: Path, socket: Path) -> None:
    """Each gets a score, and the best comes first."""
    async with serving(packaged(reranker), socket, Mode.RERANKING, Options()) as engine:
        answer = await engine.ask("/v1/rerank", query="cat", documents=["a dog", "cat cat", "zebra"])

    scores = [row["relevance_score"] for row in answer["results"]]
    assert {row["index"] for row in answer["results"]} == {0, 1, 2}
    assert scores == sorted(scores, reverse=True)


async def test_an_adapter_of_the_model_is_applied(smollm2: Path, adapter: Path, socket: Path) -> None:
    """Answers are other ones with it; a request may switch it off."""
    off = [{"id": 0, "scale": 0.0}]
    bundle = chatting(smollm2, adapters=(adapter,))
    async with serving(bundle, socket, Mode.COMPLETION, Options(context_size=1024)) as engine:
        listed = await engine.get("/lora-adapters")
        adapted = words(await engine.say("Count from one to ten."))
        plain = words(await engine.say("Count from one to ten.", lora=off))

    assert [(entry["path"], entry["scale"]) for entry in listed] == [(str(adapter), 1.0)]
    assert adapted != plain
    assert plain.startswith("1")


async def test_a_draft_model_guesses(smollm2: Path, socket: Path) -> None:
    """Its guesses are checked and taken; the model as its own draft is always right."""
    options = Options(context_size=1024, draft=Draft((smollm2,), tokens=4, probability=0.05))
    async with serving(chatting(smollm2), socket, Mode.COMPLETION, options) as engine:
        timings = (await engine.say("Count from one to ten.", 24))["timings"]

    assert timings["draft_n"] >= 8
    assert timings["draft_n_accepted"] >= 0.9 * timings["draft_n"]


async def test_a_projector_lets_the_model_see(smollm2: Path, projector: Path, socket: Path) -> None:
    """An image becomes 16 tokens of the prompt; templates and schemas work as without one."""
    url = f"data:image/png;base64,{base64.b64encode(_png(32)).decode()}"
    content = [{"type": "text", "text": "Hi."}, {"type": "image_url", "image_url": {"url": url}}]
    bundle = chatting(smollm2, projector=projector)
    async with serving(bundle, socket, Mode.COMPLETION, Options(context_size=1024)) as engine:
        blind = await engine.say("Hi.", 2)
        seeing = await engine.ask(CHAT, messages=[{"role": "user", "content": content}], max_tokens=2)

    difference = seeing["usage"]["prompt_tokens"] - blind["usage"]["prompt_tokens"]
    assert 16 <= difference <= 20


async def test_a_grammar_and_a_schema_bind_the_answer(smollm2: Path, socket: Path) -> None:
    """What comes is what they allow, whatever the model would have said."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 7, "maximum": 9}}}
    strict = {"type": "json_schema", "json_schema": {"schema": {**schema, "required": ["n"]}}}
    async with serving(chatting(smollm2), socket, Mode.COMPLETION, Options(context_size=1024)) as engine:
        spoken = await engine.say("Are you well?", grammar='root ::= "perhaps" | "never"')
        written = await engine.say("Give me a number.", 32, response_format=strict)

    assert words(spoken) in {"perhaps", "never"}
    assert json.loads(words(written))["n"] in {7, 8, 9}


async def test_tools_are_called(smollm2: Path, socket: Path, tmp_path: Path) -> None:
    """With a template that knows tools, a call that was required comes, with arguments that fit."""
    template = tmp_path / "tools.jinja"
    template.write_text(TOOLS)
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'},
    }
    example = [
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    messages = [*example * 3, {"role": "user", "content": "Weather in Paris?"}]
    bundle = chatting(smollm2, template=template)
    async with serving(bundle, socket, Mode.COMPLETION, Options(context_size=1024)) as engine:
        answer = await engine.ask(
            CHAT, messages=messages, tools=[WEATHER], tool_choice="required", max_tokens=96
        )

    (made,) = answer["choices"][0]["message"]["tool_calls"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert made["function"]["name"] == "get_weather"
    assert json.loads(made["function"]["arguments"])["city"] in {"Paris", "Rome"}


@pytest.mark.parametrize(("source", "budget"), [(THINKING, 5), (THINKING, 0), (THINKING + OBEYING, 0)])
async def test_a_budget_ends_the_thinking(
    smollm2: Path, socket: Path, tmp_path: Path, source: str, budget: int
) -> None:
    """After so many tokens of it the answer begins; with none, nothing is thought."""
    template = tmp_path / "think.jinja"
    template.write_text(source)
    bundle = chatting(smollm2, template=template)
    options = Options(context_size=1024, reasoning_budget=budget)
    async with serving(bundle, socket, Mode.COMPLETION, options) as engine:
        message = (await engine.say("Tell me a long story.", 48))["choices"][0]["message"]
        thought = await engine.ask("/tokenize", content=message.get("reasoning_content") or "")

    assert len(thought["tokens"]) <= budget
    assert message["content"].strip()
    assert "think>" not in message["content"]


@pytest.mark.parametrize(("flags", "tokens"), [(("--context-shift",), 400), ((), 252)])
async def test_a_context_is_shifted_when_asked(
    smollm2: Path, socket: Path, flags: tuple[str, ...], tokens: int
) -> None:
    """An answer goes on past the context of 256 tokens with the flag, and ends there without."""
    options = Options(context_size=256, flags=flags)
    async with serving(chatting(smollm2), socket, Mode.COMPLETION, options) as engine:
        answer = await engine.ask(
            "/v1/completions", prompt="Once upon a time", max_tokens=400, ignore_eos=True
        )

    assert answer["usage"]["completion_tokens"] == tokens


@pytest.mark.parametrize("flags", [(), ("--parallel", "2")])
async def test_it_says_how_many_requests_it_serves_at_once(
    smollm2: Path, socket: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """As many as the engine has slots, by default and by flag."""
    options = Options(context_size=1024, flags=flags, states=tmp_path)
    async with serving(chatting(smollm2), socket, Mode.COMPLETION, options) as engine:
        slots = await engine.get("/slots")

    assert len(slots) == LlamaCpp().slots(options)


def _png(size: int) -> bytes:
    """A square image with stripes."""
    rows = b"".join(b"\0" + bytes(x * 8 % 256 for x in range(3 * size)) for _ in range(size))
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    )
