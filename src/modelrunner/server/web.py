"""The files of the web app as they were built: read once, sent compressed, under a strict policy.

What stands in `ui` beside this module is made by `web/build.py`; a checkout that was never built has none.
"""

import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modelrunner.errors import UnknownRoute

_BUILT = Path(__file__).parent / "ui"
_PAGE = "index.html"
_ENDINGS = {".br": "br", ".gz": "gzip"}
_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json"}
_BINARY = (".woff2", ".png", ".ico")
# The builder names these by their content, so that they are never asked for again.
_NAMED_BY_CONTENT = "assets/"
_YEAR = "public, max-age=31536000, immutable"
_REFUSED = re.compile(r";\s*q=0(\.0*)?\s*$")  # RFC 9110, 12.4.2
_ASK_AGAIN = "no-cache"

# Nothing runs, shows or is asked that does not come from here. Pictures in a chat are data: or blob:.
# Source: Content Security Policy Level 3.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self';"
    " media-src 'self' data: blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file in each form that it has: by content coding, `identity` always among them."""

    forms: Mapping[str, bytes]
    media_type: str
    cache: str
    etag: str

    def form(self, accepted: str) -> tuple[str, bytes]:
        """Choose the form for a header `Accept-Encoding`: the smallest that the client takes."""
        parts = (part for part in accepted.lower().split(",") if not _REFUSED.search(part))
        codings = {part.partition(";")[0].strip() for part in parts}
        takes = (coding for coding in ("br", "gzip") if coding in codings and coding in self.forms)
        coding = next(takes, "identity")
        return coding, self.forms[coding]


def find(path: str, *, wants_page: bool) -> File:
    """Find what stands at a path under `/ui/`; a path of the app itself, for who wants a page, is its page.

    Raises:
        UnknownRoute: there is nothing, or the app was not built.
    """
    files = _files(_BUILT)
    if _PAGE not in files:
        raise UnknownRoute(
            "this installation has no web app", hint="build it with `make setup`, or reinstall"
        )
    if found := files.get(path or _PAGE):
        return found
    if wants_page and not path.startswith(_NAMED_BY_CONTENT):
        return files[_PAGE]
    raise UnknownRoute(f"the web app has no file `{path[:200]}`")


@cache
def _files(root: Path) -> dict[str, File]:
    """Read all files, with the compressed forms that stand beside them."""
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    plain = {
        name: path for name, path in paths.items() if path.suffix not in _ENDINGS and path.name != ".stamp"
    }
    return {name: _file(name, path, paths) for name, path in plain.items()}


def _file(name: str, path: Path, paths: Mapping[str, Path]) -> File:
    data = path.read_bytes()
    packed = {
        coding: paths[f"{name}{ending}"].read_bytes()
        for ending, coding in _ENDINGS.items()
        if f"{name}{ending}" in paths
    }
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if path.suffix not in _BINARY:
        media_type += "; charset=utf-8"
    return File(
        forms={"identity": data, **packed},
        media_type=media_type,
        cache=_YEAR if name.startswith(_NAMED_BY_CONTENT) else _ASK_AGAIN,
        etag=f'"{hashlib.sha256(data).hexdigest()[:20]}"',
    )
