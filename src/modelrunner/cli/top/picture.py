"""What is known of the daemon, and the parts of it as rows and lines. Pure; knows no screen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from modelrunner.cli.commands.events import line
from modelrunner.cli.commands.ps import until
from modelrunner.cli.names import display_name, short_id
from modelrunner.cli.output import clean
from modelrunner.units import format_bytes

if TYPE_CHECKING:
    from modelrunner.wire.daemon import HealthReply
    from modelrunner.wire.engines import RunningModel
    from modelrunner.wire.insight import EventView, WaitingRequest

_DATE = len("2026-01-01 ")


@dataclass
class Picture:
    """All that is known, however old; `problem` is why it is not newer."""

    running: "Sequence[RunningModel]" = ()
    queue: "Sequence[WaitingRequest]" = ()
    events: "list[EventView]" = field(default_factory=list)
    health: "HealthReply | None" = None
    capacity: int = 0  # bytes; 0 when nobody said
    places: int = 0  # models
    version: str = ""
    problem: str = ""


class Row(NamedTuple):
    """A model in memory: its name as the daemon has it, and what is shown of it."""

    id: str
    pinned: bool
    model: str
    state: str
    memory: str
    requests: str
    waiting: str
    until: str
    context: str
    engine: str


def rows(picture: Picture, now: datetime, registry: str) -> list[Row]:
    """A row for each model in memory, by name."""
    found = [
        Row(
            id=model["model_name"],
            pinned=model.get("pinned", False),
            model=_name(model["model_name"], registry) + _mode(model["mode"]),
            state=_state(model),
            memory=size(model["memory"]) if "memory" in model else "",
            requests=str(model.get("requests", "")),
            waiting=str(model.get("waiting", "")),
            until=_until(model, now),
            context=f"{model['context_size']:,}" if "context_size" in model else "",
            engine=clean(model["backend_name"]),
        )
        for model in picture.running
    ]
    return sorted(found, key=lambda row: row.model)


def memory_of(picture: Picture) -> int:
    """How many bytes the models take."""
    return sum(model.get("memory", 0) for model in picture.running)


def queue_lines(picture: Picture, registry: str) -> list[str]:
    """A line for each request that waits."""
    return [
        clean(f"{row['position']}  {_name(row['model'], registry)}  {row['waited']:.0f} s  {row['text']}")
        for row in picture.queue
    ]


def event_lines(picture: Picture, registry: str) -> list[str]:
    """A line for each event, newest first, with its time of day."""
    return [line(event, registry)[_DATE:] for event in reversed(picture.events)]


def trouble(picture: Picture) -> str:
    """Say that nobody answers, or that requests wait while nothing goes on; empty when all is well."""
    health = picture.health
    if picture.problem:
        return clean(picture.problem)
    if health is None or health["status"] != "stalled":
        return ""
    return clean(f"stalled for {health.get('seconds', 0):.0f} s: {health.get('text', 'requests wait')}")


def size(count: int) -> str:
    """Print a number of bytes with as many digits as one wants to see change: `1.2 GB`, `312 MB`."""
    text = format_bytes(count)
    number = float(text.rstrip("BkMGTPEZY"))
    return f"{number:.{1 if number < 100 and count >= 1000 else 0}f} {text.lstrip('0123456789.')}"


def _state(model: "RunningModel") -> str:
    if model.get("loading"):
        return "loading"
    if model.get("asleep"):
        return "asleep"
    return "busy" if model.get("in_use") or model.get("requests") else "idle"


def _until(model: "RunningModel", now: datetime) -> str:
    if model.get("loading") or model.get("asleep"):
        return ""
    return until(model, now).removesuffix(" from now").lower()


def _name(name: str, registry: str) -> str:
    return short_id(name) if name.startswith("sha256:") else clean(display_name(name, registry))


def _mode(mode: str) -> str:
    return "" if mode == "completion" else f" ({clean(mode)})"
