"""The description of every route for programs, from the table of routes and the types of the wire. Pure.

Source: OpenAPI Specification 3.1.0.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from modelrunner import __version__
from modelrunner.dialects.fields import properties
from modelrunner.dialects.fields_table import ENDPOINTS
from modelrunner.server.inspector_docs import INSPECTOR
from modelrunner.server.route_docs import ANYWHERE, DOCS, ENGINE, MEDIA, MODEL, OTHER, REFUSALS, TEXT, Doc
from modelrunner.wire.errors import ErrorBody

JSON = dict[str, Any]
_DOCS = DOCS | INSPECTOR
_REF = "#/components/schemas/{name}"
_PREFIX = re.compile(
    r"^/engines(/\{engine\})?(?=/(v1|rerank|score|tokenize|detokenize|responses|_configure))"
)
_SHORT = re.compile(r"^/v1(?=/(rerank|score|tokenize|detokenize|responses))")
_FIELDS = {each.path: each for each in ENDPOINTS}
# How Ollama's and Anthropic's errors look; all others are OpenAI's, or a line of text.
_OLLAMA_ERROR: JSON = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "code": {"type": "string"}},
}
_ANTHROPIC_ERROR: JSON = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}


def document(table: Iterable[tuple[str, str]]) -> JSON:
    """Describe the routes, given as methods and paths; each has its statuses."""
    docs = {route: doc_of(*route) for route in table}
    types: list[Any] = [ErrorBody]
    for doc in docs.values():
        types += [kind for kind in (doc.body, doc.answer) if kind not in {None, bytes} and kind not in types]
    schemas, components = msgspec.json.schema_components(types, schema_hook=_any, ref_template=_REF)
    known = list(zip(types, schemas, strict=True))

    def schema(kind: Any) -> JSON:
        if kind is bytes:
            return {"type": "string", "format": "binary"}
        return next((found for each, found in known if each == kind), {})

    paths: dict[str, JSON] = {}
    for (method, path), doc in docs.items():
        paths.setdefault(path, {})[method.lower()] = _operation(path, doc, schema)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Model Runner", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _any(_kind: type) -> JSON:
    """The schema of what may be anything."""
    return {"description": "anything"}  # an empty one is taken for none


def _plain(path: str) -> str:
    """A path without what may stand before it."""
    return _SHORT.sub("", _PREFIX.sub("", path))


def doc_of(method: str, path: str) -> Doc:
    """Say how a route is described, whatever stands before its path."""
    plain = _plain(path)
    for known in (path, plain, plain.removeprefix("/anthropic")):
        if (method, known) in _DOCS:
            return _DOCS[method, known]
    if method != "POST" or not plain.startswith("/v1/"):
        return OTHER
    fields = _FIELDS.get(plain)
    return MODEL if fields is None else MODEL._replace(summary=f"{fields.title}, in OpenAI's form.")


def _operation(path: str, doc: Doc, schema: Any) -> JSON:
    parameters: list[JSON] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in doc.query]
    answers = {str(status): _refusal(path, status, schema) for status in _statuses(doc)}
    for status in doc.statuses:
        content = {doc.media: {"schema": schema(doc.answer)}}
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": content}
    found: JSON = {"summary": doc.summary, "parameters": parameters, "responses": answers}
    if doc.body is not None:
        found["requestBody"] = {"content": {doc.body_media: {"schema": _body(path, doc, schema)}}}
    return found


def _statuses(doc: Doc) -> list[int]:
    """The statuses of the errors that a route can end in."""
    found = {each.status for each in (*ANYWHERE, *doc.raises)}
    if set(doc.raises) >= set(ENGINE):
        found |= set(REFUSALS)
    return sorted(found)


def _refusal(path: str, status: int, schema: Any) -> JSON:
    """An error in the form of the path's dialect."""
    content: JSON = {MEDIA: {"schema": schema(ErrorBody)}}
    if path.startswith("/api/"):
        content = {MEDIA: {"schema": _OLLAMA_ERROR}}
    elif path.startswith("/anthropic/") or "/v1/messages" in path:
        content = {MEDIA: {"schema": _ANTHROPIC_ERROR}}
    elif not re.search(r"/v1/|/(rerank|score|tokenize|detokenize|responses)\b", path):
        content[TEXT] = {"schema": {"type": "string"}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _body(path: str, doc: Doc, schema: Any) -> JSON:
    """The type of a body; what nobody here has a type for is told by the table of fields."""
    plain = _PREFIX.sub("", path).removeprefix("/anthropic")
    fields = _FIELDS.get(plain) or _FIELDS.get(f"/v1{plain}")
    if fields is None:
        found: JSON = schema(doc.body)
        return found
    table: JSON = {"type": "object", "properties": properties(fields), "examples": [dict(fields.base)]}
    if doc.body == dict[str, Any]:
        return {"required": list(fields.base), **table}
    return {"allOf": [schema(doc.body)], **table}
