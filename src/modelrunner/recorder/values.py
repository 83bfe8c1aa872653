"""What the data path hands over of a request, and what is made of it. Values only."""

from collections.abc import Sequence
from typing import Any

import msgspec

JSON = dict[str, Any]


class Instance(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Who was asked: a model by id and by name, in an engine, for a mode.

    `context_size` is in tokens, `config` its configuration as JSON.
    """

    model_id: str
    name: str
    backend: str
    mode: str
    context_size: int | None
    config: str


class Circumstances(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Who was asked, if anybody could be, and whether what that one is asked may be recorded."""

    instance: Instance | None = None
    record: bool = True


class Seen(msgspec.Struct, array_like=True, gc=False):
    """One request as the data path saw it, which only puts down what it has at hand.

    `at` is in seconds since the epoch, `since` the same moment on the clock that only counts, and so are
    `first` and `last`, when those pieces of the answer came, and `ended`. `timing` has for how long it was
    queued, for how long the model was loaded within that, and the moment when the engine was asked. `body`
    is None as long as there is nothing to tell. `size` is that of all pieces in bytes, `engine` has the last
    words of the engine where the answer was turned into another dialect. `left` is whether the client was
    gone before the end, `who` the place of its circumstances among those of `Notes`.

    Thousands may wait, so the garbage collector leaves them alone: they hold nothing that could hold them.
    """

    at: float
    since: float
    method: str
    path: str
    address: str
    headers: Sequence[tuple[bytes, bytes]]
    name: bytes = b""
    body: bytes | None = None
    model: str = ""
    status: int = 0
    media_type: bytes = b""
    pieces: list[bytes] = []
    size: int = 0
    cut: bool = False
    first: float = 0.0
    last: float = 0.0
    timing: tuple[float, float, float] | None = None
    ended: float = 0.0
    error: str | None = None
    left: bool = False
    engine: list[bytes] = []
    who: int = 0


class Noted(msgspec.Struct, gc=False):
    """One request with its times in relation; nothing of it has been read, and headers are as they came.

    `at` is in seconds since the epoch, and what else is in seconds counts from then: when the engine was
    `asked`, when the `first` and the `last` piece of the answer came, and when all was over. `queued` has the
    `loading` in it. `keep` is whether it may be stored; what may not is read for its counts only.
    `engine` has the engine's last words where the answer was turned into another dialect. `trace` is the
    client's `traceparent`.
    """

    at: float
    request_id: bytes
    method: str
    path: str
    model: str
    instance: Instance | None
    address: str
    user_agent: bytes | None
    key: bytes | None
    replay_of: bytes | None
    trace: bytes | None
    request_type: bytes | None
    answer_type: bytes
    status: int
    outcome: str
    error: str | None
    asked: float | None
    first: float | None
    last: float | None
    seconds: float
    queued: float
    loading: float
    cut: bool
    keep: bool
    body: bytes
    answer: bytes
    engine: bytes = b""


class Counts(msgspec.Struct):
    """What an answer says about itself; None is what it does not. `prompt_seconds` is the engine's own."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    tokens_per_second: float | None = None
    prompt_per_second: float | None = None
    prompt_seconds: float | None = None
    finish_reason: str | None = None


class Call(msgspec.Struct):
    """A tool that is to be called; `arguments` as the model wrote them."""

    id: str
    name: str
    arguments: str


class Said(msgspec.Struct):
    """A message: its text, and the tools that it calls."""

    role: str
    text: str
    calls: list[Call] = []


class Asked(msgspec.Struct):
    """What a request says, whatever its dialect."""

    messages: list[Said]
    parameters: JSON


class Answered(msgspec.Struct):
    """What an answer says, whatever its dialect."""

    text: str = ""
    reasoning: str = ""
    calls: list[Call] = []
    counts: Counts = msgspec.field(default_factory=Counts)
    error: str | None = None


class Entry(msgspec.Struct):
    """A request as it is stored. `summary` has the columns of a row, `detail` what else is small."""

    summary: JSON
    prompt: str
    answer: str
    reasoning: str
    request: str
    response: str | None
    detail: JSON
    messages: list[Said] = []  # the rest is told, and not stored
    calls: list[Call] = []
    parameters: JSON = {}
    trace: str = ""


class Order(msgspec.Struct, array_like=True, tag="order"):
    """How the recorder is to work. `path` None stores nothing; sizes in bytes, times in seconds.

    With `exports`, each is told by OpenTelemetry too, as its environment says.
    """

    path: str | None
    limit: int
    lifetime: float
    rules: list[tuple[str, str]]
    exports: bool = False


class Filter(msgspec.Struct, frozen=True):
    """Which requests are meant; what is None does not matter. Moments are in seconds since the epoch."""

    words: str | None = None
    models: tuple[str, ...] | None = None  # ids or names as they were asked for
    caller: str | None = None
    dialect: str | None = None
    mode: str | None = None
    path: str | None = None
    outcome: str | None = None
    status: tuple[int, int] | None = None  # from and to, both meant
    since: float | None = None
    until: float | None = None
    slower: float | None = None
    before: int | None = None
    after: int | None = None
    ids: tuple[int, ...] | None = None
    reached: bool = False  # only those that an engine was asked


class Notes(msgspec.Struct, array_like=True, tag="notes"):
    """Requests to be recorded, and the number of the batch. They are stored when it is said."""

    batch: int
    circumstances: list[Circumstances]
    seen: Sequence[Seen]


class Store(msgspec.Struct, array_like=True, tag="store"):
    """There is time to store what came, or somebody who waits for it; what is too old or too much goes."""


class Forget(msgspec.Struct, array_like=True, tag="forget"):
    """What to forget; `number` comes back with the answer."""

    number: int
    meant: Filter


class Damaged(msgspec.Struct, array_like=True, tag="damaged"):
    """Somebody who read the file found it damaged; `number` comes back, `file` says which file."""

    number: int
    file: int


class Figures(msgspec.Struct, array_like=True, tag="figures"):
    """Somebody wants to know the metrics of requests; `number` comes back."""

    number: int


class Report(msgspec.Struct):
    """What became of it: all batches up to `batch` are done, those with the numbers `stored` are in the file.

    Of them so many as `lost` are not.

    `answer` is for what had a number: that, and how many requests it took, negative when it failed. `text` is
    an answer too. `file` counts up when another file was begun.
    """

    batch: int = 0
    stored: list[int] = []
    lost: int = 0
    state: str = "ok"
    reason: str = ""
    file: int = 0
    answer: tuple[int, int] | None = None
    text: str = ""
    log: list[tuple[str, str]] = []


Told = Notes | Store | Forget | Damaged | Figures | Order
