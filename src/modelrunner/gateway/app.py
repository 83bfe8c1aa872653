"""The gateway's routes: who may ask, whom to ask, and what goes back."""

import contextlib
import hmac
import ipaddress
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from modelrunner import __version__
from modelrunner.dialects import sse
from modelrunner.dialects.completion import UNREADABLE
from modelrunner.dialects.openai import OpenAI
from modelrunner.errors import (
    EngineFailed,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NoProviderLeft,
    ProviderFailed,
    ProviderUnreachable,
    RequestTooLarge,
    RunnerError,
    Unauthorized,
    UnknownRoute,
    WrongMethod,
    unforeseen,
)
from modelrunner.gateway import anthropic, anthropic_answers
from modelrunner.gateway.config import Config, Deployment
from modelrunner.gateway.providers import Dialect
from modelrunner.gateway.routing import Router, is_worth_another_try
from modelrunner.gateway.upstream import Answer, Upstream

_MOST_BODY = 64 * 1024 * 1024  # bytes
_KNOWN = frozenset(
    {"model", "messages", "temperature", "top_p", "n", "stream", "stop", "max_tokens", "presence_penalty"}
    | {"frequency_penalty", "user", "tools", "tool_choice", "response_format", "seed", "input", "dimensions"}
    | {"encoding_format"}
)
_UNREADABLE = (*UNREADABLE, EngineFailed)  # an answer that is not as it should be; the latter is the parser's
_PREFLIGHT = "OPTIONS"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})
_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "content-type, authorization, x-api-key",
    "Vary": "Origin",
}


class Gateway:
    """The routes over one configuration."""

    def __init__(self, config: Config, upstream: Upstream) -> None:
        self._config = config
        self._router = Router(config)
        self._upstream = upstream

    def app(self) -> Starlette:
        """Make the application."""
        routes = [Route(path, self._health) for path in ("/", "/health")]
        routes += [Route(path, self._models) for path in ("/v1/models", "/models")]
        for path in ("/chat/completions", "/embeddings"):
            routes += [Route(f"{prefix}{path}", self._ask(path), methods=["POST"]) for prefix in ("/v1", "")]
        routes.append(Route("/{path:path}", self._preflight, methods=[_PREFLIGHT]))
        kinds = (RunnerError, HTTPException, Exception)
        return Starlette(routes=routes, exception_handlers=dict.fromkeys(kinds, self._refused))

    async def _health(self, request: Request) -> Response:
        """Say that it lives, to anybody who may ask; what there is, to those with the key only."""
        document: dict[str, Any] = {"status": "healthy"}
        if self._is_admitted(request):
            document |= {"version": __version__, "models": self._config.aliases}
        elif not self._config.master_key:
            self._admit(request)
        return JSONResponse(document, headers=self._headers(request))

    async def _models(self, request: Request) -> Response:
        self._admit(request)
        data = [
            {"id": alias, "object": "model", "created": 0, "owned_by": "model-cli"}
            for alias in self._config.aliases
        ]
        return JSONResponse({"object": "list", "data": data}, headers=self._headers(request))

    async def _preflight(self, request: Request) -> Response:
        return Response(status_code=204, headers=self._headers(request))

    async def _refused(self, request: Request, exc: Exception) -> Response:
        error = _told(request, exc)
        return Response(
            OpenAI().error(error), error.status, self._headers(request), media_type="application/json"
        )

    def _ask(self, path: str) -> Any:
        async def ask(request: Request) -> Response:
            self._admit(request)
            body = await _body(request)
            alias = body.get("model")
            if not isinstance(alias, str) or not self._router.knows(alias):
                raise ModelNotFound(f"no such model: `{_shown(alias)}`", hint="`GET /v1/models` lists them")
            return await self._answer(request, path, body, alias)

        return ask

    async def _answer(self, request: Request, path: str, body: dict[str, Any], alias: str) -> Response:
        """Ask one after the other, until one answers or says what no other would say differently."""
        last: RunnerError = NoProviderLeft("there is no deployment")
        reached: set[str] = set()
        for deployment in self._router.attempts(alias):
            reached.add(f"{deployment.base} {deployment.model}")
            stack = contextlib.AsyncExitStack()
            try:
                answer = await stack.enter_async_context(
                    self._upstream.ask(deployment, path, self._translated(body, deployment, path))
                )
                if answer.status < 400:
                    return await self._relayed(request, stack, answer, deployment, body)
                text = (await _whole(answer)).decode(errors="replace")
                last = ProviderFailed(_message(text) or f"status {answer.status}", answer.status)
                worth = is_worth_another_try(answer.status)
            except ProviderUnreachable as exc:
                last, worth = exc, True
            except BaseException:
                await stack.aclose()
                raise
            await stack.aclose()
            if not worth:
                raise last
        if len(reached) > 1:
            raise NoProviderLeft(f"all deployments failed; the last one: {last}", hint=last.hint)
        raise last

    def _translated(self, body: dict[str, Any], deployment: Deployment, path: str) -> Mapping[str, Any]:
        if deployment.provider.dialect is not Dialect.ANTHROPIC:
            kept = {name: body[name] for name in body if not self._config.drops_unknown or name in _KNOWN}
            return {**kept, "model": deployment.model}
        if path != "/chat/completions":
            raise InvalidRequest("this provider has no embeddings", hint="ask a model of another one")
        return anthropic.request(body, deployment.model)

    async def _relayed(
        self,
        request: Request,
        stack: contextlib.AsyncExitStack,
        answer: Answer,
        deployment: Deployment,
        body: Mapping[str, Any],
    ) -> Response:
        headers = self._headers(request)
        foreign = deployment.provider.dialect is Dialect.ANTHROPIC
        if not body.get("stream"):
            raw = await _whole(answer)
            await stack.aclose()
            if foreign:
                try:
                    document = anthropic_answers.answer(raw, str(body["model"]), int(time.time()))
                except _UNREADABLE as exc:
                    raise _unreadable(deployment) from exc
                raw = json.dumps(document).encode()
            return Response(raw, media_type="application/json", headers=headers)
        pieces = _anthropic(answer, body, deployment) if foreign else answer.pieces
        return _Relayed(pieces, stack, headers)

    def _admit(self, request: Request) -> None:
        """Ask for the key, or where there is none, see that no web page of others is asking.

        Raises:
            Forbidden: the page is somebody else's.
            Unauthorized: the key is wrong.
        """
        if self._is_admitted(request):
            return
        if self._config.master_key:
            raise Unauthorized("Invalid API key", hint="send the `master_key` as `Authorization: Bearer KEY`")
        raise Forbidden(
            "Host or Origin not allowed without a master_key",
            hint="ask by `localhost` or an IP address, or set `general_settings.master_key`",
        )

    def _is_admitted(self, request: Request) -> bool:
        key = self._config.master_key
        if not key:
            return self._is_own(request)
        given = request.headers.get("x-api-key") or request.headers.get("authorization", "")
        return hmac.compare_digest(given.removeprefix("Bearer ").encode(), key.encode())

    def _is_own(self, request: Request) -> bool:
        """Whether neither a page of others asks, nor a name that others made lead here."""
        origin = request.headers.get("origin")
        own_page = origin is None or _host_of(origin) in _LOOPBACK
        host = _host_of(f"//{request.headers.get('host', '')}")
        return own_page and (host in _LOOPBACK or _is_address(host))

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"x-model-cli-version": __version__} if self._is_admitted(request) else {}
        origin = request.headers.get("origin")
        if origin and (self._config.master_key or self._is_own(request)):
            headers |= {**_CORS, "Access-Control-Allow-Origin": origin}
        return headers


async def _body(request: Request) -> dict[str, Any]:
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > _MOST_BODY:
            raise RequestTooLarge(
                "the request is too large",
                hint=f"at most {_MOST_BODY >> 20} MB; send less, or smaller pictures",
            )
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("the request is no JSON", hint="send a JSON object") from exc
    if not isinstance(body, dict):
        raise InvalidRequest("the request is no JSON object", hint='send `{"model": …, "messages": […]}`')
    return body


async def _whole(answer: Answer) -> bytes:
    """All of an answer.

    Raises:
        ProviderUnreachable: it breaks off, or has no end.
    """
    raw = bytearray()
    async for piece in answer.pieces:
        raw += piece
        if len(raw) > _MOST_BODY:
            raise ProviderUnreachable("an answer that is too large")
    return bytes(raw)


async def _anthropic(answer: Answer, body: Mapping[str, Any], deployment: Deployment) -> AsyncIterator[bytes]:
    options = body.get("stream_options")
    counts = isinstance(options, dict) and options.get("include_usage") is True
    parser = sse.Parser()
    stream = anthropic_answers.Stream(str(body["model"]), int(time.time()), counts=counts)
    async for piece in answer.pieces:
        try:
            for data in parser.feed(piece):
                for translated in stream.feed(data):
                    yield sse.event(translated)
        except _UNREADABLE as exc:
            raise _unreadable(deployment) from exc
    if not stream.ended:
        raise ProviderUnreachable(f"{deployment.provider.name}: the answer broke off")


def _unreadable(deployment: Deployment) -> ProviderUnreachable:
    return ProviderUnreachable(f"{deployment.provider.name}: an answer that cannot be read")


class _Relayed(StreamingResponse):
    """A provider's stream, passed on; `stack` holds the connection, which ends whatever the client does."""

    def __init__(
        self, pieces: AsyncIterator[bytes], stack: contextlib.AsyncExitStack, headers: Mapping[str, str]
    ) -> None:
        super().__init__(_until_broken(pieces), media_type="text/event-stream", headers=headers)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


async def _until_broken(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass on what comes; what breaks off ends with an event that says so."""
    try:
        async for piece in pieces:
            yield piece
    except ProviderUnreachable as exc:
        yield OpenAI().late_error(exc)


def _told(request: Request, exc: Exception) -> RunnerError:
    """What a client is told of an exception."""
    if isinstance(exc, RunnerError):
        return exc
    if isinstance(exc, HTTPException) and exc.status_code in {404, 405}:
        place = _shown(f"{request.method} {request.url.path}")
        methods = (exc.headers or {}).get("Allow", _PREFLIGHT)
        if methods == _PREFLIGHT:  # which is answered at any path
            return UnknownRoute(
                f"nothing at `{place}`", hint="there are /v1/chat/completions, /v1/embeddings and /v1/models"
            )
        return WrongMethod(f"`{place}` is not there", hint=f"ask it by {methods}")
    return unforeseen(exc)


def _host_of(url: str) -> str:
    """The host of an address; empty when it has none, or is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _shown(value: object) -> str:
    """What a client sent, so that it can be written in an answer; half a pair of surrogates cannot."""
    return str(value)[:200].encode(errors="replace").decode()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _message(text: str) -> str:
    """What a provider says went wrong, in whichever form."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()[:500]
    error = document.get("error", document) if isinstance(document, dict) else document
    return str(error.get("message", error) if isinstance(error, dict) else error)[:500]
