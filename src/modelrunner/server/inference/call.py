"""What a route hands to the relay: where a path leads, and what of a request is for which engine."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from modelrunner.dialects.base import JSON, Dialect, Question, Timing
from modelrunner.dialects.openai import OpenAI
from modelrunner.models.description.kinds import Mode
from modelrunner.runtime.channel.headers import Header
from modelrunner.runtime.instance import Instance
from modelrunner.server.inference.answer import Answer, Writer
from modelrunner.server.inference.note import Note

_OPENAI = OpenAI()


@dataclass(frozen=True, slots=True)
class Request:
    """What came in: the body, the headers by their names in lower case, and the engine of the path.

    `note` is for those who go on after they have answered.
    """

    body: bytes
    headers: Mapping[bytes, bytes]
    engine: str | None
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that needs no engine, or none any more."""

    body: bytes
    media_type: bytes = JSON
    notes: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer in pieces that come by themselves; a client that leaves stops nothing but the reading."""

    pieces: AsyncGenerator[bytes, None]
    media_type: bytes
    notes: tuple[Header, ...] = ()


Work = Callable[[Instance, Timing], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Call:
    """A question for the engine of a model, or work with its instance that gives the answer.

    `keep_alive` is how long the model is to stay afterwards, `notes` are headers for the answer. Who
    `attend`s sees how the answer ends, and may take it down on its way.
    """

    model: str
    mode: Mode
    question: Question | Work
    engine: str | None = None
    keep_alive: str | float | None = None
    notes: tuple[Header, ...] = ()
    attend: Callable[[Answer], AbstractContextManager[Writer]] = nullcontext


Understand = Callable[[Request], Awaitable[Call | Reply | Streamed | None]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a path leads: a mode, the engine's own path, and the engine if the path names one.

    `understand` makes a call of a request, or answers it; without it, or when it makes nothing of a request,
    the body goes to the engine as it is, and the answer to the client. `prepare` changes such a body where it
    has to be. It is JSON, or a `form`, unless `unpack` makes JSON of one, given its type. `dialect` is of
    errors.
    """

    mode: Mode
    path: str
    engine: str | None = None
    dialect: Dialect = _OPENAI
    understand: Understand | None = None
    prepare: Callable[[bytes], bytes] | None = None
    form: bool = False
    unpack: Callable[[bytes, bytes | None], bytes] | None = None
