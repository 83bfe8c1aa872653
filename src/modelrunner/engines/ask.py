"""Questions that the runtime asks an engine on behalf of its plug-in; values, without I/O."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to the engine's own interface; `target` is path and query, `body` JSON or nothing."""

    method: str
    target: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What it answered."""

    status: int
    body: bytes


AskEngine = Callable[[Ask], Awaitable[Answer]]
