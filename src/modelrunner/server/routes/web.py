"""`/ui/`: the web app."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.server import web
from modelrunner.server.connection.replies import accepts
from modelrunner.server.services import Services

HTML = "text/html"


async def show(_services: Services, request: Request) -> Response:
    """`GET /ui/` and all below it."""
    path = request.path_params.get("name", "")
    file = await asyncio.to_thread(web.find, path, wants_page=accepts(request.headers, HTML))
    coding, body = file.form(request.headers.get("accept-encoding", ""))
    headers = {
        **web.HEADERS,
        "cache-control": file.cache,
        "etag": file.etag,
        "vary": "Accept, Accept-Encoding",
    }
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if coding != "identity":
        headers["content-encoding"] = coding
    return Response(body, headers=headers | {"content-type": file.media_type})
