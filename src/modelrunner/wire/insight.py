"""What is in memory, what waits, what happened, and why."""

from typing import TypedDict


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
