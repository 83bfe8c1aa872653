"""`/models/import`, `/models/take`, `/models/verify`, `/models/prune`: what keeps a store whole."""

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.server.connection.replies import LinesReply, json_reply, parse, read
from modelrunner.server.routes.models import progress
from modelrunner.server.services import Services
from modelrunner.server.transfers.taking import take_file
from modelrunner.store.store import GRACE
from modelrunner.wire.models import PrunedFile, PruneReply, PruneRequest, VerifyRequest
from modelrunner.wire.transfers import ImportRequest, TakeRequest

_SMALL_BODY = 1 << 20  # bytes


async def import_models(services: Services, request: Request) -> LinesReply:
    """`POST /models/import`."""
    wanted = parse(await read(request, _SMALL_BODY) or b"{}", ImportRequest)
    lines = services.adopting.run(
        wanted.get("from", ""),
        wanted.get("names", []),
        link=wanted.get("link", False),
        dry_run=wanted.get("dry_run", False),
    )
    return progress(services, request, lines, "pull")


async def take(services: Services, request: Request) -> LinesReply:
    """`POST /models/take`."""
    wanted = parse(await read(request, _SMALL_BODY), TakeRequest)
    return progress(services, request, take_file(services.store, wanted), "pull")


async def verify(services: Services, request: Request) -> LinesReply:
    """`POST /models/verify`."""
    wanted = parse(await read(request, _SMALL_BODY) or b"{}", VerifyRequest)
    in_use = {resident.key.model for resident in services.pool.residents()}
    lines = services.verifying.run(
        wanted.get("models", []), repair=wanted.get("repair", False), in_use=in_use
    )
    return progress(services, request, lines, "pull")


async def prune(services: Services, request: Request) -> Response:
    """`POST /models/prune`."""
    wanted = parse(await read(request, _SMALL_BODY) or b"{}", PruneRequest)
    older_than = 0.0 if wanted.get("all", False) else GRACE
    damaged = wanted.get("damaged", False)
    upkeep = services.store.upkeep
    if wanted.get("dry_run", False):
        found = await upkeep.leftovers(older_than, damaged=damaged)
        freed = sum(leftover.size for leftover in found)
    else:
        found, freed = await upkeep.prune(older_than, damaged=damaged)
    files: list[PrunedFile] = [
        {"path": str(each.path), "kind": str(each.kind), "size": each.size} for each in found
    ]
    reply: PruneReply = {"files": files, "freed": freed}
    return json_reply(reply)
