"""The description of every route for programs, from the table of routes and the types of the wire. Pure.

Source: OpenAPI Specification 3.1.0.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from modelrunner import __version__, wire
from modelrunner.dialects.fields import properties
from modelrunner.dialects.fields_table import ENDPOINTS
from modelrunner.server.route_docs import ANYWHERE, DOCS, ENGINE, MEDIA, MODEL, OTHER, REFUSALS, TEXT, Doc

JSON = dict[str, Any]
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


class Doc(NamedTuple):
    """What a table of routes does not tell: the words, the types, the query, the status of success."""

    summary: str
    body: Any = None
    answer: Any = None
    media: str = _MEDIA
    query: tuple[str, ...] = ()
    status: int = 200
    body_media: str = _MEDIA


_PROGRESS = Doc("", answer=wire.ProgressLine, media=wire.NDJSON)
_MODEL = Doc("A question for a model, in the form of the path's API.", body=dict[str, Any])
_OTHER = Doc("See the reference of the API.")

DOCS: dict[tuple[str, str], Doc] = {
    ("GET", "/"): Doc("Whether the daemon runs.", media=_TEXT),
    ("GET", "/status"): Doc("Whether the daemon runs.", media=_TEXT),
    ("GET", "/health"): Doc("Whether requests get on.", answer=wire.HealthReply),
    ("GET", "/version"): Doc("The daemon's version.", answer=wire.Version),
    ("GET", "/logs"): Doc("The log.", media=_TEXT, query=("follow", "no-engines", "model")),
    ("GET", "/models"): Doc("All models.", answer=list[wire.ModelView], query=("brief",)),
    ("GET", "/models/{name}"): Doc("One model.", answer=wire.ModelView, query=("remote",)),
    ("POST", "/models/create"): _PROGRESS._replace(summary="Pull a model.", body=wire.PullRequest),
    ("POST", "/models/load"): _PROGRESS._replace(
        summary="Load an archive.", body_media="application/octet-stream", body=bytes
    ),
    ("POST", "/models/export"): Doc("Export models.", body=wire.ExportRequest, media=_TAR),
    ("POST", "/models/import"): _PROGRESS._replace(
        summary="Take over models of other programs.", body=wire.ImportRequest
    ),
    ("POST", "/models/take"): _PROGRESS._replace(summary="Make a file a blob.", body=wire.TakeRequest),
    ("POST", "/models/verify"): _PROGRESS._replace(summary="Read files again.", body=wire.VerifyRequest),
    ("POST", "/models/prune"): Doc(
        "Delete what belongs to no model.", body=wire.PruneRequest, answer=wire.PruneReply
    ),
    ("GET", "/ui"): Doc("The web app.", media="text/html"),
    ("GET", "/ui/{name}"): Doc("A page or a file of the web app."),
    ("POST", "/engines/explain"): Doc(
        "What a configuration would need.", body=wire.ConfigureRequest, answer=wire.Verdict
    ),
    ("GET", "/transfers"): Doc("Pulls and pushes in the background.", answer=list[wire.TransferView]),
    ("POST", "/transfers"): Doc(
        "Begin one.", body=wire.TransferRequest, answer=wire.TransferView, status=202
    ),
    ("DELETE", "/transfers/{name}"): Doc("Cancel or forget one.", answer=wire.TransferView),
    ("GET", "/search"): Doc("Find models.", answer=wire.SearchReply, query=("q", "source", "limit")),
    ("GET", "/blobs"): Doc("The digests of all blobs.", answer=list[str]),
    ("DELETE", "/models/purge"): Doc("Delete everything.", query=("force",)),
    ("GET", "/models/{name}/export"): Doc("Export a model.", media=_TAR),
    ("POST", "/models/{name}/tag"): Doc(
        "Name a model.", answer=wire.TagReply, query=("repo", "tag"), status=201
    ),
    ("POST", "/models/{name}/push"): _PROGRESS._replace(summary="Push a model.", body=wire.PushRequest),
    ("POST", "/models/{name}/repackage"): Doc(
        "Make a variant.", body=wire.RepackageRequest, answer=wire.TagReply, status=201
    ),
    ("DELETE", "/models/{name}"): Doc("Delete a model.", answer=list[wire.Removal], query=("force",)),
    ("GET", "/v1/models"): Doc("OpenAI's list of models.", answer=wire.OpenAIModelList),
    ("GET", "/v1/models/{name}"): Doc("A model, in OpenAI's form.", answer=wire.OpenAIModel),
    ("GET", "/engines/status"): Doc("The engines.", answer=dict[str, str]),
    ("GET", "/engines/ps"): Doc("What is loaded.", answer=list[wire.RunningModel]),
    ("GET", "/engines/events"): Doc(
        "What happened.", answer=list[wire.EventView], query=("model", "since", "limit", "follow")
    ),
    ("GET", "/engines/queue"): Doc("Who waits.", answer=list[wire.WaitingRequest], query=("id",)),
    ("GET", "/engines/explain"): Doc(
        "What a request would meet.", answer=wire.Explanation, query=("model", "mode", "backend")
    ),
    ("GET", "/engines/df"): Doc("Disk usage.", answer=wire.DiskUsage),
    ("POST", "/engines/unload"): Doc("Unload models.", body=wire.UnloadRequest, answer=wire.UnloadReply),
    ("POST", "/engines/install-backend"): _PROGRESS._replace(
        summary="Install an engine.", body=wire.InstallRequest
    ),
    ("POST", "/engines/uninstall-backend"): Doc("Remove an engine.", body=wire.InstallRequest),
    ("GET", "/_configure"): Doc(
        "Configurations.", answer=list[wire.ConfigurationView], query=("model", "effective")
    ),
    ("POST", "/_configure"): Doc(
        "Configure a model.", body=wire.ConfigureRequest, answer=wire.ConfiguredReply, status=202
    ),
    ("PATCH", "/_configure"): Doc(
        "Change a configuration.", body=wire.ConfigureRequest, answer=wire.ConfiguredReply, status=202
    ),
    ("DELETE", "/_configure"): Doc(
        "Forget configurations.", answer=wire.ResetReply, query=("model", "mode", "all")
    ),
    ("POST", "/tokenize"): Doc("Text to tokens.", body=TokenizeRequest),
    ("POST", "/detokenize"): Doc("Tokens to text.", body=DetokenizeRequest),
    ("POST", "/score"): Doc("How well texts fit.", body=ScoreRequest),
    ("POST", "/v1/tokenize"): Doc("Text to tokens.", body=TokenizeRequest),
    ("POST", "/v1/detokenize"): Doc("Tokens to text.", body=DetokenizeRequest),
    ("POST", "/v1/score"): Doc("How well texts fit.", body=ScoreRequest),
    ("POST", "/v1/messages"): Doc("Anthropic's messages.", body=MessagesRequest),
    ("POST", "/v1/messages/count_tokens"): Doc("Anthropic's counting.", body=CountRequest),
    ("POST", "/api/chat"): Doc("Ollama's chat.", body=ChatRequest),
    ("POST", "/api/generate"): Doc("Ollama's completion.", body=GenerateRequest),
    ("POST", "/api/embed"): Doc("Ollama's embeddings.", body=EmbedRequest),
}


def document(table: Iterable[tuple[str, str]]) -> JSON:
    """Describe the routes, given as methods and paths; each has its statuses."""
    docs = {route: doc_of(*route) for route in table}
    types: list[Any] = [wire.ErrorBody]
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
        if (method, known) in DOCS:
            return DOCS[method, known]
    return MODEL if method == "POST" and plain.startswith("/v1/") else OTHER


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
    content: JSON = {MEDIA: {"schema": schema(wire.ErrorBody)}}
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
