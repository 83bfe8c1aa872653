"""`status`: whether the daemon runs, where, and what its engines say."""

from typing import NamedTuple

from modelrunner.cli.narrow import show_table
from modelrunner.cli.output import json_line, note, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.errors import DaemonUnreachable

HEADER = ("BACKEND", "STATUS", "DETAILS")
_PATIENCE = 30.0  # seconds
_ORDER = ("Running", "Error", "Not Installed", "Installing")


class Backend(NamedTuple):
    """One engine's row."""

    name: str
    status: str
    details: str


def configure(parser: Parser) -> None:
    """Take nothing."""
    parser.words("", most=0)
    parser.switch("--json", help="Format output in JSON")


def run(args: Namespace, session: Session) -> int:
    """Print sentences and a table, or one line of JSON."""
    return _print_json(session) if args.json else _print_text(session)


def backends(statuses: dict[str, str]) -> list[Backend]:
    """Split the daemon's texts into state and details; what runs comes first."""
    rows = [Backend(name, *_split(text)) for name, text in statuses.items()]
    return sorted(rows, key=lambda row: (_ORDER.index(row.status), row.name))


def _print_text(session: Session) -> int:
    client = session.client(start=False, patience=_PATIENCE)
    try:
        client.models()
        statuses = client.status()
    except DaemonUnreachable as exc:
        say("Docker Model Runner is not running")
        note(f"\n{exc.message}\nhint: {exc.hint}" if exc.hint else f"\n{exc.message}")
        return 1
    say("Docker Model Runner is running\n")
    rows = backends(statuses)
    show_table(HEADER, rows, ())
    if any(row.status == "Not Installed" for row in rows):
        say("\n`dmr install-runner --backend NAME` installs an engine.")
    process = client.process()
    where = session.endpoint.host_url.removesuffix("/v1/")
    say(f"\nListening on {where}{f' (process {process})' if process else ''}")
    return 0


def _print_json(session: Session) -> int:
    """Print what Compose reads; a runner that says it is unavailable is an answer, not a failure."""
    client = session.quick_client()
    statuses: dict[str, str] = {}
    running = True
    try:
        client.models()
        statuses = client.status()
    except DaemonUnreachable as exc:
        if exc.detail.get("status") != 503:
            raise
        running = False
    document = {
        "running": running,
        "backends": statuses,
        "kind": session.endpoint.kind,
        "endpoint": session.endpoint.container_url,
        "endpointHost": session.endpoint.host_url,
    }
    say(json_line(document, (",", ":")))
    return 0


def _split(text: str) -> tuple[str, str]:
    """Part `Running: llama.cpp b9879`; a text of unknown form is an error, none is not installed."""
    if not text:
        return "Not Installed", ""
    state, _, details = text.partition(": ")
    return (state, details) if state in _ORDER else ("Error", text)
