"""The application: the table of routes, and who gets a request first.

A POST to a model's path goes straight to the relay; everything else goes through the edge to the table. Paths
are compared without double slashes and without a slash at the end, and nothing is ever redirected.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelrunner.dialects.anthropic import Anthropic
from modelrunner.dialects.base import Dialect
from modelrunner.dialects.ollama import Ollama
from modelrunner.errors import RunnerError, UnknownRoute, WrongMethod, unforeseen
from modelrunner.server.connection.middleware import Edge, Guard
from modelrunner.server.connection.replies import accepts_errors, dialect_reply, error_reply, not_found
from modelrunner.server.inference.relay import Relay
from modelrunner.server.replaying import Replaying
from modelrunner.server.routes import (
    anthropic,
    configure,
    describe,
    engines,
    inference,
    insight,
    installing,
    models,
    ollama,
    ollama_models,
    openai,
    requests,
    responses,
    system,
    transfers,
    upkeep,
    web,
)
from modelrunner.server.services import Services

_log = logging.getLogger(__name__)

Handler = Callable[[Services, Request], Awaitable[ASGIApp]]


class Route(NamedTuple):
    """A method, a pattern of the whole path, and who answers."""

    method: str
    path: str
    pattern: re.Pattern[str]
    handler: Handler


def _route(method: str, path: str, handler: Handler) -> Route:
    """Read a path in which `{name}` is any text and `{engine}` any without a slash."""
    pattern = re.escape(path).replace(r"\{name\}", "(?P<name>.+)").replace(r"\{engine\}", "(?P<engine>[^/]+)")
    return Route(method, path, re.compile(pattern), handler)


# The first that fits wins, so an action stands before the name that could swallow it.
ROUTES = (
    _route("GET", "/", system.home),
    _route("GET", "/status", system.greet),
    _route("GET", "/health", insight.health),
    _route("GET", "/version", system.version),
    _route("GET", "/settings", system.show_settings),
    _route("GET", "/logs", system.logs),
    _route("GET", "/metrics", system.metrics),
    _route("GET", "/models", models.list_models),
    _route("POST", "/models/create", models.pull),
    _route("POST", "/models/load", models.load),
    _route("POST", "/models/export", models.export_several),
    _route("POST", "/models/import", upkeep.import_models),
    _route("POST", "/models/take", upkeep.take),
    _route("POST", "/models/verify", upkeep.verify),
    _route("POST", "/models/prune", upkeep.prune),
    _route("GET", "/ui", web.show),
    _route("GET", "/ui/{name}", web.show),
    _route("GET", "/transfers", transfers.show),
    _route("POST", "/transfers", transfers.begin),
    _route("DELETE", "/transfers/{name}", transfers.drop),
    _route("GET", "/search", transfers.search),
    _route("GET", "/blobs", models.list_blobs),
    _route("DELETE", "/models/purge", models.purge),
    _route("GET", "/models/{name}/export", models.export),
    _route("POST", "/models/{name}/tag", models.tag),
    _route("POST", "/models/{name}/push", models.push),
    _route("POST", "/models/{name}/repackage", models.repackage),
    _route("GET", "/models/{name}", models.look),
    _route("DELETE", "/models/{name}", models.delete),
    _route("POST", "/models/{name}", models.unknown_action),
    _route("GET", "/v1/models", models.openai_list),
    _route("GET", "/v1/models/{name}", models.openai_look),
    _route("GET", "/engines/v1/models", models.openai_list),
    _route("GET", "/engines/v1/models/{name}", models.openai_look),
    *(
        _route(method, f"{prefix}/responses/{{name}}{action}", handler)
        for prefix in responses.PREFIXES
        for method, action, handler in responses.ACTIONS
    ),
    _route("GET", "/engines/status", engines.status),
    _route("GET", "/engines/ps", engines.running),
    _route("GET", "/engines/events", insight.events),
    _route("GET", "/engines/queue", insight.queue),
    _route("GET", "/engines/explain", insight.explain),
    _route("POST", "/engines/explain", insight.explain_with),
    _route("GET", "/engines/requests", requests.as_reference),
    _route("GET", "/activity", requests.activity),
    _route("GET", "/requests", requests.list_requests),
    _route("DELETE", "/requests", requests.forget_many),
    _route("GET", "/requests/diff", requests.diff),
    _route("GET", "/requests/export", requests.export_many),
    _route("GET", "/requests/recorder", requests.recorder),
    _route("GET", "/requests/statistics", requests.count),
    _route("GET", "/requests/{name}/export", requests.export),
    _route("GET", "/requests/{name}", requests.look),
    _route("DELETE", "/requests/{name}", requests.forget),
    _route("GET", "/engines/df", engines.disk_usage),
    _route("POST", "/engines/unload", engines.unload),
    _route("POST", "/engines/install-backend", installing.install),
    _route("POST", "/engines/uninstall-backend", installing.uninstall),
    _route("GET", "/engines/_configure", configure.show),
    _route("POST", "/engines/_configure", configure.replace),
    _route("PATCH", "/engines/_configure", configure.change),
    _route("DELETE", "/engines/_configure", configure.reset),
    _route("GET", "/anthropic/v1/models", anthropic.list_models),
    _route("GET", "/anthropic/v1/models/{name}", anthropic.look),
    _route("GET", "/api/version", ollama_models.version),
    _route("GET", "/api/tags", ollama_models.tags),
    _route("GET", "/api/ps", ollama_models.running),
    _route("POST", "/api/show", ollama_models.show),
    _route("POST", "/api/pull", ollama_models.pull),
    _route("POST", "/api/push", ollama_models.push),
    _route("POST", "/api/create", ollama_models.make),
    _route("POST", "/api/copy", ollama_models.copy),
    _route("DELETE", "/api/delete", ollama_models.delete),
    _route("GET", "/api/blobs/{name}", ollama_models.has_blob),
    _route("POST", "/api/blobs/{name}", ollama_models.take_blob),
    _route("POST", "/engines/{engine}/_configure", configure.replace),
    _route("PATCH", "/engines/{engine}/_configure", configure.change),
    _route("DELETE", "/engines/{engine}/_configure", configure.reset),
    _route("GET", "/engines/{engine}/v1/models", models.openai_list),
    _route("GET", "/engines/{engine}/v1/models/{name}", models.openai_look),
)
_OPENAI = re.compile(
    r"(/engines)?(/[^/]+)?/v1/.*|(/engines(/[^/]+)?)?/(rerank|score|tokenize|detokenize|responses(/.*)?)"
)
# Here whatever is not there is `not found`, as Docker Model Runner's clients expect.
_NATIVE = ("/models", "/engines")
_BEHIND_DOCKER = re.compile(r"/exp/vDD[0-9.]+(?=/|$)")
_DIALECTS: tuple[tuple[str, Dialect], ...] = (("/api/", Ollama()), ("/anthropic/", Anthropic()))


class App:
    """The daemon as an ASGI application."""

    def __init__(
        self,
        services: Services,
        guard: Guard,
        *,
        body_limit: int,
        deadline: float | None = None,
        remote_media: bool = False,
    ) -> None:
        """`body_limit` is in bytes, `deadline` in seconds, for requests to models.

        `remote_media` lets messages name images by address.
        """
        self._services = services
        self._relay = Relay(
            pool=services.pool,
            catalogue=services.catalogue,
            engines=services.engines,
            guard=guard,
            group=services.requests,
            taker=services.observing.recording,
            body_limit=body_limit,
            deadline=deadline,
        )
        self._endpoints = inference.Endpoints(
            {
                **inference.OPENAI,
                **openai.endpoints(services, remote_media=remote_media),
                **anthropic.endpoints(services),
                **responses.endpoints(services, deadline),
            },
            {**ollama.endpoints(services), **anthropic.plain_endpoints(services)},
        )
        describing = describe.Describing(
            [*((route.method, route.path) for route in ROUTES), *(("POST", path) for path in self._endpoints)]
        )
        self._routes = (
            *ROUTES,
            _route("POST", "/requests/{name}/replay", Replaying(self._relay, self._endpoints).replay),
            _route("GET", "/openapi.json", describing.document),
            _route("GET", "/docs", describing.page),
        )
        self._edge = Edge(self._dispatch, guard, _fail)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            path = scope["path"]
            target = self._endpoints.get(path) or self._endpoints.find(_tidy(path))
            if target is not None:
                await self._relay.serve(target, scope, receive, send)
                return
        await self._edge(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _tidy(scope["path"])
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        reply: ASGIApp = not_found()
        for route in self._routes:
            if route.method == method and (match := route.pattern.fullmatch(path)):
                scope["path_params"] = match.groupdict()
                reply = await route.handler(self._services, Request(scope, receive))
                break
        else:
            if not path.startswith(_NATIVE) or _OPENAI.fullmatch(path):
                raise self._nowhere(method, path)
        await reply(scope, receive, send)

    def _nowhere(self, method: str, path: str) -> UnknownRoute:
        """Say that nothing is there, or only for other methods."""
        allowed = {route.method for route in self._routes if route.pattern.fullmatch(path)}
        if self._endpoints.find(path) is not None:
            allowed.add("POST")
        if "GET" in allowed:
            allowed.add("HEAD")
        if allowed:
            allow = ", ".join(sorted(allowed))
            words = f"`{method}` is not allowed at `{path[:200]}`"
            return WrongMethod(words, hint=f"allowed: {allow}", detail={"allow": allow})
        return UnknownRoute(f"nothing at `{method} {path[:200]}`", hint="see /docs for what there is")


async def _fail(exc: Exception, scope: Scope, send: Send) -> None:
    """Answer with an error in the form of the route; what nobody foresaw is logged, and told in brief."""
    if isinstance(exc, ClientDisconnect):
        return
    if not isinstance(exc, RunnerError):
        _log.error("request failed path=%s", scope["path"], exc_info=exc)
        exc = unforeseen(exc)
    path = _tidy(scope["path"])
    for prefix, dialect in _DIALECTS:
        if path.startswith(prefix):
            await dialect_reply(exc, dialect)(scope, _receive_nothing, send)
            return
    as_json = _OPENAI.fullmatch(path) is not None or accepts_errors(Request(scope).headers)
    await error_reply(exc, as_json=as_json)(scope, _receive_nothing, send)


async def _receive_nothing() -> Message:
    return {"type": "http.disconnect"}


def _tidy(path: str) -> str:
    """A path as the table has it, also behind the prefix that Docker's own socket has for it."""
    return _BEHIND_DOCKER.sub("", re.sub("/{2,}", "/", path)).rstrip("/") or "/"
