"""`/transfers`: pulls and pushes that go on when whoever began them leaves; and `/search`, what to pull."""

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.errors import InvalidRequest
from modelrunner.server.connection.replies import json_reply, parse, read
from modelrunner.server.routes.models import then_preload
from modelrunner.server.services import Services
from modelrunner.wire.search import SearchReply
from modelrunner.wire.transfers import TransferRequest

_BODY = 1 << 20  # bytes
_USUAL, _MOST = 24, 100  # results of a search


async def show(services: Services, _request: Request) -> Response:
    """`GET /transfers`: what is under way, the last that ended, and what an earlier daemon did not finish."""
    return json_reply([*services.background_transfers.all(), *await services.unfinished.views()])


async def begin(services: Services, request: Request) -> Response:
    """`POST /transfers`: a pull or a push; the one that is under way already, if it is."""
    wanted = parse(await read(request, _BODY), TransferRequest)
    model, transfers = wanted["model"].strip(), services.transfers
    if not model:
        raise InvalidRequest("model is required", hint='say which, as in `"model": "ai/smollm2"`')
    if wanted["kind"] == "push":
        services.catalogue.find(model)
        view = services.background_transfers.begin("push", model, lambda: transfers.push(model))
    else:
        view = services.background_transfers.begin(
            "pull", model, lambda: then_preload(services, transfers.pull(model), model)
        )
    return json_reply(view, 202)


async def drop(services: Services, request: Request) -> Response:
    """`DELETE /transfers/{name}`: cancels one that runs, forgets one that does not."""
    name = request.path_params["name"]
    return json_reply(
        await services.unfinished.forget(name) or await services.background_transfers.drop(name)
    )


async def search(services: Services, request: Request) -> Response:
    """`GET /search?q=`, with `&source=` and `&limit=`."""
    query = request.query_params
    limit = query.get("limit") or str(_USUAL)
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= _MOST):
        raise InvalidRequest(f"invalid limit: `{limit[:100]}`", hint=f"a number from 1 to {_MOST}")
    reply: SearchReply = await services.remote_search.find(
        query.get("q", ""), query.get("source"), int(limit)
    )
    return json_reply(reply)
