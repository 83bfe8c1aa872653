"""Requests that were recorded, and what is counted of them."""

from typing import Any, Literal, NotRequired, TypedDict


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
