"""`list`: the models that are here; the module's own name leaves the built-in alone."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from modelrunner.cli.names import display_name, matches, short_id, sort_key, spellings
from modelrunner.cli.narrow import show_table
from modelrunner.cli.output import emit, say, standard_json, table
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.units import format_age

if TYPE_CHECKING:
    from modelrunner.wire.models import ConfigView, ModelView

HEADER = (
    "MODEL NAME",
    "PARAMETERS",
    "QUANTIZATION",
    "ARCHITECTURE",
    "MODEL ID",
    "CREATED",
    "CONTEXT",
    "SIZE",
)
_DISPENSABLE = ("ARCHITECTURE", "QUANTIZATION", "CONTEXT", "MODEL ID", "CREATED", "PARAMETERS")
_FOREIGN = ("MODEL NAME", "CREATED")
_NO_NAME = "<none>"


def configure(parser: Parser) -> None:
    """Take an optional filter."""
    parser.words("[MODEL]", most=1)
    parser.examples = "  list\n  list --json qwen3"
    parser.switch("--json", help="List models in a JSON format")
    parser.switch("--openai", help="List models in an OpenAI format")
    parser.switch("-q", "--quiet", help="Only show model IDs")
    parser.add_argument(
        "--openaiurl", metavar="URL", help="List the models of another server with OpenAI's API"
    )


def run(args: Namespace, session: Session) -> int:
    """Print a table, ids, or JSON; nothing but JSON when JSON is asked for."""
    if args.quiet and args.openai:
        raise args.parser.wrong("--quiet flag cannot be used with --openai flag or OpenAI backend")
    if args.quiet and args.openaiurl:
        raise args.parser.wrong("--quiet flag cannot be used with --openaiurl flag")
    gc.disable()  # thousands of rows are no garbage, and looking for some takes longer than sorting them
    try:
        _print(args, session)
    finally:
        gc.enable()
    return 0


def _print(args: Namespace, session: Session) -> None:
    wanted: str | None = args.words[0] if args.words else None
    registry = session.settings.default_registry
    if args.openaiurl:
        _print_foreign(args, wanted, session)
        return
    if args.openai:
        listing = session.quick_client().openai_models()
        if wanted is not None:
            listing["data"] = [row for row in listing["data"] if matches(row["id"], wanted, registry)]
        emit(standard_json(listing))
        return
    models = _matching(session.quick_client().models(brief=not args.json), wanted, registry)
    if args.json:
        emit(standard_json([_with_spellings(model) for model in models]))
    elif args.quiet:
        for model in models:
            say(short_id(model["id"]))
    else:
        show_table(HEADER, rows(models, time.time(), registry), _DISPENSABLE)


def _print_foreign(args: Namespace, wanted: str | None, session: Session) -> None:
    """List another server's models, by its own names."""
    from modelrunner.cli.endpoint import parse
    from modelrunner.client.openai import OpenAIServer

    address = parse(args.openaiurl, session.settings, "--openaiurl")
    listed = OpenAIServer(address, user_agent=session.user_agent).listing()
    found = sorted(
        (model for model in listed if wanted is None or _is_of(model.id, wanted)), key=lambda m: m.id
    )
    if args.json:
        emit(standard_json([model._asdict() for model in found]))
        return
    now = time.time()
    emit(table(_FOREIGN, ((model.id, _age(model.created, now)) for model in found)))


def _is_of(name: str, wanted: str) -> bool:
    """Whether a name is the one asked for, or one with a tag of it."""
    return name == wanted or (":" not in wanted and name.startswith(f"{wanted}:"))


def rows(models: list[ModelView], now: float, registry: str = "") -> list[tuple[str, ...]]:
    """Lay out one row for each tag, sorted by name; `now` is in Unix seconds."""
    named = [
        (display_name(tag, registry) if tag else _NO_NAME, model)
        for model in models
        for tag in model.get("tags") or [""]
    ]
    return [_row(name, model, now) for name, model in sorted(named, key=lambda row: sort_key(row[0]))]


def _row(name: str, model: ModelView, now: float) -> tuple[str, ...]:
    config: ConfigView = model.get("config") or {}
    created = model.get("created", 0)
    return (
        name,
        config.get("parameters", ""),
        config.get("quantization", ""),
        config.get("architecture", ""),
        short_id(model["id"]),
        _age(created, now),
        _context(config),
        config.get("size", ""),
    )


def _age(created: int, now: float) -> str:
    return f"{format_age(now - created if created < now else 0.0)} ago" if created else ""


def _context(config: ConfigView) -> str:
    """The configured context size, else what the weights were trained for, in tokens."""
    if size := config.get("context_size"):
        return str(size)
    header = config.get("gguf") or {}
    architecture = config.get("architecture") or header.get("general.architecture", "")
    return header.get(f"{architecture}.context_length", header.get("llama.context_length", ""))


def _matching(models: list[ModelView], wanted: str | None, registry: str) -> list[ModelView]:
    """Keep the models with a matching tag, and of their tags the matching ones."""
    if wanted is None:
        return models
    return [
        {**model, "tags": tags}
        for model in models
        if (tags := [tag for tag in model.get("tags") or [] if matches(tag, wanted, registry)])
    ]


def _with_spellings(model: ModelView) -> ModelView:
    if not (tags := model.get("tags")):
        return model
    return {**model, "tags": list(dict.fromkeys(form for tag in tags for form in spellings(tag)))}
