"""`/engines`: which engines there are, what they have loaded, and unloading it."""

import asyncio
from collections import Counter

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.runtime.scheduling.plan import Key
from modelrunner.runtime.views import ResidentView
from modelrunner.server.configuration.in_force import context_in_force
from modelrunner.server.connection.replies import json_reply, parse, read
from modelrunner.server.library.views import running_view
from modelrunner.server.services import Services
from modelrunner.wire.engines import DiskUsage, RunningModel, UnloadReply, UnloadRequest

_BODY = 10 << 20  # bytes


async def status(services: Services, _request: Request) -> Response:
    """`GET /engines/status`."""
    statuses = await asyncio.to_thread(services.engines.statuses)
    caveat = f"; no sandbox: {services.sandbox.caveat}" if services.sandbox.caveat else ""
    lines = {name: f"{found}{caveat}" if found.usable else str(found) for name, found in statuses.items()}
    return json_reply(dict(sorted(lines.items())))


async def running(services: Services, _request: Request) -> Response:
    """`GET /engines/ps`."""
    waiting = Counter(waiter.key for waiter in services.pool.queue())
    residents = services.pool.residents()
    return json_reply([_running(services, resident, waiting[resident.key]) for resident in residents])


async def disk_usage(services: Services, _request: Request) -> Response:
    """`GET /engines/df`; an engine that is part of another installation takes no room of its own."""
    reply: DiskUsage = {
        "models_disk_usage": await services.store.disk_usage(),
        "default_backend_disk_usage": await services.installing.disk_usage(),
    }
    return json_reply(reply)


async def unload(services: Services, request: Request) -> Response:
    """`POST /engines/unload`: what is idle goes; how it is to be run stays, unlike in the reference."""
    wanted = parse(await read(request, _BODY), UnloadRequest)
    engine = wanted.get("backend") or None
    found = [services.catalogue.look(text) for text in wanted.get("models") or ()]
    models = [model.id for model in found if model is not None]

    def meant(key: Key) -> bool:
        if wanted.get("all"):
            return True
        return key.model in models and (engine is None or key.engine == engine)

    reply: UnloadReply = {"unloaded_runners": await services.preloading.unload(meant)}
    if stay := sum(meant(resident.key) for resident in services.pool.residents()):
        reply["in_use"] = stay
    return json_reply(reply)


def _running(services: Services, resident: ResidentView, waiting: int) -> RunningModel:
    key = resident.key
    options = services.loader.running.get(key, services.configurations.effective(key).options)
    context = context_in_force(services.engines, services.catalogue, key, options)
    return running_view(
        resident,
        services.catalogue.called(key.model),
        context=None if context is None else context.tokens,
        pinned=services.configurations.pinned(key),
        waiting=waiting,
    )
