"""Ollama's chat, generate and embed, from a client's socket to the engine's and back."""

import base64
import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 8, 8)).decode()
SLOW = {"tokens": 100_000, "tokens_per_second": 100}


def chat(text: str = "hello world", **more: Any) -> dict[str, Any]:
    return {"model": "ai/tiny", "messages": [{"role": "user", "content": text}], **more}


async def test_chat_streams_lines(tiny: "Daemon") -> None:
    """A line for each word, then one with counts and durations in nanoseconds."""
    answer = await tiny.ask("POST", "/api/chat", json=chat())

    assert 200 == answer.status
    assert "application/x-ndjson" == answer.headers["content-type"]
    *words, last = answer.lines
    assert ["hello ", "world"] == [line["message"]["content"] for line in words]
    assert {"assistant"} == {line["message"]["role"] for line in answer.lines}
    assert [False, False] == [line["done"] for line in words]
    assert {"ai/tiny"} == {line["model"] for line in answer.lines}
    assert (True, "stop", 2, 2) == (
        last["done"],
        last["done_reason"],
        last["prompt_eval_count"],
        last["eval_count"],
    )
    assert last["total_duration"] >= last["load_duration"] > 0
    assert last["eval_duration"] >= 0


async def test_chat_answers_whole(tiny: "Daemon") -> None:
    """With `stream: false` there is one object, which has everything."""
    answer = await tiny.ask("POST", "/api/chat", json=chat(stream=False))

    assert "application/json" == answer.headers["content-type"]
    assert {"role": "assistant", "content": "hello world"} == answer.json["message"]
    assert (True, "stop") == (answer.json["done"], answer.json["done_reason"])


async def test_an_answer_that_was_cut_says_so(tiny: "Daemon") -> None:
    """`num_predict` is how many tokens there may be."""
    answer = await tiny.ask("POST", "/api/chat", json=chat("a b c d", options={"num_predict": 2}))

    assert ("length", 2) == (answer.lines[-1]["done_reason"], answer.lines[-1]["eval_count"])


async def test_generate_gives_a_conversation_back(tiny: "Daemon") -> None:
    """`context` is sent with the next prompt, which then stands behind what was said."""
    first = await tiny.ask("POST", "/api/generate", json={"model": "ai/tiny", "prompt": "one two"})
    *words, last = first.lines
    context = last["context"]
    second = await tiny.ask(
        "POST",
        "/api/generate",
        json={"model": "ai/tiny", "prompt": "three", "context": context, "stream": False},
    )

    assert "one two" == "".join(line["response"] for line in words)
    assert "three" == second.json["response"]
    said = json.loads(bytes(second.json["context"]))
    assert ["one two", "one two", "three", "three"] == [message["content"] for message in said]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"raw": True, "prompt": "as it is"}, "as it is"),
        ({"template": "{{ .System }}|{{ .Prompt }}", "system": "S", "prompt": "P"}, "S|P"),
    ],
)
async def test_generate_continues_prompts(tiny: "Daemon", more: dict[str, Any], expected: str) -> None:
    """Raw, and as a template of the request has it."""
    body = {"model": "ai/tiny", "stream": False, **more}
    answer = await tiny.ask("POST", "/api/generate", json=body)

    assert expected == answer.json["response"]
    assert "context" not in answer.json


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_a_request_that_asks_nothing_loads_and_unloads(tiny: "Daemon", path: str) -> None:
    """With `keep_alive: 0` the model goes, else it comes, and stays for as long as was asked."""
    loaded = await tiny.ask("POST", path, json={"model": "ai/tiny", "keep_alive": "10m"})
    here = [(resident.key.mode, resident.keep_alive) for resident in tiny.residents]
    unloaded = await tiny.ask("POST", path, json={"model": "ai/tiny", "keep_alive": 0})

    assert (True, "load") == (loaded.json["done"], loaded.json["done_reason"])
    assert [("completion", 600.0)] == here
    assert (True, "unload") == (unloaded.json["done"], unloaded.json["done_reason"])
    assert () == tiny.residents


@pytest.mark.parametrize(
    ("keep_alive", "expected"),
    [(90, 90.0), (-1, None), ("1h30m", 5400.0), ("300", 300.0), ("-1", None), ("-5m", None), (1.5, 1.5)],
)
async def test_a_model_stays_for_as_long_as_was_asked(
    tiny: "Daemon", keep_alive: object, expected: float | None
) -> None:
    """Seconds, as a number or a text; a duration; negative for ever."""
    await tiny.ask("POST", "/api/chat", json=chat(keep_alive=keep_alive))

    assert [expected] == [resident.keep_alive for resident in tiny.residents]


async def test_a_model_that_is_not_to_stay_goes_after_its_answer(tiny: "Daemon") -> None:
    """`keep_alive: 0` with a question."""
    await tiny.ask("POST", "/api/chat", json=chat(keep_alive=0))

    await tiny.until(lambda: tiny.residents == ())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input": "one"}, 1),
        ({"input": ["one", "two"]}, 2),
        ({"input": []}, 0),
        ({"input": ""}, 0),
    ],
)
async def test_embed_gives_a_vector_for_each_text(
    tiny: "Daemon", body: dict[str, Any], expected: int
) -> None:
    """None for none, which loads the model all the same."""
    answer = await tiny.ask("POST", "/api/embed", json={"model": "ai/tiny", **body})

    assert 200 == answer.status
    assert [4] * expected == [len(vector) for vector in answer.json["embeddings"]]
    assert ["embedding"] == [resident.key.mode for resident in tiny.residents]


async def test_embed_shortens_vectors(tiny: "Daemon") -> None:
    """Their first numbers, with the length one."""
    answer = await tiny.ask("POST", "/api/embed", json={"model": "ai/tiny", "input": "x", "dimensions": 2})
    first, second = answer.json["embeddings"][0]

    assert 1.0 == pytest.approx(first**2 + second**2)


async def test_the_older_embeddings_give_one_vector(tiny: "Daemon") -> None:
    """Under another name, and nothing else."""
    answer = await tiny.ask("POST", "/api/embeddings", json={"model": "ai/tiny", "prompt": "x"})

    assert ["embedding"] == list(answer.json)
    assert 4 == len(answer.json["embedding"])


async def test_a_larger_context_is_given_once(tiny: "Daemon") -> None:
    """The engine is started again for it, and then no more, whether larger or smaller ones are asked for."""
    numbers = []
    for size in (512, 1024, 1024, 256):
        answer = await tiny.ask("POST", "/api/chat", json=chat(options={"num_ctx": size}))
        assert "x-context-shrunk" not in answer.headers
        ((key, running),) = tiny.services.pool.running()
        numbers.append(running.pid)
        options = tiny.services.loader.running[key]

    assert options.context_size in {None, 1024}
    assert numbers[1] == numbers[2] == numbers[3]
