"""`/engines/_configure`: how models are to be run."""

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.errors import InvalidRequest
from modelrunner.runtime.policy import Key
from modelrunner.server.configuration import Configuration, mode_of
from modelrunner.server.replies import json_reply, parse, query_flag, read
from modelrunner.server.services import Services
from modelrunner.wire import ConfigurationView, ConfigureRequest, ResetReply

_BODY = 10 << 20  # bytes


async def replace(services: Services, request: Request) -> Response:
    """`POST /engines/_configure`: how a model is to be run from now on; it is loaded in the background."""
    wanted = parse(await read(request, _BODY), ConfigureRequest)
    await services.configuring.replace(wanted, request.path_params.get("engine"))
    return Response(status_code=202)


async def change(services: Services, request: Request) -> Response:
    """`PATCH /engines/_configure`: only what is named changes, and null takes it away."""
    wanted = parse(await read(request, _BODY), ConfigureRequest)
    await services.configuring.change(wanted, request.path_params.get("engine"))
    return Response(status_code=202)


async def reset(services: Services, request: Request) -> Response:
    """`DELETE /engines/_configure?model=`, or `?all=true`: forget how it is to be run."""
    query = request.query_params
    if query_flag(request, "all"):
        forgotten = await services.configuring.reset_all()
    elif model := query.get("model", "").strip():
        mode = mode_of({"model": model, "mode": query.get("mode")})
        forgotten = await services.configuring.reset(model, mode, request.path_params.get("engine"))
    else:
        raise InvalidRequest("model is required", hint="name one with `?model=`, or say `?all=true`")
    reply: ResetReply = {"forgotten": forgotten}
    return json_reply(reply)


async def show(services: Services, request: Request) -> Response:
    """`GET /engines/_configure`, of one model with `?model=`."""
    await services.configurations.refresh()
    rows = services.configurations.items()
    text = request.query_params.get("model")
    if text is not None:
        model = services.catalogue.look(text)
        rows = tuple((key, kept) for key, kept in rows if model is not None and key.model == model.id)
    return json_reply([view for key, kept in rows if (view := _view(services, key, kept)) is not None])


def _view(services: Services, key: Key, configured: Configuration) -> ConfigurationView | None:
    model = services.store.snapshot.get(key.model)
    if model is None:
        return None
    return {
        "Backend": key.engine,
        "Model": model.tags[0].familiar if model.tags else "",
        "ModelID": str(key.model),
        "Mode": key.mode.value,
        "Config": configured.as_wire(),
    }
