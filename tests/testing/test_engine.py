"""The fake engine behaves as its script says, and as llama-server would."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest

from modelrunner.engines.base import EngineSettings
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.testing.daemon import fake_llama_server
from modelrunner.testing.engine import read_arguments
from modelrunner.testing.program import Program, started

PROGRAM = (sys.executable, "-m", "modelrunner.testing.engine")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello big world"}]}
READY = "listening on"


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a Unix socket can be: a short path."""
    with TemporaryDirectory(prefix="mr-") as name:
        yield Path(name) / "x.sock"


@asynccontextmanager
async def _fake(
    path: Path, *arguments: str, words: str = READY, **script: object
) -> AsyncIterator[tuple[Program, aiohttp.ClientSession]]:
    env = {"FAKE_ENGINE": json.dumps(script)}
    argv = [*PROGRAM, "--model", "/m.gguf", "--host", str(path), *arguments]
    connector = aiohttp.UnixConnector(path=str(path))
    async with (
        started(argv, env) as program,
        aiohttp.ClientSession("http://engine", connector=connector) as session,
    ):
        await program.said(words)
        yield program, session


def _folder(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir()]


async def _ask(session: aiohttp.ClientSession, body: Mapping[str, object]) -> dict[str, object]:
    async with session.post("/v1/chat/completions", json=body) as response:
        answer = await response.json()
        assert isinstance(answer, dict)
        return answer


def _text(answer: dict[str, object]) -> object:
    choices = answer["choices"]
    assert isinstance(choices, list)
    return choices[0]["message"]["content"]


async def test_it_answers_with_the_words_of_the_question(path: Path) -> None:
    """So that a test sees its bytes arrive and come back; over and over if more are asked for."""
    async with _fake(path) as (_, session):
        plain = await _ask(session, CHAT)
        longer = await _ask(session, {**CHAT, "fake": {"tokens": 5}})
        cut = await _ask(session, {**CHAT, "max_tokens": 2})

    assert [_text(answer) for answer in (plain, longer, cut)] == [
        "hello big world",
        "hello big world hello big",
        "hello big",
    ]
    assert plain["model"] == "m"
    assert plain["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


async def test_it_streams_a_token_an_event(path: Path) -> None:
    """The role first, the finish reason last, then the usage if it is wanted, then `[DONE]`."""
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    async with (
        _fake(path) as (_, session),
        session.post("/v1/chat/completions", json=body) as response,
    ):
        kind = response.content_type
        lines = [line.decode().strip() async for line in response.content if line.strip()]

    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert kind == "text/event-stream"
    assert deltas[0] == {"role": "assistant", "content": None}
    assert "".join(delta["content"] for delta in deltas[1:-1]) == "hello big world"
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert lines[-1] == "data: [DONE]"


async def test_it_keeps_a_connection(path: Path) -> None:
    """Several requests, one connection: the parser starts over."""
    async with _fake(path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request + request)
        first = await reader.readuntil(b'{"status":"ok"}')
        second = await reader.readuntil(b'{"status":"ok"}')
        writer.close()
        await writer.wait_closed()

    assert first == second
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_it_completes_a_prompt(path: Path) -> None:
    """With the older shape of an answer."""
    async with (
        _fake(path) as (_, session),
        session.post("/v1/completions", json={"prompt": "a b"}) as response,
    ):
        answer = await response.json()

    assert answer["choices"] == [{"index": 0, "finish_reason": "stop", "text": "a b"}]
    assert answer["model"] == "/m.gguf"


@pytest.mark.parametrize(("arguments", "status"), [((), 501), (("--embeddings",), 200)])
async def test_it_embeds_only_when_started_for_it(
    path: Path, arguments: tuple[str, ...], status: int
) -> None:
    """As llama-server does, so that a wrong mode is noticed."""
    async with (
        _fake(path, *arguments) as (_, session),
        session.post("/v1/embeddings", json={"input": ["a", "b"]}) as response,
    ):
        answer = await response.json()

    assert response.status == status
    assert len(answer.get("data", [])) == (2 if status == 200 else 0)


async def test_it_measures_itself(path: Path) -> None:
    """Tokens made so far, in Prometheus' form."""
    async with _fake(path) as (_, session):
        await _ask(session, CHAT)
        text = await (await session.get("/metrics")).text()

    assert text.splitlines()[-1] == "llamacpp:tokens_predicted_total 3"


@pytest.mark.parametrize(
    ("url", "body", "status"),
    [("/nowhere", b"{}", 404), ("/v1/chat/completions", b"{", 400), ("/v1/chat/completions", b"[]", 400)],
)
async def test_it_refuses_what_it_does_not_know(path: Path, url: str, body: bytes, status: int) -> None:
    """With an error in llama.cpp's shape."""
    async with _fake(path) as (_, session), session.post(url, data=body) as response:
        answer = await response.json()

    assert response.status == status
    assert answer["error"]["code"] == status


async def test_it_is_not_ready_while_it_loads(path: Path) -> None:
    """Everything is 503 until then."""
    async with _fake(path, words="loading model", load_seconds=0.2) as (program, session):
        before = (await session.get("/health")).status
        refused = (await session.post("/v1/chat/completions", json=CHAT)).status
        await program.said(READY)
        after = (await session.get("/health")).status

    assert (before, refused, after) == (503, 503, 200)


async def test_it_can_hang_while_it_loads(path: Path) -> None:
    """It listens, and is never ready."""
    async with _fake(path, words="loading model", hang_at_load=True) as (_, session):
        status = (await session.get("/health")).status

    assert status == 503


async def test_it_can_report_another_health(path: Path) -> None:
    """For engines that are ready and say otherwise."""
    async with _fake(path, health_status=500) as (_, session):
        status = (await session.get("/health")).status

    assert status == 500


async def test_it_can_crash_while_it_loads(path: Path) -> None:
    """Its last line is the scripted one."""
    async with _fake(path, words="no such tensor", crash_at_load="no such tensor") as (program, _):
        status = await program.ended()

    assert status == 1


@pytest.mark.parametrize("script", [{"crash_on_request": True}, {"crash_after_tokens": 0}])
async def test_it_can_crash_at_a_request(path: Path, script: dict[str, object]) -> None:
    """Without an answer."""
    async with _fake(path) as (program, session):
        with pytest.raises(aiohttp.ClientError):
            await _ask(session, {**CHAT, "fake": script})
        status = await program.ended()

    assert status == 1
    assert "crashed on purpose" in program.output


async def test_it_can_crash_in_a_stream(path: Path) -> None:
    """After as many tokens as the script says, all of which arrive."""
    body = {**CHAT, "stream": True, "fake": {"crash_after_tokens": 2}}
    received = b""

    async def read(response: aiohttp.ClientResponse) -> None:
        nonlocal received
        async for chunk in response.content.iter_any():
            received += chunk

    async with _fake(path) as (_, session), session.post("/v1/chat/completions", json=body) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await read(response)

    assert b"hello" in received
    assert b"big" in received
    assert b"world" not in received


async def test_it_notices_that_its_client_left(path: Path) -> None:
    """And says after how many tokens, on stderr."""
    body = {**CHAT, "stream": True, "fake": {"tokens": 1000, "tokens_per_second": 50}}
    async with _fake(path) as (program, session):
        async with session.post("/v1/chat/completions", json=body) as response:
            await response.content.readline()
            response.close()
        line = await program.said("aborted")

    assert line.startswith("generation aborted by client after ")


async def test_it_can_hang_at_a_request(path: Path) -> None:
    """The client waits in vain, and others are served."""
    async with _fake(path) as (program, session):
        hanging = asyncio.create_task(_ask(session, {**CHAT, "fake": {"hang_on_request": True}}))
        await program.said("hangs on purpose")
        answer = await _ask(session, CHAT)
        done = hanging.done()
        hanging.cancel()

    assert not done
    assert _text(answer) == "hello big world"


async def test_it_can_answer_with_an_error(path: Path) -> None:
    """Of any status."""
    body = {**CHAT, "fake": {"status": 429}}
    async with _fake(path) as (_, session), session.post("/v1/chat/completions", json=body) as response:
        status = response.status

    assert status == 429


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(path: Path, number: signal.Signals) -> None:
    """And its socket goes with it."""
    async with _fake(path) as (program, _):
        program.process.send_signal(number)
        status = await program.ended()

    assert status == 0
    assert _folder(path) == []


async def test_it_can_ignore_signals(path: Path) -> None:
    """Only a kill ends it then."""
    async with _fake(path, ignore_sigterm=True) as (program, session):
        program.process.terminate()
        answer = await _ask(session, CHAT)
        program.process.kill()
        status = await program.ended()

    assert _text(answer) == "hello big world"
    assert status == -signal.SIGKILL


async def test_it_can_end_by_itself(path: Path) -> None:
    """As an engine that thinks it is done."""
    async with _fake(path, exit_after_seconds=0.05) as (program, _):
        status = await program.ended()

    assert status == 0


async def test_a_script_that_is_wrong_is_told(path: Path) -> None:
    """A misspelled wish is no silent default."""
    async with _fake(path, words="FAKE_ENGINE", tokenz=3) as (program, _):
        status = await program.ended()

    assert status == 1
    assert "tokenz" in program.output


@pytest.mark.parametrize(
    ("line", "minded"),
    [
        ("-ngl 999 --metrics --model a --host b --ctx-size 1", {"--model": "a", "--host": "b"}),
        ("--port=7 -m x --embedding", {"--port": "7", "--model": "x", "--embeddings": ""}),
    ],
)
def test_it_ignores_arguments_that_mean_nothing_to_it(line: str, minded: dict[str, str]) -> None:
    """llama-server's other flags may stand anywhere."""
    assert read_arguments(line.split()) == minded


def test_it_passes_for_a_llama_server(tmp_path: Path) -> None:
    """Its version can be read by the probe."""
    status = LlamaCpp(EngineSettings(server_path=fake_llama_server(tmp_path))).probe()

    assert str(status) == "Running: llama.cpp fake"
