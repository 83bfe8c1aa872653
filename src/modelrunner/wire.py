"""The shapes of our own HTTP API, as both sides see them.

They are typed dictionaries, with which the daemon validates. Making them takes a while, so the
client and the commands that are to be quick import this for type checkers only.
Field names are the reference's, because stock clients read them.
"""

from typing import Any, Literal, NotRequired, TypedDict

from modelrunner import errors

ERROR_MEDIA_TYPE = errors.MEDIA_TYPE  # of `ErrorBody`
NDJSON = "application/x-ndjson"
PRELOAD_HEADER = "X-Preload-Only"


class ErrorDetail(TypedDict):
    """One error, in OpenAI's form and with our hint; `param` is the field of a request that is at fault."""

    message: str
    type: str
    code: str
    param: str | None
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
    ctranslate2: dict[str, str]
    onnx: dict[str, str]
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


class TransferRequest(TypedDict):
    """`POST /transfers`: what is to go on when whoever asks for it leaves."""

    kind: Literal["pull", "push"]
    model: str


class TransferView(TypedDict):
    """One pull or push of `GET /transfers`; `done` and `total` are in bytes, `total` 0 until it is known.

    `message` is the last thing it said: a remark, or why it failed, with a `hint` then.
    """

    id: str
    kind: Literal["pull", "push"]
    model: str
    state: Literal["running", "done", "failed", "cancelled"]
    done: int
    total: int
    message: str
    hint: NotRequired[str]
    began: str
    ended: NotRequired[str]


class FoundModel(TypedDict):
    """A model that is elsewhere: `name` is what pulls it, `size` in bytes; null is what is not known.

    `fits` guesses from the size whether this machine has the memory; `GET /models/{name}?remote=true` knows.
    """

    name: str
    source: Literal["dockerhub", "huggingface"]
    description: str
    downloads: int
    stars: int
    official: bool
    updated: str
    backend: str
    size: int | None
    fits: bool | None


class SearchReply(TypedDict):
    """`GET /search`: Docker Hub's first. `memory` is what models may have here, in bytes."""

    models: list[FoundModel]
    warnings: list[str]
    memory: int


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
    asleep: NotRequired[bool]
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

    `state` is `unloaded`, `starting`, `ready`, `dozing`, `asleep`, `waking` or `stopping`. Amounts are in
    bytes by device, of which `place` counts models: what it needs (`parts` by what it is for), what there is
    in all, and what is seen to be free. `loaded` is what is in memory, `stops` what would have to go, in this
    order; `sleeps` is whether the first of them is put to sleep instead.
    """

    state: str
    need: dict[str, int]
    parts: dict[str, int]
    capacity: dict[str, int]
    free: dict[str, int]
    loaded: list[LoadedModel]
    starts: bool
    stops: list[str]
    sleeps: bool
    wait: WaitView | None
    refusal: RefusalView | None
    failures: FailuresReply | None
    waiting: list[WaitingRequest]
    events: list[EventView]


class Explanation(Facts):
    """`GET /engines/explain`: the facts, and what they mean in `sentences`."""

    sentences: list[str]


class Verdict(TypedDict):
    """`POST /engines/explain`: what a model would need if it were configured so. Bytes by device.

    `parts` are by what they are for, `capacity` is what models may have, `free` what is seen to be free now.
    `fits` is null when its need cannot be found out; `hint` says what helps when it does not fit.
    """

    need: dict[str, int]
    parts: dict[str, int]
    capacity: dict[str, int]
    free: dict[str, int]
    fits: bool | None
    hint: str | None
    context_size: int | None


class SettingView(TypedDict):
    """One row of `GET /settings`: a value in force, as one would write it, and the variable that sets it."""

    name: str
    variable: str
    value: str
    default: str
    help: str


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
        # Ours alone: always in memory; whether a load that seems too large for the memory is refused; and
        # whether requests are recorded.
        "pinned": NotRequired[bool | None],
        "memory-check": NotRequired[bool | None],
        "record": NotRequired[bool | None],
    },
)


class ConfigureRequest(ConfigureOptions):
    """`POST /engines/_configure`: how a model is to be run from now on; `PATCH` changes what it names."""

    model: str
    mode: NotRequired[str | None]


class ConfiguredReply(TypedDict):
    """`POST` and `PATCH /engines/_configure` when it holds, but a request would be refused; else nothing."""

    refusal: RefusalView


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


# Requests that were recorded

RECORD_HEADER = "X-Record"  # `off`: this request is not recorded
REPLAY_HEADER = "X-Replay-Of"  # the number of the request that this one repeats


class RequestSummary(TypedDict):
    """One row of `GET /requests`. Times are in seconds; null is what nothing said.

    `request_id` is what the answer's `X-Request-Id` says. `prompt` and `answer` are beginnings. `found` is
    what a search matched, with each word between U+2068 and U+2069. `first_token` and `seconds` count from
    when the request came in.
    """

    id: int
    request_id: str
    at: str
    model: str
    model_id: str
    backend: str
    mode: str
    dialect: str
    method: str
    path: str
    caller: str
    user_agent: str
    address: str
    streamed: bool
    status: int
    outcome: Literal["ok", "failed", "cancelled"]
    error: str | None
    prompt: str
    answer: str
    found: NotRequired[str]
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    tokens_per_second: float | None
    prompt_per_second: float | None
    context_used: int | None
    context_size: int | None
    first_token: float | None
    seconds: float
    finish_reason: str | None
    tool_calls: int
    replay_of: int | None


class RequestsPage(TypedDict):
    """`GET /requests`, newest first; `before` is what to ask with for the next page, null on the last one."""

    requests: list[RequestSummary]
    before: int | None


class Timeline(TypedDict):
    """How long each phase took, one after the other, in seconds; null is a phase that did not come about.

    `queued` has none of `loading` in it. `prompt` ends with the first token, `tokens` with the last one.
    """

    queued: float
    loading: float
    prompt: float | None
    tokens: float | None
    end: float


class Media(TypedDict):
    """Something in a request that was not kept: `size` is in bytes, `digest` is of them."""

    type: str
    size: int
    digest: str


class RecordedMessage(TypedDict):
    """One message of a prompt, as far as it is text; `media` is what else it had."""

    role: str
    text: str
    media: list[Media]
    tool_calls: NotRequired[list["RecordedCall"]]


class RecordedCall(TypedDict):
    """A tool that a model wants called; `arguments` is as the model wrote it."""

    id: str
    name: str
    arguments: str


class RecordedRequest(RequestSummary):
    """`GET /requests/{id}`: all of it. `prompt` and `answer` are whole here.

    `request` and `response` are JSON text as they are kept: media are shortened, what a rule found is
    redacted (`redacted` counts), and a streamed response is put together to what it would have been
    unstreamed. When one was too large to be kept, `cut` says so.
    """

    timeline: Timeline
    parameters: dict[str, Any]
    messages: list[RecordedMessage]
    reasoning: str
    calls: list[RecordedCall]
    media: list[Media]
    request: str
    response: str | None
    redacted: int
    cut: bool


class ReplayRequest(TypedDict, total=False):
    """`POST /requests/{id}/replay`: what is to be different; a parameter that is null is left out."""

    model: str
    parameters: dict[str, Any]


class DifferentValue(TypedDict):
    """One value that is not the same; null is none."""

    name: str
    a: Any
    b: Any


class DiffLine(TypedDict):
    """One line of a comparison."""

    kind: Literal["same", "removed", "added"]
    text: str


class RequestsDiff(TypedDict):
    """`GET /requests/diff?a=&b=`. Texts are compared by line, with every line; empty when equal."""

    a: RequestSummary
    b: RequestSummary
    values: list[DifferentValue]
    parameters: list[DifferentValue]
    prompt: list[DiffLine]
    reasoning: list[DiffLine]
    answer: list[DiffLine]


class Percentiles(TypedDict):
    """Of a duration, in seconds; null when nothing was measured."""

    p50: float | None
    p90: float | None
    p99: float | None


class RequestStatistics(TypedDict):
    """One group of `GET /requests/statistics`; `group` is a model, say, or when a time span begins."""

    group: str
    requests: int
    failed: int
    cancelled: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    tokens_per_second: float | None
    first_token: Percentiles
    seconds: Percentiles


class RecorderView(TypedDict):
    """`GET /requests/recorder`: what is kept, and what was lost. Sizes are in bytes, times in seconds.

    `state` is `off`, `ok`, or `failing` while nothing can be written, of which `reason` says why.
    """

    state: Literal["off", "ok", "failing"]
    reason: str
    requests: int
    size: int
    limit: int
    lifetime: float
    oldest: str | None
    waiting: int
    dropped: int
    rules: list[str]


class ActivityView(TypedDict):
    """`GET /activity`: columns of equal length, one value for each step of `step` seconds that ends at `at`.

    Counts are of the step; `memory` (bytes) and `queue` (requests) are as they were at its end, null before
    the daemon's start. Times are in seconds.
    """

    step: float
    at: list[str]
    requests: list[int]
    failed: list[int]
    prompt_tokens: list[int]
    completion_tokens: list[int]
    tokens_per_second: list[float | None]
    first_token_p50: list[float | None]
    first_token_p90: list[float | None]
    seconds_p50: list[float | None]
    seconds_p90: list[float | None]
    seconds_p99: list[float | None]
    queue: list[int | None]
    memory: dict[str, list[int | None]]
    models: dict[str, list[int]]


class LogLine(TypedDict):
    """One line of the log, as server-sent data of `GET /logs`; `model` and `backend` are an engine's."""

    at: str
    source: Literal["service", "engine"]
    level: Literal["debug", "info", "warning", "error"]
    model: NotRequired[str]
    backend: NotRequired[str]
    logger: NotRequired[str]
    text: str
