"""Ollama's chat, generate and embed, from a client's socket to the engine's and back."""

import asyncio
import base64
import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

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
    assert last["total_duration"] >= last["eval_duration"] > 0


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


async def test_a_text_that_is_too_long_for_a_vector_is_cut(make_daemon: "Make") -> None:
    """And a header says which; with `truncate: false` it is an error."""
    daemon = await make_daemon(engine={"context": 3, "tokenizes": True})
    await daemon.add("docker.io/ai/tiny:latest")
    body = {"model": "ai/tiny", "input": ["one", "one two three four five"]}
    cut = await daemon.ask("POST", "/api/embed", json=body)
    whole = await daemon.ask("POST", "/api/embed", json={**body, "truncate": False})

    assert (200, 2, "input 1") == (cut.status, len(cut.json["embeddings"]), cut.headers["x-truncated"])
    assert [1] == cut.json["truncated"]
    assert (400, "context_length_exceeded") == (whole.status, whole.json["code"])


async def test_the_older_embeddings_give_one_vector(tiny: "Daemon") -> None:
    """Under another name, and nothing else."""
    answer = await tiny.ask("POST", "/api/embeddings", json={"model": "ai/tiny", "prompt": "x"})

    assert ["embedding"] == list(answer.json)
    assert 4 == len(answer.json["embedding"])


@pytest.fixture
async def large(daemon: "Daemon") -> "Daemon":
    """A daemon with a model that was trained for more than it usually gets."""
    header: dict[str, Any] = {"llama.context_length": 32_768}
    await daemon.add("docker.io/ai/tiny:latest", header=header)
    return daemon


def context_in_use(daemon: "Daemon") -> tuple[int, int | None]:
    """The engine's process, and the context that it was started with, if anybody chose one."""
    ((key, running),) = daemon.services.pool.running()
    return running.pid, daemon.services.loader.running[key].context_size


async def test_a_larger_context_is_given_once(large: "Daemon") -> None:
    """The engine is started again for it, and then no more, whether as much or less is asked for."""
    seen = []
    for size in (4096, 16_384, 16_384, 10_000):
        answer = await large.ask("POST", "/api/chat", json=chat(options={"num_ctx": size}))
        assert "x-context-shrunk" not in answer.headers
        seen.append(context_in_use(large))

    assert [None, 16_384, 16_384, 16_384] == [context for _, context in seen]
    assert 2 == len({pid for pid, _ in seen})


async def test_other_options_never_start_an_engine_again(large: "Daemon") -> None:
    """How to think, how long to stay, how to load: the process stays the same."""
    seen = set()
    for more in ({}, {"think": False}, {"keep_alive": "1h"}, {"options": {"num_gpu": 1, "num_thread": 2}}):
        answer = await large.ask("POST", "/api/chat", json=chat(**more))
        assert 200 == answer.status
        seen.add(context_in_use(large))

    assert 1 == len(seen)


async def test_a_context_that_nobody_can_have_is_told(large: "Daemon") -> None:
    """More than the model was trained for: it gets that, a header and the last line say so."""
    answer = await large.ask("POST", "/api/chat", json=chat(options={"num_ctx": 100_000}))

    assert "requested=100000; effective=32768" == answer.headers["x-context-shrunk"]
    assert 32_768 == answer.lines[-1]["num_ctx"]
    assert 32_768 == context_in_use(large)[1]


async def test_a_context_that_vectors_cannot_have_is_told(large: "Daemon") -> None:
    """As in a chat, in a header and in the answer."""
    body = {"model": "ai/tiny", "input": "hi", "options": {"num_ctx": 100_000}}
    answer = await large.ask("POST", "/api/embed", json=body)

    assert "requested=100000; effective=32768" == answer.headers["x-context-shrunk"]
    assert 32_768 == answer.json["num_ctx"]


async def test_a_context_is_not_taken_from_others(large: "Daemon") -> None:
    """While the model is in use it stays as it is, and the answer says so."""
    async with large.stream(fake=SLOW) as busy:
        await busy.content.readuntil(b"hello")
        answer = await large.ask("POST", "/api/chat", json=chat(options={"num_ctx": 16_384}))

    assert (200, "requested=16384; effective=8192") == (answer.status, answer.headers["x-context-shrunk"])
    assert context_in_use(large)[1] is None


# What is wrong


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", b"{", 400, "invalid request"),
        ("/api/chat", b"[1]", 400, "invalid request"),
        ("/api/chat", b"\xff\xfe", 400, "invalid request"),
        ("/api/chat", b"{}", 400, "model is required"),
        ("/api/chat", b'{"model": 7}', 400, "invalid request"),
        ("/api/chat", b'{"model": "ai/tiny", "messages": 7}', 400, "messages"),
        ("/api/chat", b'{"model": "ai/tiny", "messages": [{"role": "robot"}]}', 400, "invalid role"),
        ("/api/chat", b'{"model": "ai/absent", "messages": []}', 404, "model not found"),
        ("/api/chat", b'{"model": "Not A Name"}', 400, "invalid model reference"),
        ("/api/generate", b'{"model": "ai/tiny", "prompt": 7}', 400, "prompt"),
        ("/api/generate", b'{"model": "ai/tiny", "prompt": "x", "format": 7}', 400, "invalid format"),
        (
            "/api/generate",
            b'{"model": "ai/tiny", "prompt": "x", "raw": true, "system": "s"}',
            400,
            "raw mode does not support",
        ),
        ("/api/generate", b'{"model": "ai/tiny", "prompt": "x", "template": "{{ if"}', 400, "template"),
        ("/api/generate", b'{"model": "ai/tiny", "prompt": "x", "context": [7]}', 400, "invalid context"),
        ("/api/generate", b'{"model": "ai/tiny", "keep_alive": "soon"}', 400, "invalid duration"),
        ("/api/generate", b'{"model": "ai/tiny", "prompt": "x", "options": {"top_k": "x"}}', 400, "top_k"),
        ("/api/embed", b'{"model": "ai/tiny", "input": {}}', 400, "input"),
        ("/api/embed", b'{"model": "ai/tiny", "input": "x", "dimensions": 0}', 400, "dimensions"),
        ("/api/show", b"{}", 400, "model is required"),
        ("/api/show", b'{"model": "ai/absent"}', 404, "model not found"),
        ("/api/pull", b"{}", 400, "model is required"),
        ("/api/push", b'{"model": "ai/absent"}', 404, "model not found"),
        ("/api/copy", b"{}", 400, "source"),
        ("/api/copy", b'{"source": "ai/absent", "destination": "x"}', 404, "model not found"),
        ("/api/create", b"{}", 400, "model is required"),
        ("/api/create", b'{"model": "x"}', 400, "either `from` or `files`"),
        ("/api/create", b'{"model": "x", "from": "ai/tiny", "quantize": "q4_0"}', 400, "llama-quantize"),
        ("/api/create", b'{"model": "x", "modelfile": "FROM y"}', 400, "Modelfile"),
        ("/api/create", b'{"model": "x", "from": "ai/tiny", "template": "{{ .Nope }}"}', 400, "not known"),
        ("/api/create", b'{"model": "x", "files": {"a.gguf": "sha256:zz"}}', 400, "sha256:zz"),
        ("/api/nothing", b"{}", 404, ""),
    ],
)
async def test_errors_are_ollamas(tiny: "Daemon", path: str, body: bytes, status: int, words: str) -> None:
    """A status, and one text; the lease is free."""
    answer = await tiny.ask("POST", path, data=body)

    assert status == answer.status
    if words:
        assert "application/json" == answer.headers["content-type"]
        assert words in answer.json["error"]
    assert {0} >= {resident.leases for resident in tiny.residents}


async def test_a_body_over_the_limit_is_refused(make_daemon: "Make") -> None:
    """In the dialect's own form."""
    daemon = await make_daemon(DMR_BODY_LIMIT="1KiB")
    answer = await daemon.ask("POST", "/api/chat", data=b"x" * 2000)

    assert 413 == answer.status
    assert "request too large" in answer.json["error"]


async def test_a_model_that_embeds_does_not_talk(daemon: "Daemon") -> None:
    """And says what to use instead."""
    await daemon.add("docker.io/ai/bert:latest", architecture="bert")
    answer = await daemon.ask("POST", "/api/chat", json={**chat(), "model": "ai/bert"})

    assert 422 == answer.status
    assert "embeddings" in answer.json["error"]


async def test_a_picture_for_a_model_that_is_blind_is_refused(tiny: "Daemon") -> None:
    """Before its engine is loaded."""
    message = {"role": "user", "content": "what?", "images": [PICTURE]}
    answer = await tiny.ask("POST", "/api/chat", json={"model": "ai/tiny", "messages": [message]})

    assert 400 == answer.status
    assert "does not support vision" in answer.json["error"]
    assert () == tiny.residents


WORD = 'data: {"choices":[{"delta":{"content":"w\u00f6rd \U0001f600"}}]}\n\n'
HALF = 'data: {"choices":[{"delta":{"content":"\xc3"}}]}\n\n'
END = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def said(text: str) -> str:
    """A stream's bytes, as the fake engine is told them."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("engine", "status", "words"),
    [
        ({"status": 429}, 429, "refused on purpose"),
        ({"status": 500}, 500, "refused on purpose"),
        ({"crash_on_request": True}, 500, "crashed on purpose"),
        ({"crash_at_load": "out of memory"}, 500, "out of memory"),
        ({"raw": "data: {no json\n\n"}, 500, "did not answer properly"),
        ({"raw": 'data: {"error":{"message":"lost","code":500}}\n\n'}, 500, "lost"),
        ({"raw": ""}, 500, "did not complete"),
    ],
)
async def test_an_engines_error_before_its_answer_is_a_status(
    make_daemon: "Make", engine: dict[str, Any], status: int, words: str
) -> None:
    """With the engine's words, in the dialect's form; nothing is left over."""
    daemon = await make_daemon(engine=engine)
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await daemon.ask("POST", "/api/chat", json=chat())

    assert status == answer.status
    assert words in answer.json["error"]
    assert {0} >= {resident.leases for resident in daemon.residents}


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"crash_after_tokens": 1}, "crashed on purpose after 1 tokens"),
        ({"raw": said(WORD)}, "did not complete"),
        ({"raw": said(WORD) + "data: {"}, "did not answer properly"),
        ({"raw": said(WORD) + 'data: {"error":{"message":"lost"}}\n\n'}, "lost"),
        (
            {"raw": said(WORD) + HALF},
            "did not answer properly",
        ),
    ],
)
async def test_an_engines_error_in_mid_stream_is_the_last_line(
    make_daemon: "Make", engine: dict[str, Any], words: str
) -> None:
    """Clients raise it; the lease is free."""
    daemon = await make_daemon(engine=engine)
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await daemon.ask("POST", "/api/chat", json=chat())

    assert 200 == answer.status
    assert answer.lines[0]["message"]["content"]
    assert words in answer.lines[-1]["error"]
    assert {0} >= {resident.leases for resident in daemon.residents}


async def test_an_engine_may_send_byte_by_byte(make_daemon: "Make") -> None:
    """A character in pieces is whole again."""
    daemon = await make_daemon(engine={"raw": said(WORD + ": ping\r\n\r\n" + END)})
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await daemon.ask("POST", "/api/chat", json=chat())

    assert ["wörd 😀", ""] == [line["message"]["content"] for line in answer.lines]


async def test_a_client_that_leaves_stops_the_generation(make_daemon: "Make") -> None:
    """The lease is given back at once."""
    daemon = await make_daemon(engine=SLOW)
    await daemon.add("docker.io/ai/tiny:latest")
    request = asyncio.create_task(daemon.ask("POST", "/api/chat", json=chat()))
    await daemon.engine_says("generation started")
    request.cancel()
    await asyncio.wait([request])
    await daemon.engine_says("aborted by client")

    assert [0] == [resident.leases for resident in daemon.residents]


async def test_a_deadline_is_the_last_line(make_daemon: "Make") -> None:
    """In a stream that has begun."""
    daemon = await make_daemon(engine=SLOW)
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.ask("POST", "/api/generate", json={"model": "ai/tiny"})
    answer = await daemon.ask("POST", "/api/chat", json=chat(), headers={"X-Request-Timeout": "0.5"})

    assert 200 == answer.status
    assert "deadline" in answer.lines[-1]["error"]


async def test_a_client_that_stops_reading_is_let_go(make_daemon: "Make") -> None:
    """Its engine is held back, then stopped; connection and lease are free again."""
    daemon = await make_daemon(engine={"tokens": 2_000_000})
    await daemon.add("docker.io/ai/tiny:latest")
    daemon.services.requests._stall = 0.2
    await daemon.ask("POST", "/api/generate", json={"model": "ai/tiny"})
    body, port = json.dumps(chat("word " * 50)).encode(), int(daemon.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write(head + body)
    await reader.readline()
    await daemon.engine_says("aborted by client")

    await daemon.until(lambda: [0] == [resident.leases for resident in daemon.residents])
    writer.close()
