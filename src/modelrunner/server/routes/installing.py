"""`/engines/install-backend` and `/engines/uninstall-backend`."""

import contextlib
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.errors import InvalidRequest
from modelrunner.server.connection.replies import JSON, LinesReply, accepts, parse, read
from modelrunner.server.routes.models import progress
from modelrunner.server.services import Services
from modelrunner.wire.engines import InstallRequest
from modelrunner.wire.headers import NDJSON
from modelrunner.wire.transfers import ProgressLine

_BODY = 10 << 20  # bytes


async def install(services: Services, request: Request) -> LinesReply:
    """`POST /engines/install-backend`: lines of progress for who asks for them, else only the status."""
    wanted = parse(await read(request, _BODY), InstallRequest)
    lines = services.installing.install(_backend(wanted), wanted.get("version") or None)
    if not accepts(request.headers, JSON, NDJSON):
        lines = _silent(lines)
    return progress(services, request, lines, "pull")


async def uninstall(services: Services, request: Request) -> Response:
    """`POST /engines/uninstall-backend`."""
    wanted = parse(await read(request, _BODY), InstallRequest)
    await services.installing.uninstall(_backend(wanted))
    return Response(status_code=200)


def _backend(request: InstallRequest) -> str:
    name = request.get("backend")
    if not name:
        raise InvalidRequest(
            "invalid request: backend is required", hint='say which one, as in `"backend": "vllm"`'
        )
    return name


async def _silent(lines: AsyncGenerator[ProgressLine, None]) -> AsyncGenerator[ProgressLine, None]:
    """Yield nothing, and end when the lines do."""
    async with contextlib.aclosing(lines):
        async for line in lines:
            if line["type"] == "error":  # never: it makes this a generator
                yield line
