"""A fake engine: a small, fast program with llama-server's surface and no model, for tests and benchmarks.

    FAKE_ENGINE='{"load_seconds": 1}' python -m modelrunner.testing.engine --model X --host /run/x.sock

It takes llama-server's arguments and minds `--model`, `--alias`, `--host`, `--port`, `--embeddings`,
`--reranking` and `--version`. It answers with the words of the last user message, over and over if more are
asked for. How it behaves is told by JSON in the environment variable `FAKE_ENGINE` (see `Behaviour`), and for
one request by an object `fake` in the body. A generation that is streamed, or takes time, is told on stderr
when it starts, and when its client leaves: `generation aborted by client after N tokens`. `GET /asked` gives
the body of the last `POST`, as it came.
"""

import asyncio
import itertools
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, cast

import httptools
import msgspec

from modelrunner.testing.generation import (
    Behaviour,
    Body,
    Generation,
    crash,
    log,
    prompt_size,
    tokens_of,
)

_new_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop as _new_loop
except ImportError:  # not made for Windows
    from asyncio import new_event_loop as _new_loop

_LOADING = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
_NOT_FOUND = b'{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}'
_BAD_JSON = b'{"error":{"code":400,"message":"the body is no JSON object","type":"invalid_request_error"}}'
_EXCEEDED = (
    b'{"error":{"code":400,"type":"exceed_context_size_error","message":"the request exceeds the context",'
    b'"n_prompt_tokens":%d,"n_ctx":%d}}'
)
_WRONG_MODE = (
    b'{"error":{"code":501,"message":"This server does not support embeddings.'
    b' Start it with `--embeddings`","type":"not_supported_error"}}'
)
_TURNS = frozenset({"/sleep", "/wake_up", "/is_sleeping"})
_SLEEPS = b'{"error":{"code":500,"message":"the engine is asleep","type":"server_error"}}'
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 501: "Not Implemented"}
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: fake\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_TOKEN_ROUTES = ("/tokenize", "/detokenize", "/apply-template", "/v1/chat/completions/input_tokens")
_SWITCHES = frozenset({"--embeddings", "--embedding", "--reranking", "--rerank", "--version"})
_VALUED = frozenset({"--model", "-m", "--host", "--port", "--alias", "-a"})


class _Ranking(msgspec.Struct):
    query: str
    documents: list[str]


class _Engine:
    """The state that all connections share."""

    def __init__(self, behaviour: Behaviour, arguments: dict[str, str]) -> None:
        self.behaviour = behaviour
        self.arguments = arguments
        self.ready = False
        self.asleep = False
        self.requests = itertools.count(1)
        self.generated = 0
        self.asked = b""
        self.embeds = "--embeddings" in arguments or "--reranking" in arguments

    @property
    def model(self) -> str:
        return self.arguments.get("--alias") or self.arguments.get("--model", "")

    def behaviour_for(self, body: Body) -> Behaviour:
        if body.fake is None:
            return self.behaviour
        asked = msgspec.convert(body.fake, Behaviour)
        given = {name: getattr(asked, name) for name in body.fake}
        return msgspec.structs.replace(self.behaviour, **given)


class _Connection(asyncio.Protocol):
    """One client: requests in, answers out, one after the other."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._behaviour = engine.behaviour
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._chunks: list[bytes] = []
        self._packed = False
        self._generation: Generation | None = None
        self._streaming = False
        self._timer: asyncio.Handle | None = None
        self._waiting: deque[tuple[str, str, bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._generation is not None:
            log(f"generation aborted by client after {self._generation.done} tokens")
            self._generation = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._reply(400, _BAD_JSON)
            if self._transport is not None:
                self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-encoding" and value.lower() != b"identity":
            log("fake engine: the body is packed, which it does not understand")
            self._packed = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        path = self._url.decode("latin-1").partition("?")[0]
        # What says that it is packed and cannot be unpacked is no JSON either.
        body = b"" if self._packed else b"".join(self._chunks)
        self._packed = False
        self._chunks.clear()
        if self._generation is not None:
            self._waiting.append((method, path, body))
        else:
            self._answer(method, path, body)

    def _turn(self, path: str) -> None:
        """Fall asleep, or wake, as vLLM does in its development mode."""
        engine = self._engine
        if path == "/is_sleeping":
            self._reply(200, b'{"is_sleeping":%b}' % (b"true" if engine.asleep else b"false"))
        elif path == engine.behaviour.restless:
            self._reply(500, b'{"error":"out of memory"}')
        elif path != engine.behaviour.hang_at:
            engine.asleep = path == "/sleep"
            log("asleep" if engine.asleep else "awake")
            self._reply(200, b'{"status":"done"}')

    def _answer(self, method: str, path: str, body: bytes) -> None:
        engine = self._engine
        if path == "/health":
            status = engine.behaviour.health_status or (200 if engine.ready else 503)
            self._reply(status, b'{"status":"ok"}' if status == 200 else _LOADING)
        elif not engine.ready:
            self._reply(503, _LOADING)
        elif method == "GET" and path == "/metrics":
            name = "llamacpp:tokens_predicted_total"
            lines = f"# TYPE {name} counter\n{name} {engine.generated}\n"
            self._reply(200, lines.encode(), b"text/plain; version=0.0.4")
        elif method == "GET" and path == "/v1/models":
            listed = {"object": "list", "data": [{"id": engine.model, "object": "model"}]}
            self._reply(200, msgspec.json.encode(listed))
        elif method == "GET" and path == "/asked":
            self._reply(200, engine.asked)
        elif path in _TURNS:
            self._turn(path)
        elif engine.asleep:
            self._reply(500, _SLEEPS)
        elif method == "POST":
            self._work(path, body)
        else:
            self._reply(404, _NOT_FOUND)

    def _work(self, path: str, body: bytes) -> None:
        engine = self._engine
        engine.asked = body
        if path in _TOKEN_ROUTES and engine.behaviour.tokenizes:
            self._reply(200, msgspec.json.encode(tokens_of(path, body)))
        elif path == "/infill":
            self._reply(200, b'{"content":"filled","stop":true,"stop_type":"eos"}')
        elif path.endswith(("/completions", "/embeddings")):
            self._infer(path, body)
        elif path.endswith("/rerank") and "--reranking" in engine.arguments:
            self._rank(body)
        else:
            self._reply(404, _NOT_FOUND)

    def _infer(self, path: str, raw: bytes) -> None:
        try:
            body = _DECODER.decode(raw)
            behaviour = self._engine.behaviour_for(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._reply(400, _BAD_JSON)
            return
        if behaviour.crash_on_request:
            crash("fake engine: crashed on purpose at a request")
        if behaviour.hang_on_request:
            log("fake engine: hangs on purpose")
        elif behaviour.status is not None:
            text = {"code": behaviour.status, "message": "refused on purpose", "type": "fake_error"}
            self._reply(behaviour.status, msgspec.json.encode({"error": text}))
        elif behaviour.context is not None and (words := prompt_size(body)) > behaviour.context:
            self._reply(400, _EXCEEDED % (words, behaviour.context))
        elif path.endswith("/embeddings"):
            self._embed(body)
        else:
            self._generate(path, body, behaviour)

    def _rank(self, raw: bytes) -> None:
        """Score a document by how many words of the query it has."""
        try:
            asked = msgspec.json.decode(raw, type=_Ranking)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._reply(400, _BAD_JSON)
            return
        words = set(asked.query.split())
        results = [
            {"index": index, "relevance_score": float(len(words & set(document.split())))}
            for index, document in enumerate(asked.documents)
        ]
        self._reply(200, msgspec.json.encode({"object": "list", "results": results[::-1]}))

    def _embed(self, body: Body) -> None:
        if not self._engine.embeds:
            self._reply(501, _WRONG_MODE)
            return
        inputs = body.input if isinstance(body.input, list) else [body.input]
        data = [
            {"object": "embedding", "index": index, "embedding": [len(str(text)) / 100, 0.5, -0.25, 1.0]}
            for index, text in enumerate(inputs)
        ]
        tokens = sum(len(str(text).split()) for text in inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        model = body.model or self._engine.model
        self._reply(
            200, msgspec.json.encode({"object": "list", "model": model, "data": data, "usage": usage})
        )

    def _generate(self, path: str, body: Body, behaviour: Behaviour) -> None:
        body.model = body.model or self._engine.model
        generation = Generation(str(next(self._engine.requests)), path, body, behaviour)
        if not body.stream and generation.is_instant:
            self._engine.generated += generation.count
            self._reply(200, generation.whole())
            return
        if body.stream and behaviour.raw is not None:
            self._write(_STREAM_HEAD)
            for byte in behaviour.raw.encode("latin-1"):
                self._chunk(bytes((byte,)))
            self._write(b"0\r\n\r\n")
            return
        log(
            f"generation started {generation.name} tokens={generation.count} stream={body.stream}"
            f" model={body.model}"
        )
        self._generation = generation
        self._streaming = body.stream
        if body.stream:
            self._write(_STREAM_HEAD)
            self._chunk(generation.first())
        self._step()

    def _step(self) -> None:
        """Make one token and see to the next, at the pace that was asked for."""
        generation = self._generation
        if generation is None:
            return
        if generation.done == generation.count:
            self._finish(generation)
            return
        text = generation.event() if self._streaming else b""
        generation.advance()
        self._engine.generated += 1
        self._chunk(text)
        loop = asyncio.get_running_loop()
        rate = generation.behaviour.tokens_per_second
        if rate is None or generation.done == generation.count:
            self._timer = loop.call_soon(self._step)
        else:
            self._timer = loop.call_later(1 / rate, self._step)

    def _finish(self, generation: Generation) -> None:
        self._generation = None
        if self._streaming:
            self._chunk(generation.last())
            self._write(b"0\r\n\r\n")
        else:
            self._reply(200, generation.whole())
        while self._waiting and self._generation is None:
            self._answer(*self._waiting.popleft())

    def _chunk(self, text: bytes) -> None:
        if text:
            self._write(b"%x\r\n%b\r\n" % (len(text), text))

    def _reply(self, status: int, body: bytes, kind: bytes = b"application/json; charset=utf-8") -> None:
        reason = _REASONS.get(status, "Error").encode()
        self._write(
            b"HTTP/1.1 %d %b\r\nServer: fake\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (status, reason, kind, len(body), body)
        )

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


_DECODER = msgspec.json.Decoder(Body)


def read_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """The arguments that the fake minds; others are ignored, with their values."""
    minded: dict[str, str] = {}
    rest: Iterator[str] = iter(arguments)
    for token in rest:
        name, joined, value = token.partition("=")
        if name in _VALUED:
            name = {"-m": "--model", "-a": "--alias"}.get(name, name)
            minded[name] = value if joined else next(rest, "")
        elif name in _SWITCHES:
            minded[{"--embedding": "--embeddings", "--rerank": "--reranking"}.get(name, name)] = ""
    return minded


async def serve(behaviour: Behaviour, arguments: dict[str, str]) -> None:
    """Listen, "load", and answer until a signal or the end that was asked for."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, (lambda: None) if behaviour.ignore_sigterm else over.set)
    if behaviour.exit_after_seconds is not None:
        loop.call_later(behaviour.exit_after_seconds, over.set)
    engine = _Engine(behaviour, arguments)
    host = arguments.get("--host", "127.0.0.1")
    if host.endswith(".sock"):
        os.umask(0o077)
        await loop.create_unix_server(lambda: _Connection(engine), host)
    else:
        await loop.create_server(lambda: _Connection(engine), host, int(arguments.get("--port", "8080")))

    log("loading model")

    def loaded() -> None:
        if behaviour.crash_at_load is not None:
            crash(behaviour.crash_at_load)
        if not behaviour.hang_at_load:
            engine.ready = True
            log(f"model loaded, listening on {host}")

    if behaviour.load_seconds:
        loop.call_later(behaviour.load_seconds, loaded)
    else:
        loaded()
    await over.wait()
    _leave(host)


def _leave(host: str) -> NoReturn:
    if host.endswith(".sock"):
        Path(host).unlink(missing_ok=True)
    os._exit(0)  # connections and their streams end with the process, as an engine's do


def main(arguments: Sequence[str]) -> None:
    """Run the program."""
    minded = read_arguments(arguments)
    if "--version" in minded:
        log("version: 1 (fake)")
        return
    try:
        behaviour = msgspec.json.decode(os.environ.get("FAKE_ENGINE") or "{}", type=Behaviour)
    except msgspec.MsgspecError as exc:
        crash(f"FAKE_ENGINE: {exc}")
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(serve(behaviour, minded))


if __name__ == "__main__":
    main(sys.argv[1:])
