"""Traces of requests for the simulator: read from lines of JSON, or made up.

    {"model": "small", "memory": "2GiB", "load": 1.5, "slots": 4}      what can be asked for
    {"at": 0.25, "ask": "small", "for": 3.2, "caller": "a", "priority": "high"}

`load` and `for` are seconds that loading and answering take, `at` is when the request comes, in seconds from
the start; `slots`, `caller` and `priority` may be left out.
"""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modelrunner.errors import InvalidRequest
from modelrunner.units import parse_bytes

WEIGHTS = {"high": 8.0, "normal": 1.0, "low": 0.125}
_HINT = "see `dmr simulate --help` for what a trace looks like"


@dataclass(frozen=True, slots=True)
class TracedModel:
    """A model of a trace: what it needs in bytes, and how many seconds it takes to load."""

    name: str
    memory: int
    load: float
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """A request of a trace: when it comes, and how long its answer takes, in seconds."""

    at: float
    model: str
    seconds: float
    caller: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Trace:
    """What was, or might be, asked for; the requests in the order in which they come."""

    models: tuple[TracedModel, ...]
    requests: tuple[TracedRequest, ...]


def read_trace(lines: Iterable[str]) -> Trace:
    """Read a trace.

    Raises:
        InvalidRequest: a line is no JSON object, lacks a field, or asks for a model that is not described.
    """
    models: dict[str, TracedModel] = {}
    requests: list[TracedRequest] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if "ask" in entry:
                requests.append(_request(entry))
            else:
                model = _model(entry)
                models[model.name] = model
        except (InvalidRequest, ValueError, TypeError, KeyError, AttributeError) as exc:
            raise InvalidRequest(
                f"invalid trace: line {number}: {type(exc).__name__}: {exc}", hint=_HINT
            ) from exc
    for request in requests:
        if request.model not in models:
            raise InvalidRequest(f"invalid trace: no model `{request.model}` is described", hint=_HINT)
    return Trace(tuple(models.values()), tuple(sorted(requests, key=lambda request: request.at)))


def _model(entry: dict[str, object]) -> TracedModel:
    slots = entry.get("slots")
    return TracedModel(
        name=str(entry["model"]),
        memory=parse_bytes(str(entry["memory"])),
        load=_seconds(entry["load"]),
        slots=None if slots is None else max(1, int(str(slots))),
    )


def _request(entry: dict[str, object]) -> TracedRequest:
    return TracedRequest(
        at=_seconds(entry["at"]),
        model=str(entry["ask"]),
        seconds=_seconds(entry["for"]),
        caller=str(entry.get("caller", "")),
        weight=WEIGHTS[str(entry.get("priority", "normal"))],
    )


def _seconds(value: object) -> float:
    seconds = float(str(value))
    if not 0 <= seconds < 1e9:
        raise ValueError(f"no number of seconds: {value}")
    return seconds


_LARGEST = 20  # GiB; sizes run evenly, by their logarithm, from 1 to this
_GIB_A_SECOND = 1.5
_BETWEEN_BURSTS = 60.0  # seconds, on average, of all models together
_LONGEST_BURST = 12


def mixed(*, models: int, requests: int, seed: int) -> Trace:
    """Make up a trace: models of very different sizes, each asked for in bursts as long as any other's."""
    return _bursts(models, requests, seed, lambda _model, chance: chance.randint(1, _LONGEST_BURST))


def helped(*, models: int, requests: int, seed: int) -> Trace:
    """Make up a trace: people talk in bursts to the largest model, and the others do it small services.

    So it is with a chat model and those that embed, rank or name things for it.
    """

    def length(model: TracedModel, chance: random.Random) -> int:
        return chance.randint(1, _LONGEST_BURST) if model.memory == _LARGEST << 30 else 1

    return _bursts(models, requests, seed, length)


SYNTHETIC: dict[str, Callable[..., Trace]] = {"mixed": mixed, "helped": helped}


def _bursts(
    models: int, requests: int, seed: int, length: Callable[[TracedModel, random.Random], int]
) -> Trace:
    chance = random.Random(seed)  # noqa: S311 - a trace that can be made again
    known = []
    for number in range(1, models + 1):
        size = _LARGEST ** (1 - (models - number) / max(1, models - 1))
        known.append(
            TracedModel(f"model-{number}", int(size * (1 << 30)), 0.3 + size / _GIB_A_SECOND, slots=4)
        )
    made: list[TracedRequest] = []
    begin = 0.0
    while len(made) < requests:
        begin += chance.expovariate(1 / _BETWEEN_BURSTS)
        model, at = chance.choice(known), begin
        for _ in range(length(model, chance)):
            made.append(TracedRequest(at, model.name, chance.uniform(0.5, 4.0), caller=chance.choice("abc")))
            at += chance.expovariate(1 / 2.0)
    return Trace(tuple(known), tuple(sorted(made[:requests], key=lambda request: request.at)))
