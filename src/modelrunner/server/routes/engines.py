"""`/engines`: which engines there are, what they have loaded, and how models are to be run."""

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.errors import Conflict
from modelrunner.oci.digest import Digest
from modelrunner.runtime.plan import Key
from modelrunner.server.configurations import configuration, mode_of
from modelrunner.server.replies import json_reply, parse, read
from modelrunner.server.services import Services
from modelrunner.server.views import running_view
from modelrunner.wire import (
    ConfigurationView,
    ConfigureOptions,
    ConfigureRequest,
    DiskUsage,
    UnloadReply,
    UnloadRequest,
)

_log = logging.getLogger(__name__)
_BODY = 10 << 20  # bytes


async def status(services: Services, _request: Request) -> Response:
    """`GET /engines/status`."""
    statuses = await asyncio.to_thread(services.engines.statuses)
    return json_reply({name: str(statuses[name]) for name in sorted(statuses)})


async def running(services: Services, _request: Request) -> Response:
    """`GET /engines/ps`."""
    rows = [
        running_view(resident, _called(services, resident.key.model))
        for resident in services.pool.residents()
    ]
    return json_reply(rows)


async def disk_usage(services: Services, _request: Request) -> Response:
    """`GET /engines/df`; the engines that are here take no room of their own."""
    reply: DiskUsage = {
        "models_disk_usage": await services.store.disk_usage(),
        "default_backend_disk_usage": 0,
    }
    return json_reply(reply)


async def unload(services: Services, request: Request) -> Response:
    """`POST /engines/unload`: what is idle goes, and how it was configured is forgotten with it."""
    wanted = parse(await read(request, _BODY), UnloadRequest)
    engine = wanted.get("backend") or None
    if wanted.get("all"):
        services.configurations.forget()
        gone = await services.pool.unload(lambda _: True)
    else:
        found = [services.catalogue.look(text) for text in wanted.get("models") or ()]
        models = [model.id for model in found if model is not None]
        services.configurations.forget(engine=engine, models=models)
        gone = await services.pool.unload(
            lambda key: key.model in models and (engine is None or key.engine == engine)
        )
    services.pool.settle()  # what stays has another keep-alive now
    reply: UnloadReply = {"unloaded_runners": gone}
    return json_reply(reply)


async def configure(services: Services, request: Request) -> Response:
    """`POST /engines/_configure`: how a model is to be run from now on; then load it in the background.

    The engine is chosen first, so that the flags are judged by its list. An identical configuration is
    accepted whatever the model is doing, a different one not while it is in use.
    """
    wanted = parse(await read(request, _BODY), ConfigureRequest)
    named = request.path_params.get("engine")
    mode = mode_of(wanted)
    key = await services.catalogue.key((wanted["model"], mode, named))
    new = configuration(wanted, key.engine)
    if new.speculative:
        _log.warning("speculative decoding is not used yet key=%s", key)
    if new != services.configurations.exact(key):
        if services.configurations.effective(key).options != new.options:
            await services.withdraw_preload(key)  # it was for a configuration that is out of date
            if not await services.pool.reload(key):
                raise Conflict(
                    f"runner already active: `{wanted['model']}`",
                    hint="try again when its requests have ended",
                )
        services.configurations.put(key, new)
        services.pool.settle()
    services.preload(key)
    return Response(status_code=202)


async def configurations(services: Services, request: Request) -> Response:
    """`GET /engines/_configure`, of one model with `?model=`."""
    rows = services.configurations.items()
    text = request.query_params.get("model")
    if text is not None:
        model = services.catalogue.look(text)
        rows = tuple((key, kept) for key, kept in rows if model is not None and key.model == model.id)
    return json_reply([view for key, kept in rows if (view := _view(services, key, kept.as_wire()))])


def _view(services: Services, key: Key, options: ConfigureOptions) -> ConfigurationView | None:
    model = services.store.snapshot.get(key.model)
    if model is None:
        return None
    return {
        "Backend": key.engine,
        "Model": model.tags[0].familiar if model.tags else "",
        "ModelID": str(key.model),
        "Mode": key.mode.value,
        "Config": options,
    }


def _called(services: Services, model: Digest) -> str:
    """What a loaded model is called: its first name, or its id when it has none or is gone."""
    found = services.store.snapshot.get(model)
    return str(model) if found is None else found.name
