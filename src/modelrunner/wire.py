"""The shapes of our own HTTP API, as both sides see them.

They are typed dictionaries: the command line pays nothing to import them, and the daemon validates with them.
Field names are the reference's, because stock clients read them.
"""

from typing import Any, Literal, NotRequired, TypedDict

# A client that accepts this gets errors of the native API as `ErrorBody`; others get a line of text.
ERROR_MEDIA_TYPE = "application/vnd.modelrunner.error+json"
NDJSON = "application/x-ndjson"
PRELOAD_HEADER = "X-Preload-Only"


class ErrorDetail(TypedDict):
    """One error, in OpenAI's form and with our hint."""

    message: str
    type: str
    code: str
    param: None
    hint: NotRequired[str]


class ErrorBody(TypedDict):
    """The body of every JSON error."""

    error: ErrorDetail


class ConfigView(TypedDict, total=False):
    """What a model says of itself; keys are left out when unknown."""

    format: str
    quantization: str
    parameters: str
    architecture: str
    size: str
    gguf: dict[str, str]
    safetensors: dict[str, str]
    diffusers: dict[str, str]
    context_size: int


class ModelView(TypedDict):
    """One model of `GET /models`. `created` is in Unix seconds, 0 when unknown."""

    id: str
    tags: NotRequired[list[str]]
    created: int
    config: ConfigView | None
    details: NotRequired["Details"]


class Details(TypedDict):
    """What the headers of a model that is elsewhere say. Sizes are in bytes, contexts in tokens.

    `fits_context` is the largest usual context that this machine has memory for; absent when there is none,
    or when nothing says what a context takes.
    """

    size: int
    layers: int
    tensors: int
    chat_template: NotRequired[str]
    fits: bool
    fits_context: NotRequired[int]
    memory_needed: int
    memory_available: int


PullRequest = TypedDict("PullRequest", {"from": str, "bearer-token": NotRequired[str]})
PushRequest = TypedDict("PushRequest", {"bearer-token": NotRequired[str]})
# Several models in one archive. `except` are digests of blobs that stay out, as the other side has them; with
# `oci` the archive is an OCI image layout and has nothing else in it.
ExportRequest = TypedDict(
    "ExportRequest", {"models": list[str], "except": NotRequired[list[str]], "oci": NotRequired[bool]}
)


class LayerProgress(TypedDict):
    """A layer in a progress line; `size` and `current` are in bytes."""

    id: NotRequired[str]
    size: int
    current: int


class ProgressLine(TypedDict):
    """One line of a pull, push or load. `total` is in bytes."""

    type: Literal["progress", "success", "warning", "error"]
    message: str
    total: int
    layer: LayerProgress
    mode: Literal["pull", "push"]
    code: NotRequired[str]
    hint: NotRequired[str]


# Models of other programs; `from` is a program's name or a path, and all programs without it.
ImportRequest = TypedDict(
    "ImportRequest",
    {
        "from": NotRequired[str],
        "names": NotRequired[list[str]],
        "link": NotRequired[bool],
        "dry_run": NotRequired[bool],
    },
)


class TakeRequest(TypedDict):
    """A file to become a blob: where it is, and which file the caller has there; `link` shares it.

    `size` is in bytes, `modified` in nanoseconds since 1970.
    """

    path: str
    device: int
    inode: int
    size: int
    modified: int
    link: NotRequired[bool]


class VerifyRequest(TypedDict):
    """Which models to check; all without `models`. `repair` pulls again what is damaged."""

    models: NotRequired[list[str]]
    repair: NotRequired[bool]


class PruneRequest(TypedDict):
    """What to delete: `all` that nothing names, however new; `damaged` files too; nothing with `dry_run`."""

    all: NotRequired[bool]
    damaged: NotRequired[bool]
    dry_run: NotRequired[bool]


class PrunedFile(TypedDict):
    """A file that belonged to no model; `size` is in bytes."""

    path: str
    kind: str
    size: int


class PruneReply(TypedDict):
    """What was deleted, or would be; `freed` is in bytes."""

    files: list[PrunedFile]
    freed: int


class RepackageRequest(TypedDict):
    """A variant of a stored model; `context_size` is in tokens."""

    target: str
    context_size: NotRequired[int]


class TagReply(TypedDict):
    """The answer of `POST /models/{name}/tag`."""

    message: str
    target: str


class Removal(TypedDict, total=False):
    """One step of a removal."""

    Untagged: str
    Deleted: str


class RunningModel(TypedDict):
    """One row of `GET /engines/ps`.

    `context_size` is in tokens, `memory` what was set aside for it, in bytes. `requests` are in flight, and
    `waiting` ones wait for it.
    """

    backend_name: str
    model_name: str
    mode: str
    last_used: str
    in_use: NotRequired[bool]
    loading: NotRequired[bool]
    keep_alive: NotRequired[str]
    pinned: NotRequired[bool]
    context_size: NotRequired[int]
    memory: NotRequired[int]
    requests: NotRequired[int]
    waiting: NotRequired[int]


class Whose(TypedDict):
    """Whom something is about: a model, by name and by id, in an engine, for a mode."""

    model: str
    model_id: str
    backend: str
    mode: str


class EventView(Whose):
    """One row of `GET /engines/events`, and the data of one server-sent event.

    `kind` and `reason` are for programs, `text` is both in words; `at` is a moment in UTC. `others` are the
    models that it has to do with, by name: for whom one makes room, say.
    """

    id: int
    at: str
    kind: str
    reason: str
    text: str
    detail: str
    others: list[str]


class WaitingRequest(Whose):
    """One row of `GET /engines/queue`: its place in line, from 1, for how long (in seconds), and why."""

    id: str
    position: int
    waited: float
    reason: str
    text: str
    others: list[str]


class LoadedModel(TypedDict):
    """A model in memory, as an explanation counts it.

    `memory` is in bytes by device, times are in seconds; `idle` is null while it is in use or loads.
    `worth` is what losing it would cost, to compare with others: what is worth least makes room first.
    """

    model: str
    mode: str
    state: str
    memory: dict[str, int]
    requests: int
    idle: float | None
    keep_alive: str
    pinned: bool
    load_time: float
    worth: float


class WaitView(TypedDict):
    """Why a request waits, or would: for which others, and until when at most (in seconds from now)."""

    reason: str
    text: str
    others: list[str]
    until: float | None


class RefusalView(TypedDict):
    """Why a request would be refused, and what to do about it."""

    reason: str
    message: str
    hint: str | None


class FailuresReply(TypedDict):
    """How often a model failed in a row, its engine's last words, and in how many seconds it is tried again.

    When `refusing`, requests are turned away until then.
    """

    count: int
    words: str
    pause: float
    refusing: bool


class Facts(Whose):
    """What is known of a model, and what would happen if somebody asked for it now.

    `state` is `unloaded`, `starting`, `ready` or `stopping`. Amounts are in bytes by device, of which `place`
    counts models: what it needs (`parts` by what it is for), what there is in all, and what is seen to be
    free. `loaded` is what is in memory, `stops` what would have to go, in this order.
    """

    state: str
    need: dict[str, int]
    parts: dict[str, int]
    capacity: dict[str, int]
    free: dict[str, int]
    loaded: list[LoadedModel]
    starts: bool
    stops: list[str]
    wait: WaitView | None
    refusal: RefusalView | None
    failures: FailuresReply | None
    waiting: list[WaitingRequest]
    events: list[EventView]


class Explanation(Facts):
    """`GET /engines/explain`: the facts, and what they mean in `sentences`."""

    sentences: list[str]


class HealthReply(TypedDict):
    """`GET /health`; when requests wait and nothing goes on, for how long (in seconds), for what, and why."""

    status: Literal["ok", "stalled"]
    seconds: NotRequired[float]
    waiting: NotRequired[int]
    model: NotRequired[str]
    reason: NotRequired[str]
    text: NotRequired[str]


class DiskUsage(TypedDict):
    """`GET /engines/df`, in bytes."""

    models_disk_usage: int
    default_backend_disk_usage: int


class UnloadRequest(TypedDict):
    """What to unload: everything, or some models, of one engine or of any."""

    all: NotRequired[bool]
    backend: NotRequired[str]
    models: NotRequired[list[str] | None]


class UnloadReply(TypedDict):
    """How many instances went, and how many stay because somebody uses them or waits for them."""

    unloaded_runners: int
    in_use: NotRequired[int]


class InstallRequest(TypedDict, total=False):
    """`POST /engines/install-backend` and `uninstall-backend`; without `version` it is what fits best."""

    backend: str
    version: str


class Speculative(TypedDict, total=False):
    """Speculative decoding with a draft model."""

    draft_model: str
    num_tokens: int
    min_acceptance_rate: float


LlamaCppOptions = TypedDict("LlamaCppOptions", {"reasoning-budget": NotRequired[int]})
VllmOptions = TypedDict(
    "VllmOptions",
    {"hf-overrides": NotRequired[dict[str, Any]], "gpu-memory-utilization": NotRequired[float]},
)
ConfigureOptions = TypedDict(
    "ConfigureOptions",
    {
        "context-size": NotRequired[int | None],
        "runtime-flags": NotRequired[list[str] | None],
        "raw-runtime-flags": NotRequired[str],
        "speculative": NotRequired[Speculative | None],
        "keep_alive": NotRequired[str | None],
        "vllm": NotRequired[VllmOptions | None],
        "llamacpp": NotRequired[LlamaCppOptions | None],
        # Ours alone: always in memory; and whether a load that seems too large for the memory is refused.
        "pinned": NotRequired[bool | None],
        "memory-check": NotRequired[bool | None],
    },
)


class ConfigureRequest(ConfigureOptions):
    """`POST /engines/_configure`: how a model is to be run from now on; `PATCH` changes what it names."""

    model: str
    mode: NotRequired[str | None]


class ResetReply(TypedDict):
    """`DELETE /engines/_configure`: how many configurations were forgotten."""

    forgotten: int


# A value in force, and whether it was configured, came with the model, or is the default.
InForce = TypedDict("InForce", {"value": object, "from": str})


class ConfigurationView(TypedDict):
    """One row of `GET /engines/_configure`; stock clients read the capitalised keys.

    `Effective` is there when it was asked for: what is in force, under the names of the options.
    """

    Backend: str
    Model: str
    ModelID: str
    Mode: str
    Config: ConfigureOptions
    Effective: NotRequired[dict[str, InForce]]


class ModelFacts(TypedDict, total=False):
    """What the OpenAI list says of a model beyond OpenAI's own fields."""

    context_window: int
    architecture: str
    parameters: str
    quantization: str
    size: str


class OpenAIModel(TypedDict):
    """One model of `GET /v1/models`."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    dmr: NotRequired[ModelFacts]


class OpenAIModelList(TypedDict):
    """`GET /v1/models`."""

    object: Literal["list"]
    data: list[OpenAIModel]


class Version(TypedDict):
    """`GET /version`; `pid` is the daemon's process number."""

    version: str
    pid: NotRequired[int]
