"""`/health`, `/engines/events`, `/engines/queue` and `/engines/explain`: what goes on, and why."""

import time

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.errors import InvalidRequest, NotWaiting
from modelrunner.server.configuration.configuration import mode_of
from modelrunner.server.configuration.in_force import context_in_force
from modelrunner.server.connection.replies import LinesReply, accepts, json_reply, parse, query_flag, read
from modelrunner.server.inspection.insight import Wanted, told_end
from modelrunner.server.inspection.queries import moment_of, number_of
from modelrunner.server.services import Services
from modelrunner.wire.configuration import ConfigureRequest
from modelrunner.wire.insight import Verdict

_SSE = "text/event-stream"
_BODY = 1 << 20  # bytes


async def health(services: Services, _request: Request) -> Response:
    """`GET /health`: 503 when requests wait and nothing goes on."""
    reply = services.health.check()
    return json_reply(reply, 200 if reply["status"] == "ok" else 503)


async def events(services: Services, request: Request) -> Response | LinesReply:
    """`GET /engines/events`, with `?model=`, `?since=`, `?limit=`; as a stream with `?follow=true`."""
    wanted = _wanted(services, request)
    follow = query_flag(request, "follow") or query_flag(request, "stream")
    if not follow and not accepts(request.headers, _SSE):
        return json_reply(services.insight.events(wanted))
    return LinesReply(
        services.insight.follow(wanted, number_of(request.headers.get("last-event-id"), "Last-Event-ID")),
        group=services.streams,
        media_type=_SSE,
        last_words=told_end,
    )


async def queue(services: Services, request: Request) -> Response:
    """`GET /engines/queue`; with `?id=` the one request that its client called so."""
    line = services.insight.queue()
    name = request.query_params.get("id")
    if name is None:
        return json_reply(line)
    found = next((each for each in line if each["id"] == name), None)
    if found is None:
        raise NotWaiting(
            f"no request waits by this name: `{name[:200]}`",
            hint="it is being served or has ended; names are given with the header X-Request-Id",
        )
    return json_reply(found)


async def explain(services: Services, request: Request) -> Response:
    """`GET /engines/explain?model=`, with `&mode=` and `&backend=`."""
    query = request.query_params
    model, engine = query.get("model", "").strip(), query.get("backend") or None
    if not model:
        raise InvalidRequest("model is required", hint="name one with `?model=`")
    mode = mode_of({"model": model, "mode": query.get("mode")})
    catalogue = services.catalogue
    if mode is None:
        key = await catalogue.usual_key(model, engine)
    else:
        key = await catalogue.key((model, mode, engine))
    return json_reply(await services.insight.explain(key))


async def explain_with(services: Services, request: Request) -> Response:
    """`POST /engines/explain`: what a model would need by a configuration that is not made."""
    wanted = parse(await read(request, _BODY), ConfigureRequest)
    key, trial = await services.configuring.trial(wanted, None)
    needed = await services.memory.estimate(key, trial)
    capacity, need = services.memory.capacity, dict(needed.amounts)
    context = context_in_force(services.engines, services.catalogue, key, trial.options)
    reply: Verdict = {
        "need": need,
        "parts": dict(needed.parts),
        "capacity": dict(capacity),
        "free": dict(services.memory.look()),
        "fits": all(amount <= capacity.get(name, amount) for name, amount in need.items()) if need else None,
        "hint": needed.advice,
        "context_size": None if context is None else context.tokens,
    }
    return json_reply(reply)


def _wanted(services: Services, request: Request) -> Wanted:
    query = request.query_params
    model, since = query.get("model"), query.get("since")
    return Wanted(
        model=services.catalogue.find(model).id if model else None,
        since=moment_of(since, time.time()) if since else 0.0,
        limit=number_of(query.get("limit"), "limit"),
    )
