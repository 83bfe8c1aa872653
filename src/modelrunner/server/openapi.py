"""The description of every route for programs, from the table of routes and the types of the wire. Pure.

Source: OpenAPI Specification 3.1.0.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from modelrunner import __version__, wire
from modelrunner.dialects.anthropic import CountRequest, MessagesRequest
from modelrunner.dialects.ollama import ChatRequest, EmbedRequest, GenerateRequest
from modelrunner.dialects.openai_texts import DetokenizeRequest, ScoreRequest, TokenizeRequest

JSON = dict[str, Any]
_REF = "#/components/schemas/{name}"
_MEDIA, _TEXT, _TAR = "application/json", "text/plain", "application/x-tar"
# What any route may say: a wrong request, a foreign Host or Origin, a daemon that fails or stops.
_ALWAYS = (400, 403, 404, 409, 412, 413, 422, 500, 501, 502, 503, 504, 507)
_ENGINES = (401, 405, 415, 424, 429)  # an engine's own refusals, which keep their status
_PREFIX = re.compile(
    r"^/engines(/\{engine\})?(?=/(v1|rerank|score|tokenize|detokenize|responses|_configure))"
)


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
    table = list(table)
    docs = {route: _doc(*route) for route in table}
    types = [wire.ErrorBody]
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
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, doc, schema)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Model Runner", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _any(_kind: type) -> JSON:
    """The schema of what may be anything."""
    return {"description": "anything"}  # an empty one is taken for none


def _doc(method: str, path: str) -> Doc:
    plain = _PREFIX.sub("", path).removeprefix("/anthropic")
    default = _MODEL if method == "POST" and plain.startswith(("/v1/", "/rerank")) else _OTHER
    return DOCS.get((method, path)) or DOCS.get((method, plain)) or default


def _operation(method: str, path: str, doc: Doc, schema: Any) -> JSON:
    parameters: list[JSON] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in doc.query]
    errors = {
        status: {"application/json": {"schema": schema(wire.ErrorBody)}} for status in _ALWAYS + _ENGINES
    }
    answers = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": {**content, "text/plain": {"schema": {"type": "string"}}},
        }
        for status, content in errors.items()
    }
    answers[str(doc.status)] = {
        "description": HTTPStatus(doc.status).phrase,
        "content": {doc.media: {"schema": schema(doc.answer)}},
    }
    answers.setdefault("200", {"description": "OK"})
    found: JSON = {"summary": doc.summary, "parameters": parameters, "responses": answers}
    if doc.body is not None and method != "GET":
        found["requestBody"] = {"content": {doc.body_media: {"schema": schema(doc.body)}}}
    return found
