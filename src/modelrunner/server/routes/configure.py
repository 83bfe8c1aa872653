"""`/engines/_configure`: how models are to be run."""

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.errors import EngineNotInstalled, InvalidRequest, ModelNotFound, UnsupportedModel
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.configuration.configuration import Configuration, mode_of
from modelrunner.server.configuration.in_force import context_in_force, in_force
from modelrunner.server.connection.replies import json_reply, parse, query_flag, read
from modelrunner.server.services import Services
from modelrunner.store.snapshot import StoredModel
from modelrunner.wire.configuration import ConfigurationView, ConfiguredReply, ConfigureRequest, ResetReply

_BODY = 1 << 20  # bytes; it is kept


async def replace(services: Services, request: Request) -> Response:
    """`POST /engines/_configure`: how a model is to be run from now on; it is loaded in the background."""
    wanted = parse(await read(request, _BODY), ConfigureRequest)
    return await _accepted(services, await services.configuring.replace(wanted, _engine(request)))


async def change(services: Services, request: Request) -> Response:
    """`PATCH /engines/_configure`: only what is named changes, and null takes it away."""
    wanted = parse(await read(request, _BODY), ConfigureRequest)
    return await _accepted(services, await services.configuring.change(wanted, _engine(request)))


async def _accepted(services: Services, key: Key) -> Response:
    """Answer that it holds from now on; and, in a body that clients need not read, that it cannot be loaded.

    Source: the reference answers 202 without a body.
    """
    refusal = await services.insight.refusal(key)
    if refusal is None:
        return Response(status_code=202)
    reply: ConfiguredReply = {"refusal": refusal}
    return json_reply(reply, status=202)


def _engine(request: Request) -> str | None:
    engine: str | None = request.path_params.get("engine")
    return engine


async def reset(services: Services, request: Request) -> Response:
    """`DELETE /engines/_configure?model=`, or `?all=true`: forget how it is to be run."""
    query = request.query_params
    if query_flag(request, "all"):
        forgotten = await services.configuring.reset_all()
    elif model := query.get("model", "").strip():
        mode = mode_of({"model": model, "mode": query.get("mode")})
        forgotten = await services.configuring.reset(model, mode, _engine(request))
    else:
        raise InvalidRequest("model is required", hint="name one with `?model=`, or say `?all=true`")
    reply: ResetReply = {"forgotten": forgotten}
    return json_reply(reply)


async def show(services: Services, request: Request) -> Response:
    """`GET /engines/_configure`, of one model with `?model=`.

    With `?effective=true` what is in force is there too, also of a model that was never configured.
    """
    await services.configurations.refresh()
    text, effective = request.query_params.get("model"), query_flag(request, "effective")
    model = None if text is None else services.catalogue.look(text)
    usual = await _usual_key(services, model) if effective and model is not None else None
    rows = dict(services.configurations.items())
    if text is not None:
        rows = {key: kept for key, kept in rows.items() if model is not None and key.model == model.id}
    if usual is not None:
        rows.setdefault(usual, Configuration())
    views = {key: _view(services, key, kept) for key, kept in rows.items()}
    if effective:
        for key, view in views.items():
            options = services.configurations.effective(key).options
            context = context_in_force(services.engines, services.catalogue, key, options)
            view["Effective"] = in_force(services.configurations, key, context)
    return json_reply(list(views.values()))


async def _usual_key(services: Services, model: StoredModel) -> Key | None:
    """How a model would be run without being configured; None when nothing here can run it."""
    try:
        return await services.catalogue.usual_key(str(model.id), None)
    except (UnsupportedModel, EngineNotInstalled, ModelNotFound):
        return None


def _view(services: Services, key: Key, configured: Configuration) -> ConfigurationView:
    model = services.catalogue.by_id(key.model)
    return {
        "Backend": key.engine,
        "Model": model.tags[0].familiar if model.tags else "",
        "ModelID": str(key.model),
        "Mode": key.mode.value,
        "Config": configured.as_wire(),
    }
