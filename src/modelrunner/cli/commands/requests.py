"""`requests`: what models were asked and what they answered, to find, compare, repeat, export and forget."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelrunner.cli.output import emit, emit_foreign, is_terminal, json_line, note, say, standard_json
from modelrunner.cli.parse import Namespace, Parser, UsageError
from modelrunner.cli.recorded import brief, difference, listing, state, sums, whole
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest, RunnerError

if TYPE_CHECKING:
    from modelrunner.client.inspector import Inspector

Found = TypeVar("Found")
_FILTERS = (
    ("--search", "q", "text", 'Only those with these words: `two words`, `"a phrase"`, `begin*`'),
    ("--model", "model", "name", "Only those of this model"),
    ("--caller", "caller", "name", "Only those of this caller"),
    ("--api", "dialect", "name", "Only those of openai, ollama, anthropic or responses"),
    ("--outcome", "outcome", "string", "Only those that were ok, failed or cancelled"),
    ("--status", "status", "string", "Only those with this HTTP status, such as 500 or 4xx"),
    ("--since", "since", "time", "Only later ones: `10m`, or a time stamp"),
    ("--until", "until", "time", "Only earlier ones"),
    ("--slower", "slower", "duration", "Only those that took at least so long"),
)
_CONNECTED = "Connected to request stream. Press Ctrl+C to stop."
_CLOSED = "Stream closed by server."


def configure(parser: Parser) -> None:
    """Take what to do, with which requests, and how."""
    parser.words("[show ID | replay ID | diff ID ID | export [ID] | stats | status | rm ID...]")
    for flag, name, kind, about in _FILTERS:
        parser.add_argument(flag, dest=name, metavar=kind, help=about)
    parser.add_argument("-n", "--limit", metavar="int", help="How many to list (50), unless it follows")
    parser.switch("-f", "--follow", help="Follow requests stream")
    parser.switch("--include-existing", help="With --follow: begin with those that there are")
    parser.switch("--json", help="Print JSON; alone, as Docker Model Runner does")
    parser.add_argument(
        "--by", metavar="string", help="With stats: by model, caller, api, status, hour or day"
    )
    parser.add_argument("--format", metavar="string", help="With export: curl, har or jsonl")
    parser.add_argument("-o", "--output", metavar="path", help="With export: a file to write")
    parser.add_argument("--to", metavar="name", help="With replay: another model")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="With replay: a parameter, as JSON"
    )
    parser.add_argument(
        "--unset", metavar="NAME", action="append", default=[], help="With replay: a parameter to leave out"
    )
    parser.switch("--all", help="With rm: all that fit the other flags")
    parser.examples = (
        "  requests --search whales --since 1h\n"
        "  requests show 42\n"
        "  requests replay 42 --to ai/gemma3 --set temperature=0\n"
        "  requests diff 42 43\n"
        "  requests export 42 --format curl"
    )


def run(args: Namespace, session: Session) -> int:
    """List, or do what the first word says."""
    inspector = session.client().inspector()
    if not args.words:
        return _list(args, inspector, session)
    word, names = args.words[0], args.words[1:]
    if word not in _ACTIONS:
        raise UsageError(
            f'unknown command "{word}" for "{args.parser.prog}"', hint=f"one of: {', '.join(_ACTIONS)}"
        )
    if args.limit:
        raise UsageError(f"--limit is for the list, and not for `{word}`", hint="narrow it down with filters")
    action, least, most = _ACTIONS[word]
    if not least <= len(names) <= most:
        wanted = f"{least}" if least == most else f"{least} or more"
        raise args.parser.wrong(f"'{args.parser.prog} {word}' requires {wanted} argument(s).")
    return action(args, names, inspector)


def _list(args: Namespace, inspector: "Inspector", session: Session) -> int:
    """List; in the reference's form for those who read it with a program and ask for nothing else."""
    query = _query(args)
    is_plain = not query.keys() - {"model"} and (args.follow or not args.limit)
    as_reference = is_plain and (args.json or not is_terminal(sys.stdout))
    if args.include_existing and not args.follow:
        raise InvalidRequest("--include-existing can only be used with --follow")
    try:
        if args.follow:
            return _follow(args, inspector, query, as_reference=as_reference)
        if as_reference:
            _emit_reference(inspector.as_reference(args.model))
            return 0
    except RunnerError as exc:
        of = f" for {args.model}" if args.model else ""
        raise type(exc)(f"Failed to get requests{of}: {exc.message}", hint=exc.hint) from exc
    page = inspector.page({**query, **({"limit": args.limit} if args.limit else {})})
    _print(args, page["requests"], partial(listing, registry=session.settings.default_registry))
    if page["before"] is not None and not args.json:
        note(f"There are more: give a --limit above {len(page['requests'])}, or filters.")
    if not page["requests"] and inspector.recorder()["state"] == "off":
        note("Requests are not recorded: the daemon runs with DMR_REQUESTS=0.")
    return 0


def _emit_reference(document: bytes) -> None:
    """Print the reference's one long line; a person who asked for it gets it laid out."""
    if is_terminal(sys.stdout):
        with suppress(ValueError):
            emit(standard_json(json.loads(document)))
            return
    emit_foreign([document])


def _print(args: Namespace, found: Found, layout: Callable[[Found], str]) -> int:
    """Print what was found, as JSON when that is wanted."""
    emit(standard_json(found) if args.json else layout(found))
    return 0


def _follow(args: Namespace, inspector: "Inspector", query: dict[str, str], *, as_reference: bool) -> int:
    note(_CONNECTED)
    if as_reference:
        included = {"include_existing": "true"} if args.include_existing else {}
        with closing(inspector.follow_as_reference({**query, **included})) as events:
            for name, data in events:
                if name in {"existing_request", "new_request"}:
                    emit_foreign([data, b"\n"])
    else:
        after = None
        if args.include_existing:
            existing = inspector.page(query)["requests"]
            for summary in reversed(existing):
                say(json_line(summary) if args.json else brief(summary))
            after = existing[0]["id"] if existing else 0  # what comes until the stream begins is in it
        with closing(inspector.follow(query, note, after=after)) as summaries:
            for summary in summaries:
                say(json_line(summary) if args.json else brief(summary))
    note(_CLOSED)
    return 0


def _show(args: Namespace, names: Sequence[str], inspector: "Inspector") -> int:
    found = inspector.look(names[0])
    return _print(args, found, whole)


def _replay(args: Namespace, names: Sequence[str], inspector: "Inspector") -> int:
    parameters: dict[str, Any] = dict.fromkeys(args.unset)
    for text in args.set:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"not NAME=VALUE: `{text[:100]}`", hint="as in `--set temperature=0.2`")
        parameters[name] = _value(value)
    changes: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if args.to:
        changes["model"] = args.to
    found = inspector.replay(names[0], changes)  # type: ignore[arg-type]  # the keys are those of the shape
    _print(args, found, whole)
    if args.json:
        return 0
    if found["outcome"] != "ok":
        return 1
    note(f"\nSee what is different: {args.parser.prog} diff {names[0]} {found['id']}")
    return 0


def _diff(args: Namespace, names: Sequence[str], inspector: "Inspector") -> int:
    found = inspector.diff(names[0], names[1])
    return _print(args, found, difference)


def _export(args: Namespace, names: Sequence[str], inspector: "Inspector") -> int:
    query = _query(args) | ({"format": args.format} if args.format else {})
    with closing(inspector.export(names[0] if names else None, query)) as pieces:
        if args.output is None:
            emit_foreign(pieces)
            return 0
        try:
            with Path(args.output).expanduser().open("wb") as file:
                file.writelines(pieces)
        except OSError as exc:
            raise InvalidRequest(f"cannot write `{args.output}`: {exc.strerror}") from exc
    return 0


def _stats(args: Namespace, _names: Sequence[str], inspector: "Inspector") -> int:
    by = {"api": "dialect"}.get(args.by, args.by)
    found = inspector.statistics(_query(args) | ({"by": by} if by else {}))
    return _print(args, found, partial(sums, by=args.by or "model"))


def _status(args: Namespace, _names: Sequence[str], inspector: "Inspector") -> int:
    found = inspector.recorder()
    return _print(args, found, state)


def _forget(args: Namespace, names: Sequence[str], inspector: "Inspector") -> int:
    if args.all == bool(names):
        raise args.parser.wrong(f"'{args.parser.prog} rm' takes requests, or --all.")
    if args.all:
        _say_forgotten(inspector.forget(None, _query(args)))
        return 0
    gone = 0
    try:
        for name in names:
            gone += inspector.forget(name, {})
    except RunnerError:
        if gone:
            _say_forgotten(gone)
        raise
    _say_forgotten(gone)
    return 0


def _say_forgotten(gone: int) -> None:
    say(f"Forgot {gone} request{'' if gone == 1 else 's'}.")


def _query(args: Namespace) -> dict[str, str]:
    names = [name for _, name, _, _ in _FILTERS]
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _value(text: str) -> Any:
    """Read a value as JSON, or else as the text that it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


_Action = Callable[[Namespace, Sequence[str], "Inspector"], int]
_MOST = 10_000
_ACTIONS: dict[str, tuple[_Action, int, int]] = {
    "show": (_show, 1, 1),
    "replay": (_replay, 1, 1),
    "diff": (_diff, 2, 2),
    "export": (_export, 0, 1),
    "stats": (_stats, 0, 0),
    "status": (_status, 0, 0),
    "rm": (_forget, 0, _MOST),
}
