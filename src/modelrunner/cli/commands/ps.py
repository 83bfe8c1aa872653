"""`ps`: what is in memory, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelrunner.cli.names import display_name, short_id
from modelrunner.cli.narrow import show_table
from modelrunner.cli.output import emit, standard_json
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest
from modelrunner.units import format_age, format_bytes, parse_duration

if TYPE_CHECKING:
    from modelrunner.wire.engines import RunningModel

HEADER = ("MODEL NAME", "BACKEND", "MODE", "UNTIL")
# What the reference's daemon does not tell.
_MORE = {"context_size": "CONTEXT", "memory": "MEMORY", "requests": "REQUESTS", "waiting": "WAITING"}
_DISPENSABLE = ("MODE", "BACKEND", "CONTEXT", "WAITING", "REQUESTS", "MEMORY")
_DEFAULT_KEEP_ALIVE = 300.0  # seconds


def configure(parser: Parser) -> None:
    """Take nothing."""
    parser.words("", most=0)
    parser.switch("--json", help="Format output in JSON")


def run(args: Namespace, session: Session) -> int:
    """Print a table."""
    models = session.quick_client().running()
    if args.json:
        emit(standard_json(models))
        return 0
    show_table(*listing(models, datetime.now(UTC), session.settings.default_registry), _DISPENSABLE)
    return 0


def listing(
    models: Sequence[RunningModel], now: datetime, registry: str
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Make the header, and a row for each model; a column that no daemon has anything for is left out."""
    columns = [key for key in _MORE if any(key in model for model in models)]
    rows = sorted(
        (
            _name(model["model_name"], registry),
            model["backend_name"],
            model["mode"],
            until(model, now),
            *(_cell(model, column) for column in columns),
        )
        for model in models
    )
    return (*HEADER, *(_MORE[key] for key in columns)), rows


def _cell(model: RunningModel, column: str) -> str:
    if column == "memory":
        return format_bytes(model["memory"]) if "memory" in model else ""
    return str(model.get(column, ""))


def until(model: RunningModel, now: datetime) -> str:
    """Say how long a model stays loaded if nobody asks for it."""
    if model.get("loading"):
        return "Loading..."
    if model.get("asleep"):
        return "Asleep"
    if model.get("pinned"):
        return "Pinned"
    keep_alive = _keep_alive(model.get("keep_alive", ""))
    if keep_alive < 0:
        return "Forever"
    last_used = _moment(model.get("last_used", ""))
    idle = 0.0 if model.get("in_use") or last_used is None else (now - last_used).total_seconds()
    left = keep_alive - max(0.0, idle)
    return f"{format_age(left)} from now" if left > 0 else "Expiring"


def _keep_alive(text: str) -> float:
    try:
        return parse_duration(text) if text else _DEFAULT_KEEP_ALIVE
    except InvalidRequest:
        return _DEFAULT_KEEP_ALIVE


def _moment(text: str) -> datetime | None:
    """Read a time stamp; the year 1, which is how "never" is written, is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None or moment.year <= 1:
        return None
    return moment


def _name(name: str, registry: str) -> str:
    return short_id(name) if name.startswith("sha256:") else display_name(name.lower(), registry)
