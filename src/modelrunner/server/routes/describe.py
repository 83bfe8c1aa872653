"""`/openapi.json`, and `/docs`, a page that shows it and asks; it loads nothing from elsewhere."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from modelrunner.server.connection.replies import JSON, encode_json
from modelrunner.server.openapi import document
from modelrunner.server.services import Services

_OWN = [("GET", "/openapi.json"), ("GET", "/docs")]


class Describing:
    """Answers what the daemon's routes are; the document is made when it is first asked for."""

    def __init__(self, table: Sequence[tuple[str, str]]) -> None:
        self._table = [*table, *_OWN]
        self._document: bytes | None = None

    async def document(self, _services: Services, _request: Request) -> Response:
        """`GET /openapi.json`."""
        if self._document is None:
            self._document = encode_json(document(self._table))
        return Response(self._document, media_type=JSON)

    async def page(self, _services: Services, _request: Request) -> Response:
        """`GET /docs`."""
        page, policy = _page()
        headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return Response(page, headers=headers, media_type="text/html; charset=utf-8")


@cache
def _page() -> tuple[bytes, str]:
    """The page, and the policy under which nothing but its own script and style is run.

    Source: Content Security Policy Level 3, "hash-source".
    """
    page = files("modelrunner.server").joinpath("docs.html").read_bytes()
    script, style = _hash(page, b"script"), _hash(page, b"style")
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash(page: bytes, element: bytes) -> str:
    found = re.search(rb"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    digest = hashlib.sha256(found[1] if found else b"").digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
