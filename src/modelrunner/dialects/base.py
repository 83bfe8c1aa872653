"""What a dialect is: how one API asks, answers and fails, all of it told by data in and data out.

A dialect that is not OpenAI's makes two things of a request: OpenAI's body for the engine, and a translator
that turns the answer back. A `Question` has both; `server/inference/relay.py` asks it and knows no dialect.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from modelrunner.dialects.completion import Completion
from modelrunner.errors import ContextExceeded, RunnerError

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
EVENT_STREAM = b"text/event-stream"


class Dialect(Protocol):
    """One API's manner of failing. Both methods give bytes, ready to be sent.

    `name_header` is the header, besides `X-Request-Id`, in which its clients look for the request's name.
    """

    name_header: bytes | None

    def error(self, exc: RunnerError) -> bytes:
        """Write an error as the JSON body of a response of its own."""
        ...

    def late_error(self, exc: RunnerError) -> bytes:
        """Write an error into a stream that has already begun."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """How long (in seconds) a request waited in line, and how long of that its model was loaded.

    `since` is when the engine was asked, on the clock of `time.monotonic`.
    """

    queued: float
    loading: float
    since: float


class Translator(Protocol):
    """One answer on its way back: what the engine says in, what the client gets out.

    It is told `begin`, then either `whole`, or `chunk` as often as one comes and `end`. A client that wants a
    whole answer may be given one from a stream: then all comes from `end`. What it returns may be empty.
    `finished` ends the stream before the engine does, and the engine stops generating.
    """

    media_type: bytes
    finished: bool

    def begin(self, timing: Timing) -> None:
        """Note how the request has fared so far; the engine is being asked."""
        ...

    def whole(self, body: bytes) -> bytes:
        """Turn a whole answer."""
        ...

    def chunk(self, chunk: Completion) -> bytes:
        """Turn one chunk of a stream, which is what one event has."""
        ...

    def end(self) -> bytes:
        """Say what is left to say when the engine has ended, or `finished` was set."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A request in OpenAI's form, for an engine, and who turns the answer back.

    `path` and `body` are for the engine, which streams when `stream` says so, whatever the client is given.
    `shorter` makes another question of one that does not fit into the context, if there is less to ask.
    """

    path: str
    body: bytes
    stream: bool
    translator: Translator
    shorter: "Callable[[ContextExceeded], Question | None] | None" = None
