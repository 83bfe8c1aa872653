"""`events`: what happened to the models in memory, and why, one line for each event."""

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime

from modelrunner.cli.names import display_name, short_id
from modelrunner.cli.output import clean, json_line, note, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.wire.insight import EventView

_USUAL_MODE = "completion"


def configure(parser: Parser) -> None:
    """Take nothing but flags."""
    parser.words("", most=0)
    parser.switch("-f", "--follow", help="Go on with events as they happen")
    parser.switch("--json", help="Print one JSON object for each event")
    parser.add_argument("--model", metavar="MODEL", help="Only events of this model")
    parser.add_argument("--since", metavar="TIME", help="Only events since then: `10m`, or a time stamp")


def run(args: Namespace, session: Session) -> int:
    """Print the events that the daemon remembers; with `--follow` also what comes."""
    query = {name: value for name in ("model", "since") if (value := getattr(args, name))}
    client = session.client()
    registry = session.settings.default_registry
    if not args.follow:
        _print(client.events(query), registry, as_json=args.json)
        return 0
    with closing(client.follow_events(query, note)) as events:
        _print(events, registry, as_json=args.json)
    return 0


def line(event: EventView, registry: str) -> str:
    """Lay an event out: when it was, in this machine's time, which model, and what happened."""
    at = datetime.fromisoformat(event["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    name = event["model"]
    shown = short_id(name) if name.startswith("sha256:") else display_name(name, registry)
    mode = "" if event["mode"] == _USUAL_MODE else f" ({event['mode']})"
    return clean(f"{at}  {shown}{mode}  {event['text']}")


def _print(events: Iterable[EventView], registry: str, *, as_json: bool) -> None:
    for event in events:
        say(json_line(event) if as_json else line(event, registry))
