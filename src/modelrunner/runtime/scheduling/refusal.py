"""What somebody is told whose model cannot be loaded: the figures, and the way out."""

import logging
import math
from collections.abc import Mapping
from copy import copy

from modelrunner.errors import (
    EngineFailed,
    EngineFailing,
    InsufficientMemory,
    PlacesTaken,
    RunnerError,
    ShuttingDown,
)
from modelrunner.runtime.scheduling.failures import Failures
from modelrunner.runtime.scheduling.ledger import PLACE
from modelrunner.runtime.scheduling.plan import Key, Refusal, Why
from modelrunner.units import format_bytes

_log = logging.getLogger(__name__)
_HINTS: Mapping[Why, str] = {
    Why.TOO_LARGE: "use a smaller context or a smaller quantization",
    Why.PINNED: "unpin a model: `dmr unpin MODEL`",
    Why.MEMORY_TAKEN: "end another program, or use a smaller context",
}
_UNCHECKED = "or load it all the same: `dmr configure --memory-check=false MODEL`"


def refused(refusal: Refusal, *, advice: str | None, failed: Failures | None, now: float) -> RunnerError:
    """Make the error for one whose request is refused; `advice` is what to do about too little memory."""
    if refusal.why is Why.FAILING and failed is not None:
        return _failing(failed, now)
    short = {
        name: (amount, refusal.room.get(name, 0))
        for name, amount in refusal.need.items()
        if name in refusal.room and amount > refusal.room[name]
    }
    hint = advice if refusal.why is Why.TOO_LARGE and advice else _HINTS[refusal.why]
    detail: dict[str, object] = {
        "reason": refusal.why.value,
        "need": dict(refusal.need),
        "room": dict(refusal.room),
    }
    if PLACE in short:
        return PlacesTaken("pinned models have all places for models", hint=hint, detail=detail)
    figures = " and ".join(
        f"{format_bytes(need)} of `{name}`, and {format_bytes(max(room, 0))} can be had"
        for name, (need, room) in short.items()
    )
    sentence = f"not enough memory: the model needs {figures}"
    if refusal.why is not Why.TOO_LARGE:
        sentence += f" ({refusal.why.text})"
    return InsufficientMemory(sentence, hint=f"{hint}, {_UNCHECKED}", detail=detail)


def _failing(failed: Failures, now: float) -> EngineFailing:
    seconds = max(1, math.ceil(failed.next_try - now))
    return EngineFailing(
        f"the model failed {failed.count} times in a row, last with: {failed.words}",
        hint=f"it is tried again in {seconds} s, or at once after `dmr unload` or `dmr configure`",
        retry_after=seconds,
    )


def shutting_down() -> ShuttingDown:
    """Make the error for one who comes too late."""
    return ShuttingDown("the daemon is shutting down")


def log_failure(key: Key, exc: Exception) -> None:
    """Say in the log why a model was not loaded; with the traceback if nobody foresaw it."""
    if isinstance(exc, RunnerError):
        _log.warning("model not loaded key=%s error=%s", key, exc)
    else:
        _log.error("model not loaded key=%s", key, exc_info=exc)


def copy_of(exc: Exception) -> RunnerError:
    """Make an exception for each who waited: one raised in several tasks would mix their tracebacks."""
    if isinstance(exc, RunnerError):
        each = copy(exc)
        each.__traceback__ = None
    else:
        each = EngineFailed("the model could not be loaded", hint="the daemon's log has the reason")
    each.__cause__ = exc
    return each
