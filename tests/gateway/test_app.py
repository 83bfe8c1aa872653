"""The gateway between a real client and providers on real sockets."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from modelrunner.gateway.app import Gateway
from modelrunner.gateway.config import parse
from modelrunner.gateway.upstream import opened
from modelrunner.testing.serving import serving, serving_in_thread

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "hi"}]}


class Provider:
    """Answers with its name, or as it is told to, and remembers what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.refuses: list[tuple[int, object]] = []
        self.breaks = False
        self.moves = ""
        self.left = threading.Event()  # a client that wanted no more of a stream
        self.holds = False

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append((request.url.path, body, dict(request.headers)))
        if self.moves:
            return Response(status_code=307, headers={"Location": self.moves})
        if self.refuses:
            status, document = self.refuses.pop(0)
            return JSONResponse(document, status_code=status)
        if request.url.path.endswith("/messages"):
            return self._as_anthropic(body)
        if request.url.path.endswith("/embeddings"):
            return JSONResponse({"object": "list", "data": [{"embedding": [0.5]}]})
        if body.get("stream"):
            return StreamingResponse(self._stream(), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": self.name}, "finish_reason": "stop"}
        document = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        return JSONResponse(document)

    async def _stream(self) -> AsyncIterator[bytes]:
        if self.holds:
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        for word in ("Hel", "lo"):
            chunk = {"choices": [{"index": 0, "delta": {"content": word}}], "id": "1", "model": "m"}
            yield b"data: %b\n\n" % json.dumps(chunk).encode()
            if self.breaks:
                raise ConnectionError
        yield b"data: [DONE]\n\n"

    def _as_anthropic(self, body: dict[str, Any]) -> Response:
        if not body.get("stream"):
            return JSONResponse(
                {
                    "id": "msg_1",
                    "content": [{"type": "text", "text": "Bonjour"}],
                    "stop_reason": "max_tokens",
                    "usage": {"input_tokens": 3, "output_tokens": 2},
                }
            )
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {"id": "msg_1", "content": []}},
            {"type": "ping"},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Bon"}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "jour"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ]
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        if self.breaks:
            text = text.replace('"jour"', '"jour')
        return Response(text, media_type="text/event-stream")


@pytest.fixture
def providers() -> Iterator[dict[str, tuple[Provider, str]]]:
    """Three providers, each with its address."""
    with contextlib.ExitStack() as stack:
        yield {
            name: (provider, stack.enter_context(serving_in_thread(provider.app())))
            for name in ("one", "two", "claude")
            for provider in [Provider(name)]
        }


@contextlib.asynccontextmanager
async def _gateway(providers: dict[str, tuple[Provider, str]], **general: object) -> AsyncIterator[str]:
    one, two, claude = (providers[name][1] for name in ("one", "two", "claude"))
    document = {
        "model_list": [
            {"model_name": "fast", "params": {"model": "mine/m1", "api_base": one, "api_key": "k1"}},
            {"model_name": "fast", "params": {"model": "mine/m2", "api_base": two}},
            {"model_name": "single", "params": {"model": "mine/m1", "api_base": one}},
            {"model_name": "claude", "params": {"model": "anthropic/c", "api_base": claude, "api_key": "k3"}},
            {
                "model_name": "azure",
                "params": {"model": "azure/m", "api_base": one, "api_key": "k4"} | {"api_version": "2026-01"},
            },
            {"model_name": "gone", "params": {"model": "mine/m", "api_base": "http://127.0.0.1:9"}},
        ],
        "general_settings": general,
    }
    config = parse(json.dumps(document), {}, "http://127.0.0.1:9")
    async with opened() as upstream, serving(Gateway(config, upstream).app()) as url:
        yield url


async def test_openai_s_client_is_served_in_turn(providers: dict[str, tuple[Provider, str]]) -> None:
    """One deployment after the other, each with its own model and key; all fields go along."""
    async with _gateway(providers) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:
        answers = [
            await client.chat.completions.create(
                model="fast", messages=[{"role": "user", "content": "hi"}], seed=1
            )
            for _ in range(3)
        ]
        embedding = await client.embeddings.create(model="fast", input="x", encoding_format="float")
        names = [model.id async for model in client.models.list()]

    assert [answer.choices[0].message.content for answer in answers] == ["one", "two", "one"]
    path, body, headers = providers["one"][0].seen[0]
    assert (path, body["model"], body["seed"]) == ("/chat/completions", "m1", 1)
    assert headers["authorization"] == "Bearer k1"
    assert "authorization" not in providers["two"][0].seen[0][2]
    assert embedding.data[0].embedding == [0.5]
    assert names == ["azure", "claude", "fast", "gone", "single"]


async def test_an_answer_streams(providers: dict[str, tuple[Provider, str]]) -> None:
    """From either kind of provider, as OpenAI's chunks."""
    async with _gateway(providers) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:
        texts = []
        for model in ("fast", "claude"):
            stream = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hi"}], stream=True
            )
            texts.append("".join([chunk.choices[0].delta.content or "" async for chunk in stream]))

    assert texts == ["Hello", "Bonjour"]


async def test_anthropic_is_asked_in_its_own_words(providers: dict[str, tuple[Provider, str]]) -> None:
    """System apart, a limit, its headers; what comes back is OpenAI's."""
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "yes?"},
    ]
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        body = {"model": "claude", "messages": messages, "stop": "END"}
        answer = (await client.post(f"{url}{CHAT}", json=body)).json()
        refused = await client.post(f"{url}/v1/embeddings", json={"model": "claude", "input": "x"})

    path, asked, headers = providers["claude"][0].seen[0]
    assert path == "/messages"
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("k3", "2023-06-01")
    assert asked == {
        "model": "c",
        "system": "Be kind.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "yes?"}]},
        ],
        "max_tokens": 4096,
        "stop_sequences": ["END"],
    }
    assert answer["id"] == "chatcmpl-msg_1"
    assert answer["choices"][0]["message"]["content"] == "Bonjour"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 5
    assert refused.status_code == 400


async def test_azure_has_its_own_header_and_version(providers: dict[str, tuple[Provider, str]]) -> None:
    """And no bearer."""
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        await client.post(f"{url}{CHAT}", json={"model": "azure", **ASKED})

    _, _, headers = providers["one"][0].seen[0]
    assert (headers["api-key"], "authorization" in headers) == ("k4", False)


async def test_what_fails_is_tried_elsewhere(providers: dict[str, tuple[Provider, str]]) -> None:
    """The next deployment, then the fallbacks; a request that is wrong is wrong everywhere."""
    one, two = providers["one"][0], providers["two"][0]
    one.refuses = [(500, {"error": {"message": "broken"}}), (400, {"error": {"message": "no such field"}})]
    async with _gateway(providers, fallbacks=[{"gone": ["single"]}]) as url, httpx.AsyncClient() as client:
        retried = await client.post(f"{url}{CHAT}", json={"model": "fast", **ASKED})
        wrong = await client.post(f"{url}{CHAT}", json={"model": "fast", **ASKED})
        fallen = await client.post(f"{url}{CHAT}", json={"model": "gone", **ASKED})

    assert retried.json()["choices"][0]["message"]["content"] == "two"
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "upstream_error")
    assert wrong.json()["error"]["message"] == "no such field"
    assert fallen.json()["choices"][0]["message"]["content"] == "one"
    assert len(two.seen) == 1


async def test_a_redirect_is_not_followed_with_the_key(providers: dict[str, tuple[Provider, str]]) -> None:
    """Whoever it leads to would learn the key; it is an answer that is none."""
    two = providers["two"]
    providers["one"][0].moves = f"{two[1]}/chat/completions"
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}{CHAT}", json={"model": "azure", **ASKED})

    assert (502, "upstream_error") == (answer.status_code, answer.json()["error"]["type"])
    assert [] == two[0].seen


async def test_when_all_fail_the_last_word_is_told(providers: dict[str, tuple[Provider, str]]) -> None:
    """A refusal as it was, an unreachable provider as 502, several that failed as 503."""
    one, two = providers["one"][0], providers["two"][0]
    limited = (429, {"error": {"message": "slow down"}})
    one.refuses = [limited] * 6
    two.refuses = [limited] * 3
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        single = await client.post(f"{url}{CHAT}", json={"model": "single", **ASKED})
        gone = await client.post(f"{url}{CHAT}", json={"model": "gone", **ASKED})
        several = await client.post(f"{url}{CHAT}", json={"model": "fast", **ASKED})

    assert (single.status_code, single.json()["error"]["message"]) == (429, "slow down")
    assert (gone.status_code, gone.json()["error"]["type"]) == (502, "upstream_error")
    assert (several.status_code, several.json()["error"]["type"]) == (503, "server_error")
    assert "slow down" in several.json()["error"]["message"]


async def test_a_client_that_leaves_before_the_first_piece_holds_no_connection(
    providers: dict[str, tuple[Provider, str]],
) -> None:
    """Its provider stops."""
    provider, address = providers["one"]
    provider.holds = True
    models = [{"model_name": "m", "params": {"model": "mine/m", "api_base": address}}]
    body = json.dumps({"model": "m", "stream": True, **ASKED}).encode()
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
    scope = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: object) -> None:
        await asyncio.Event().wait()  # the client does not even take the head

    async with opened() as upstream:
        app = Gateway(parse(json.dumps({"model_list": models}), {}, ""), upstream).app()
        await app(scope, receive, send)

        assert await asyncio.to_thread(provider.left.wait, 10)


async def test_a_stream_that_breaks_off_says_so(providers: dict[str, tuple[Provider, str]]) -> None:
    """In an event, after what had come."""
    providers["one"][0].breaks = True
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}{CHAT}", json={"model": "single", "stream": True, **ASKED})

    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert json.loads(events[0])["choices"][0]["delta"] == {"content": "Hel"}
    assert json.loads(events[-1])["error"]["type"] == "upstream_error"


async def test_a_stream_that_cannot_be_read_says_so(providers: dict[str, tuple[Provider, str]]) -> None:
    """In an event too, when it has begun."""
    providers["claude"][0].breaks = True
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}{CHAT}", json={"model": "claude", "stream": True, **ASKED})

    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert json.loads(events[1])["choices"][0]["delta"] == {"content": "Bon"}
    assert "cannot be read" in json.loads(events[-1])["error"]["message"]


async def test_an_answer_that_cannot_be_read_is_the_provider_s_fault(
    providers: dict[str, tuple[Provider, str]],
) -> None:
    providers["claude"][0].refuses = [(200, ["no", "message"])] * 3
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}{CHAT}", json={"model": "claude", **ASKED})

    assert (answer.status_code, "upstream_error") == (502, answer.json()["error"]["type"])


async def test_the_key_is_asked_for(providers: dict[str, tuple[Provider, str]]) -> None:
    """In each form in which clients send it."""
    async with _gateway(providers, master_key="s3cret") as url, httpx.AsyncClient() as client:
        forms = [
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Bearer s3cret"},
            {"authorization": "s3cret"},
            {"x-api-key": "s3cret"},
        ]
        codes = [(await client.get(f"{url}/v1/models", headers=form)).status_code for form in forms]
        page = await client.get(
            f"{url}/models", headers={"x-api-key": "s3cret", "origin": "https://app.example.com"}
        )

    assert codes == [401, 401, 200, 200, 200]
    assert page.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "x-model-cli-version" in page.headers


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"origin": "http://localhost:3000"}, 200),
        ({"origin": "https://evil.example.com"}, 403),
        ({"host": "evil.example.com"}, 403),
        ({"host": "192.168.1.5:4000"}, 200),
    ],
)
async def test_without_a_key_pages_of_others_are_kept_out(
    providers: dict[str, tuple[Provider, str]], headers: dict[str, str], code: int
) -> None:
    """They would spend the keys that are in the file."""
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/v1/models", headers=headers)

    assert answer.status_code == code
    assert "evil" not in answer.headers.get("access-control-allow-origin", "")


async def test_without_the_key_nothing_is_told_but_that_it_lives(
    providers: dict[str, tuple[Provider, str]],
) -> None:
    """To whatever name it was asked by, as probes do; names and version are for those who have the key."""
    async with _gateway(providers, master_key="s3cret") as url, httpx.AsyncClient() as client:
        for path in ("/", "/health"):
            strange = await client.get(f"{url}{path}", headers={"host": "evil.example.com"})
            known = await client.get(f"{url}{path}", headers={"x-api-key": "s3cret"})

            assert (strange.status_code, strange.json()) == (200, {"status": "healthy"})
            assert "x-model-cli-version" not in strange.headers
            assert known.json()["models"] == ["azure", "claude", "fast", "gone", "single"]


async def test_where_there_is_no_key_a_foreign_host_is_told_nothing(
    providers: dict[str, tuple[Provider, str]],
) -> None:
    """A page could have its own name lead here, and read the names of the models."""
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        for path in ("/", "/health"):
            foreign = await client.get(f"{url}{path}", headers={"host": "evil.example.com"})
            own = await client.get(f"{url}{path}")

            assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "forbidden")
            assert foreign.json()["error"]["hint"].startswith("ask by `localhost`")
            assert own.json()["models"] == ["azure", "claude", "fast", "gone", "single"]


async def test_what_is_not_there_is_told_in_the_same_form(
    providers: dict[str, tuple[Provider, str]],
) -> None:
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        nowhere = await client.get(f"{url}/v1/files")
        wrong = await client.get(f"{url}{CHAT}")

    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "unknown_route")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "wrong_method")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"model": "nothing"}', 404),
        (b'{"model": 1}', 404),
        (b'{"model": "\\ud800"}', 404),
    ],
)
async def test_bad_requests_are_refused(
    providers: dict[str, tuple[Provider, str]], body: bytes, code: int
) -> None:
    """In OpenAI's form."""
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}{CHAT}", content=body)

    assert answer.status_code == code
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("headers", [{"Origin": "http://["}, {"Host": "["}])
async def test_an_address_that_is_none_is_refused(
    providers: dict[str, tuple[Provider, str]], headers: dict[str, str]
) -> None:
    async with _gateway(providers) as url, httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/v1/models", headers=headers)).status_code == 403
