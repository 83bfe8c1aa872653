"""`/`, `/version` and `/logs`."""

import os

from starlette.requests import Request
from starlette.responses import Response

from modelrunner import __version__
from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.server.connection.replies import (
    LinesReply,
    accepts,
    json_reply,
    not_found,
    query_flag,
    text_reply,
)
from modelrunner.server.inspection.insight import told_end
from modelrunner.server.inspection.log_view import Wanted, as_events, as_text
from modelrunner.server.inspection.queries import number_of
from modelrunner.server.services import Services
from modelrunner.settings.kinds import shown
from modelrunner.settings.table import DAEMON
from modelrunner.telemetry.levels import LEVELS
from modelrunner.telemetry.metrics import MEDIA_TYPE
from modelrunner.wire.daemon import SettingView, Version

_SSE = "text/event-stream"


async def home(services: Services, request: Request) -> Response:
    """`GET /`: a browser is shown to the web app, and everybody else greeted."""
    if accepts(request.headers, "text/html"):
        return Response(status_code=303, headers={"location": "/ui/", "vary": "Accept"})
    reply = await greet(services, request)
    reply.headers["vary"] = "Accept"
    return reply


async def greet(_services: Services, _request: Request) -> Response:
    """`GET /status`: both phrases by which clients know that they are at the right place."""
    return text_reply("Docker Model Runner is running\n\nThe service is running.")


async def version(_services: Services, _request: Request) -> Response:
    """`GET /version`; the process number tells whose port it is."""
    reply: Version = {"version": __version__, "pid": os.getpid()}
    return json_reply(reply)


async def show_settings(services: Services, _request: Request) -> Response:
    """`GET /settings`: what the daemon goes by; none of them is a secret."""
    reply: list[SettingView] = [
        {
            "name": name,
            "variable": row.environment,
            "value": shown(row.kind, getattr(services.settings, name)),
            "default": row.shown or row.default,
            "help": row.help,
        }
        for name, row in DAEMON.items()
    ]
    return json_reply(reply)


async def metrics(services: Services, _request: Request) -> Response:
    """`GET /metrics`: the daemon's families, then the engines'."""
    if services.observing.metrics is None:
        return not_found()
    return Response(await services.observing.metrics.render(), media_type=MEDIA_TYPE)


async def logs(services: Services, request: Request) -> Response | LinesReply:
    """`GET /logs`: `?follow`, `?no-engines`, `?model=`, `?level=`, `?tail=`; as text or as events."""
    follow = query_flag(request, "follow", bare=False)
    engines = not query_flag(request, "no-engines", bare=False)
    name, level = request.query_params.get("model") or None, request.query_params.get("level") or LEVELS[0]
    if name is not None and not engines:
        raise InvalidRequest("both `model` and `no-engines` are given", hint="a model's log is its engine's")
    if level not in LEVELS:
        raise InvalidRequest(f"unknown level: `{level[:100]}`", hint=f"one of {', '.join(LEVELS)}")
    wanted = Wanted(
        follow=follow,
        engines=engines,
        model=None if name is None else services.catalogue.find(name).id.short,
        level=level,
        last=number_of(request.query_params.get("tail"), "tail"),
    )
    if not services.logs.exists:
        return text_reply("service log not found", 404)
    if accepts(request.headers, _SSE):
        names = {model.id.short: model.name for model in services.catalogue.models}
        events = as_events(services.logs, wanted, lambda short: names.get(short, short))
        return LinesReply(events, group=services.streams, media_type=_SSE, last_words=told_end)
    return LinesReply(
        as_text(services.logs, wanted),
        group=services.streams,
        media_type="text/plain",
        last_words=_last_words,
    )


def _last_words(exc: RunnerError) -> bytes:
    return f"\n[logs error: {exc.message}]\n".encode()
