"""`/requests`: what was recorded, to find, compare, export and forget; and `/engines/requests`."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.errors import InvalidRequest
from modelrunner.recorder.comparing import difference
from modelrunner.recorder.exporting import FORMATS, as_curl, as_har, as_jsonl
from modelrunner.recorder.searching import latest, oldest_first, overview, page
from modelrunner.recorder.statistics import GROUPS, statistics
from modelrunner.recorder.values import Filter
from modelrunner.server.connection.replies import LinesReply, accepts, json_reply, query_flag
from modelrunner.server.inspection.insight import told_end
from modelrunner.server.inspection.live import follow, follow_as_reference
from modelrunner.server.inspection.queries import filter_of, moment_of, number_of, strict_filter_of
from modelrunner.server.inspection.recorded_form import groups, not_asked
from modelrunner.server.services import Services
from modelrunner.units import parse_duration
from modelrunner.wire.requests import RecordedRequest, RecorderView

_SSE = "text/event-stream"
_USUAL_SPAN = "1h"
_USUAL, _MOST = 50, 1000
_LAST = 10  # requests of each model, as in the reference


async def list_requests(services: Services, request: Request) -> Response | LinesReply:
    """`GET /requests`; as a stream with `?follow=true`."""
    wanted = filter_of(request.query_params, services.catalogue)
    if query_flag(request, "follow") or accepts(request.headers, _SSE):
        after = number_of(request.headers.get("last-event-id"), "Last-Event-ID")
        return _streamed(
            services, follow(services.observing.recording, services.observing.archive, wanted, after)
        )
    limit = number_of(request.query_params.get("limit"), "limit")
    limit = _USUAL if limit is None else min(max(limit, 1), _MOST)
    return json_reply(await services.observing.archive.ask(lambda it: page(it, wanted, limit)))


async def look(services: Services, request: Request) -> Response:
    """`GET /requests/{id}`."""
    return json_reply(await services.observing.archive.find(request.path_params["name"]))


async def forget(services: Services, request: Request) -> Response:
    """`DELETE /requests/{id}`."""
    found = await services.observing.archive.find(request.path_params["name"])
    return json_reply({"deleted": await services.observing.recording.forget(Filter(ids=(found["id"],)))})


async def forget_many(services: Services, request: Request) -> Response:
    """`DELETE /requests`: what fits the filters."""
    if request.query_params.get("q"):
        raise InvalidRequest("`q` finds requests, and does not delete them", hint="use the other filters")
    wanted = strict_filter_of(request.query_params, services.catalogue)
    if not services.observing.recording.stores:  # what it wrote before is still there
        raise InvalidRequest(
            "requests are not recorded, and none can be forgotten",
            hint=f"set `DMR_REQUESTS`, or delete `{services.settings.requests_path}`",
        )
    return json_reply({"deleted": await services.observing.recording.forget(wanted)})


async def export(services: Services, request: Request) -> Response:
    """`GET /requests/{id}/export`, as `?format=curl`, `har` or `jsonl`."""
    form = _format(request, "curl")
    found = await services.observing.archive.find(request.path_params["name"])
    if form == "curl":
        body = as_curl(found, _base(request))
    else:
        body = b"".join(_writer(form, _base(request))([found]))
    return Response(body, headers=_attached(form, f"request-{found['id']}"), media_type=FORMATS[form][0])


async def export_many(services: Services, request: Request) -> Response | LinesReply:
    """`GET /requests/export`, as `?format=jsonl` or `har`."""
    form = _format(request, "jsonl")
    if form == "curl":
        raise InvalidRequest("a command is for one request", hint="`jsonl` and `har` hold many")
    wanted = filter_of(request.query_params, services.catalogue)
    write = _writer(form, _base(request))
    return LinesReply(
        services.observing.archive.stream(lambda it: write(oldest_first(it, wanted))),
        group=services.streams,
        media_type=FORMATS[form][0],
        last_words=lambda _: b"",
    )


async def diff(services: Services, request: Request) -> Response:
    """`GET /requests/diff?a=&b=`."""
    query = request.query_params
    a, b = query.get("a"), query.get("b")
    if not a or not b:
        raise InvalidRequest("two requests are compared", hint="name them as `?a=` and `&b=`")
    first, second = await services.observing.archive.find(a), await services.observing.archive.find(b)
    return json_reply(await services.observing.archive.ask(lambda _: difference(first, second)))


async def count(services: Services, request: Request) -> Response:
    """`GET /requests/statistics?by=`."""
    by = request.query_params.get("by", "model")
    if by not in GROUPS:
        raise InvalidRequest(f"cannot group by `{by[:100]}`", hint=f"by {', '.join(GROUPS)}")
    wanted = filter_of(request.query_params, services.catalogue)
    names = names_of(services)
    return json_reply(await services.observing.archive.ask(lambda it: statistics(it, wanted, by, names)))


async def recorder(services: Services, _request: Request) -> Response:
    """`GET /requests/recorder`."""
    recording = services.observing.recording
    number, size, oldest = await services.observing.archive.ask(overview)
    order = recording.order
    reply: RecorderView = {
        "state": "off" if not recording.stores else "failing" if recording.last.reason else "ok",
        "reason": recording.last.reason,
        "requests": number,
        "size": size if number else 0,
        "limit": 0 if order is None else order.limit,
        "lifetime": 0.0 if order is None else order.lifetime,
        "oldest": oldest,
        "waiting": recording.waiting,
        "dropped": recording.dropped,
        "rules": [] if order is None else [name for name, _ in order.rules],
    }
    return json_reply(reply)


async def activity(services: Services, request: Request) -> Response:
    """`GET /activity?since=&step=`."""
    now = time.time()
    query = request.query_params
    span = now - moment_of(query.get("since") or _USUAL_SPAN, now)
    step = query.get("step")
    return json_reply(await services.observing.activity.view(span, parse_duration(step) if step else None))


async def as_reference(services: Services, request: Request) -> Response | LinesReply:
    """`GET /engines/requests`: the last of each model, as JSON, with each that is loaded; or as events."""
    query = request.query_params
    model = query.get("model")
    wanted = filter_of({"model": model} if model else {}, services.catalogue)
    if accepts(request.headers, _SSE):
        existing = query.get("include_existing") == "true"
        return _streamed(
            services,
            follow_as_reference(
                services.observing.recording, services.observing.archive, wanted, existing=existing
            ),
        )
    found = groups(await services.observing.archive.ask(lambda it: latest(it, wanted, _LAST)))
    shown = {group["model"] for group in found}
    for key, _ in services.pool.running():
        model = str(key.model)
        if model not in shown and (wanted.models is None or model in wanted.models):
            shown.add(model)
            found.append(not_asked(model, services.configurations.effective(key).as_wire()))
    return json_reply(found)


def names_of(services: Services) -> dict[str, str]:
    """What the models that are here are called, by id."""
    return {str(model.id): model.name for model in services.catalogue.models}


def _streamed(services: Services, events: AsyncGenerator[bytes, None]) -> LinesReply:
    return LinesReply(events, group=services.streams, media_type=_SSE, last_words=told_end)


def _format(request: Request, usual: str) -> str:
    form = request.query_params.get("format", usual)
    if form not in FORMATS:
        raise InvalidRequest(f"unknown format: `{form[:100]}`", hint=f"one of {', '.join(FORMATS)}")
    return form


def _writer(form: str, base: str) -> Callable[[Iterable[RecordedRequest]], Iterator[bytes]]:
    return partial(as_har, base=base) if form == "har" else as_jsonl


def _attached(form: str, name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}.{FORMATS[form][1]}"'}


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
