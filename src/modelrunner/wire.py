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

    `context_size` is in tokens, `memory` what was set aside for it, in bytes.
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
    """How many instances went."""

    unloaded_runners: int


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
