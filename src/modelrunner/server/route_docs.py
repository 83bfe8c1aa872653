"""What a table of routes does not tell of itself: the words, the types, the query, and how a route ends.

Statuses of errors are those of the classes that a route `raises`, so that they are stated once, in `errors`.
"""

from typing import Any, NamedTuple

from modelrunner import errors
from modelrunner.dialects.anthropic import CountRequest, MessagesRequest
from modelrunner.dialects.compaction import CompactRequest
from modelrunner.dialects.ollama import ChatRequest, EmbedRequest, GenerateRequest
from modelrunner.dialects.openai_texts import DetokenizeRequest, ScoreRequest, TokenizeRequest
from modelrunner.dialects.responses import Asked
from modelrunner.server.library.creating import CreateRequest
from modelrunner.wire.configuration import ConfigurationView, ConfiguredReply, ConfigureRequest, ResetReply
from modelrunner.wire.daemon import HealthReply, SettingView, Version
from modelrunner.wire.engines import DiskUsage, InstallRequest, RunningModel, UnloadReply, UnloadRequest
from modelrunner.wire.headers import NDJSON
from modelrunner.wire.insight import EventView, Explanation, Verdict, WaitingRequest
from modelrunner.wire.models import (
    ModelView,
    OpenAIModel,
    OpenAIModelList,
    PruneReply,
    PruneRequest,
    Removal,
    RepackageRequest,
    TagReply,
    VerifyRequest,
)
from modelrunner.wire.search import SearchReply
from modelrunner.wire.transfers import (
    ExportRequest,
    ImportRequest,
    ProgressLine,
    PullRequest,
    PushRequest,
    TakeRequest,
    TransferRequest,
    TransferView,
)

MEDIA, TEXT, TAR, BYTES = "application/json", "text/plain", "application/x-tar", "application/octet-stream"
FORM = "multipart/form-data"
PAGE = "text/html"
Errors = tuple[type[errors.RunnerError], ...]

# Who is not let in, and what nobody foresaw; any route may end so.
ANYWHERE: Errors = (errors.InvalidRequest, errors.Forbidden, errors.RunnerError)
FIND: Errors = (errors.InvalidReference, errors.ModelNotFound)
BODY: Errors = (errors.InvalidRequest, errors.RequestTooLarge)
KEEP: Errors = (errors.StoreError, errors.InsufficientStorage)
ARRIVE: Errors = (*KEEP, errors.DigestMismatch, errors.UnsupportedModel, errors.InvalidManifest)
REGISTRY: Errors = (
    *FIND,
    *ARRIVE,
    errors.Unauthorized,
    errors.RegistryError,
    errors.ShuttingDown,
)
CONFIGURE: Errors = (
    *FIND,
    errors.Conflict,
    errors.EngineNotFound,
    errors.EngineNotInstalled,
    errors.UnsupportedModel,
    errors.StoreError,
)
ENGINE: Errors = (
    *FIND,
    *BODY,
    errors.UnsupportedEncoding,
    errors.EngineNotFound,
    errors.EngineNotInstalled,
    errors.UnsupportedModel,
    errors.Busy,
    errors.InsufficientMemory,
    errors.EngineFailed,
    errors.NotReadyInTime,
)
# Of an engine's own refusals, which keep their status: those that llama.cpp, vLLM and diffusers have.
REFUSALS = (400, 401, 404, 405, 415, 421, 422, 424, 429, 500, 501, 502, 503, 504)


class Doc(NamedTuple):
    """How a route is described; `statuses` are those of success, the first one with the answer."""

    summary: str
    body: Any = None
    answer: Any = None
    media: str = MEDIA
    query: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)
    body_media: str = MEDIA
    raises: Errors = ()


MODEL = Doc("A question for a model, in the form of the path's API.", body=dict[str, Any], raises=ENGINE)
OTHER = Doc("See the reference of the API.")
_PROGRESS = Doc("", answer=ProgressLine, media=NDJSON)
_LOOK = Doc("A model, in the form of the path's API.", raises=FIND)
_KEPT: Errors = (errors.ResponseNotFound, errors.StoreError)

DOCS: dict[tuple[str, str], Doc] = {
    ("GET", "/"): Doc(
        "Whether the daemon runs; shows browsers to the web app.", media=TEXT, statuses=(200, 303)
    ),
    ("GET", "/status"): Doc("Whether the daemon runs.", media=TEXT),
    ("GET", "/health"): Doc(
        "Whether requests get on; 503 when they do not.", answer=HealthReply, statuses=(200, 503)
    ),
    ("GET", "/version"): Doc("The daemon's version.", answer=Version),
    ("GET", "/openapi.json"): Doc("This description."),
    ("GET", "/docs"): Doc("A page that shows this description, and asks.", media=PAGE),
    ("GET", "/settings"): Doc("The daemon's settings.", answer=list[SettingView]),
    ("GET", "/logs"): Doc(
        "The log.", media=TEXT, query=("follow", "no-engines", "model", "level", "tail"), raises=FIND
    ),
    ("GET", "/models"): Doc("All models.", answer=list[ModelView], query=("brief",)),
    ("GET", "/models/{name}"): Doc("One model.", answer=ModelView, query=("remote",), raises=REGISTRY),
    ("POST", "/models/create"): _PROGRESS._replace(
        summary="Pull a model.", body=PullRequest, raises=(*BODY, *REGISTRY)
    ),
    ("POST", "/models/load"): _PROGRESS._replace(
        summary="Load an archive.",
        body_media=BYTES,
        body=bytes,
        raises=(*ARRIVE, errors.InvalidArchive, errors.ShuttingDown),
    ),
    ("POST", "/models/export"): Doc(
        "Export models.", body=ExportRequest, media=TAR, raises=(*BODY, *FIND, errors.StoreError)
    ),
    ("POST", "/models/import"): _PROGRESS._replace(
        summary="Take over models of other programs.", body=ImportRequest, raises=(*BODY, *FIND, *ARRIVE)
    ),
    ("POST", "/models/take"): _PROGRESS._replace(
        summary="Make a file a blob.", body=TakeRequest, raises=(*BODY, *KEEP, errors.Conflict)
    ),
    ("POST", "/models/verify"): _PROGRESS._replace(
        summary="Read files again.", body=VerifyRequest, raises=(*BODY, *REGISTRY)
    ),
    ("POST", "/models/prune"): Doc(
        "Delete what belongs to no model.",
        body=PruneRequest,
        answer=PruneReply,
        raises=(*BODY, errors.StoreError),
    ),
    ("GET", "/ui"): Doc("The web app.", media=PAGE, statuses=(200, 304), raises=(errors.UnknownRoute,)),
    ("GET", "/ui/{name}"): Doc(
        "A page or a file of the web app.", media=PAGE, statuses=(200, 304), raises=(errors.UnknownRoute,)
    ),
    ("GET", "/transfers"): Doc("Pulls and pushes in the background.", answer=list[TransferView]),
    ("POST", "/transfers"): Doc(
        "Begin a pull or a push in the background.",
        body=TransferRequest,
        answer=TransferView,
        statuses=(202,),
        raises=(*BODY, *FIND),
    ),
    ("DELETE", "/transfers/{name}"): Doc(
        "Cancel or forget a transfer.", answer=TransferView, raises=(errors.TransferNotFound,)
    ),
    ("GET", "/search"): Doc(
        "Find models elsewhere.",
        answer=SearchReply,
        query=("q", "source", "limit"),
        raises=(errors.RegistryError,),
    ),
    ("GET", "/blobs"): Doc("The digests of all blobs.", answer=list[str]),
    ("DELETE", "/models/purge"): Doc(
        "Delete everything.", query=("force",), raises=(errors.Conflict, errors.StoreError)
    ),
    ("GET", "/models/{name}/export"): Doc("Export a model.", media=TAR, raises=(*FIND, errors.StoreError)),
    ("POST", "/models/{name}/tag"): Doc(
        "Name a model.",
        answer=TagReply,
        query=("repo", "tag"),
        statuses=(201,),
        raises=(*FIND, errors.StoreError),
    ),
    ("POST", "/models/{name}/push"): _PROGRESS._replace(
        summary="Push a model.", body=PushRequest, raises=(*BODY, *REGISTRY)
    ),
    ("POST", "/models/{name}/repackage"): Doc(
        "Make a variant.",
        body=RepackageRequest,
        answer=TagReply,
        statuses=(201,),
        raises=(*BODY, *FIND, *KEEP, errors.UnsupportedModel),
    ),
    ("POST", "/models/{name}"): Doc("No action: says so.", statuses=(), raises=(errors.UnknownRoute,)),
    ("DELETE", "/models/{name}"): Doc(
        "Delete a model.",
        answer=list[Removal],
        query=("force",),
        raises=(*FIND, errors.Conflict, errors.StoreError),
    ),
    ("GET", "/v1/models"): Doc("OpenAI's list of models.", answer=OpenAIModelList),
    ("GET", "/v1/models/{name}"): Doc("A model, in OpenAI's form.", answer=OpenAIModel, raises=FIND),
    ("GET", "/anthropic/v1/models"): Doc("Anthropic's list of models."),
    ("GET", "/anthropic/v1/models/{name}"): _LOOK,
    ("GET", "/engines/status"): Doc("The engines.", answer=dict[str, str]),
    ("GET", "/engines/ps"): Doc("What is loaded.", answer=list[RunningModel]),
    ("GET", "/engines/events"): Doc(
        "What happened.",
        answer=list[EventView],
        query=("model", "since", "limit", "follow"),
        raises=FIND,
    ),
    ("GET", "/engines/queue"): Doc(
        "Who waits.", answer=list[WaitingRequest], query=("id",), raises=(errors.NotWaiting,)
    ),
    ("GET", "/engines/explain"): Doc(
        "What a request would meet.",
        answer=Explanation,
        query=("model", "mode", "backend"),
        raises=(*FIND, errors.EngineNotFound, errors.EngineNotInstalled, errors.UnsupportedModel),
    ),
    ("POST", "/engines/explain"): Doc(
        "What a configuration would need.",
        body=ConfigureRequest,
        answer=Verdict,
        raises=(*BODY, *CONFIGURE),
    ),
    ("GET", "/engines/df"): Doc("Disk usage.", answer=DiskUsage),
    ("POST", "/engines/unload"): Doc("Unload models.", body=UnloadRequest, answer=UnloadReply, raises=BODY),
    ("POST", "/engines/install-backend"): _PROGRESS._replace(
        summary="Install an engine.",
        body=InstallRequest,
        raises=(
            *BODY,
            errors.EngineNotFound,
            errors.InstallFailed,
            errors.Conflict,
            errors.ShuttingDown,
            errors.InsufficientStorage,
        ),
    ),
    ("POST", "/engines/uninstall-backend"): Doc(
        "Remove an engine.",
        body=InstallRequest,
        raises=(*BODY, errors.EngineNotFound, errors.InstallFailed, errors.Conflict, errors.ShuttingDown),
    ),
    ("GET", "/_configure"): Doc(
        "Configurations.",
        answer=list[ConfigurationView],
        query=("model", "effective"),
        raises=(errors.StoreError,),
    ),
    ("POST", "/_configure"): Doc(
        "Configure a model.",
        body=ConfigureRequest,
        answer=ConfiguredReply,
        statuses=(202,),
        raises=(*BODY, *CONFIGURE),
    ),
    ("PATCH", "/_configure"): Doc(
        "Change a configuration.",
        body=ConfigureRequest,
        answer=ConfiguredReply,
        statuses=(202,),
        raises=(*BODY, *CONFIGURE),
    ),
    ("DELETE", "/_configure"): Doc(
        "Forget configurations.",
        answer=ResetReply,
        query=("model", "mode", "all"),
        raises=CONFIGURE,
    ),
    ("POST", "/tokenize"): MODEL._replace(summary="Text to tokens.", body=TokenizeRequest),
    ("POST", "/detokenize"): MODEL._replace(summary="Tokens to text.", body=DetokenizeRequest),
    ("POST", "/score"): MODEL._replace(summary="How well texts fit.", body=ScoreRequest),
    ("POST", "/rerank"): MODEL._replace(summary="The order of documents."),
    ("POST", "/v1/images/generations"): MODEL._replace(summary="Make images."),
    ("POST", "/v1/images/edits"): MODEL._replace(summary="Change an image; also as a form."),
    ("POST", "/v1/audio/transcriptions"): MODEL._replace(summary="Speech to text.", body_media=FORM),
    ("POST", "/v1/audio/translations"): MODEL._replace(summary="Speech to English text.", body_media=FORM),
    ("POST", "/v1/audio/speech"): MODEL._replace(summary="Text to speech.", media=BYTES, answer=bytes),
    ("POST", "/v1/messages"): MODEL._replace(summary="Anthropic's messages.", body=MessagesRequest),
    ("POST", "/v1/messages/count_tokens"): MODEL._replace(summary="Anthropic's counting.", body=CountRequest),
    ("POST", "/responses"): MODEL._replace(
        summary="Make a response.",
        body=Asked,
        raises=(*ENGINE, errors.PreviousNotFound, *KEEP),
    ),
    ("POST", "/responses/compact"): MODEL._replace(
        summary="Make a conversation short.", body=CompactRequest, raises=(*ENGINE, errors.PreviousNotFound)
    ),
    ("POST", "/responses/input_tokens"): MODEL._replace(
        summary="Count the tokens of a prompt.", body=Asked, raises=(*ENGINE, errors.PreviousNotFound)
    ),
    ("GET", "/responses/{name}"): Doc(
        "A response that is kept.", query=("stream", "starting_after"), raises=_KEPT
    ),
    ("DELETE", "/responses/{name}"): Doc("Forget a response.", raises=_KEPT),
    ("POST", "/responses/{name}/cancel"): Doc("End a response in the background.", raises=_KEPT),
    ("GET", "/responses/{name}/input_items"): Doc(
        "What a response was asked.", query=("order", "after", "limit"), raises=_KEPT
    ),
    ("GET", "/api/version"): Doc("The version of Ollama's API that is here."),
    ("GET", "/api/tags"): Doc("Ollama's list of models."),
    ("GET", "/api/ps"): Doc("What is loaded, in Ollama's form."),
    ("POST", "/api/show"): Doc("Everything about a model.", body=dict[str, Any], raises=(*BODY, *FIND)),
    ("POST", "/api/chat"): MODEL._replace(summary="Ollama's chat.", body=ChatRequest),
    ("POST", "/api/generate"): MODEL._replace(summary="Ollama's completion.", body=GenerateRequest),
    ("POST", "/api/embed"): MODEL._replace(summary="Ollama's embeddings.", body=EmbedRequest),
    ("POST", "/api/embeddings"): MODEL._replace(summary="Ollama's older embeddings.", body=EmbedRequest),
    ("POST", "/api/pull"): Doc("Pull a model.", body=dict[str, Any], media=NDJSON, raises=(*BODY, *REGISTRY)),
    ("POST", "/api/push"): Doc("Push a model.", body=dict[str, Any], media=NDJSON, raises=(*BODY, *REGISTRY)),
    ("POST", "/api/create"): Doc(
        "Make a model.", body=CreateRequest, media=NDJSON, raises=(*BODY, *REGISTRY)
    ),
    ("POST", "/api/copy"): Doc(
        "Give a model another name.", body=dict[str, Any], raises=(*BODY, *FIND, errors.StoreError)
    ),
    ("DELETE", "/api/delete"): Doc(
        "Delete a name of a model.",
        body=dict[str, Any],
        raises=(*BODY, *FIND, errors.Conflict, errors.StoreError),
    ),
    ("GET", "/api/blobs/{name}"): Doc("Whether a file is here.", raises=(errors.ModelNotFound,)),
    ("POST", "/api/blobs/{name}"): Doc(
        "Take a file; 200 when it is here already.",
        body=bytes,
        body_media=BYTES,
        statuses=(201, 200),
        raises=KEEP,
    ),
}
