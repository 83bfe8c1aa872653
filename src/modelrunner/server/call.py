"""What a route hands to the relay: where a path leads, and what of a request is for which engine."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from modelrunner.dialects.base import JSON, Dialect, Question
from modelrunner.dialects.openai import OpenAI
from modelrunner.models.kinds import Mode
from modelrunner.runtime.headers import Header
from modelrunner.runtime.instance import Instance

_OPENAI = OpenAI()


@dataclass(frozen=True, slots=True)
class Request:
    """What came in: the body, the headers by their names in lower case, and the engine of the path."""

    body: bytes
    headers: Mapping[bytes, bytes]
    engine: str | None


Work = Callable[[Instance], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Call:
    """A question for the engine of a model, or work with its instance, which gives the answer as JSON.

    `keep_alive` is how long the model is to stay afterwards, `notes` are headers for the answer.
    """

    model: str
    mode: Mode
    question: Question | Work
    engine: str | None = None
    keep_alive: str | float | None = None
    notes: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that needs no engine any more."""

    body: bytes
    status: int = 200
    media_type: bytes = JSON


Understand = Callable[[Request], Awaitable[Call | Reply]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a path leads: a mode, the engine's own path, and the engine if the path names one.

    `understand` makes a call of a request, or answers it; without it, the body goes to the engine as it is,
    and the answer to the client. `prepare` changes such a body where that is needed.
    `dialect` is that of errors.
    """

    mode: Mode
    path: str
    engine: str | None = None
    dialect: Dialect = _OPENAI
    understand: Understand | None = None
    prepare: Callable[[bytes], bytes] | None = None
