"""`top`: what goes on, on the whole screen; without a terminal, once, as text."""

import sys
import time
from datetime import UTC, datetime

from modelrunner.cli.output import is_terminal, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session

_SIZE = (120, 40)  # columns and rows of a page that is printed


def configure(parser: Parser) -> None:
    """Take nothing but a flag."""
    parser.words("", most=0)
    parser.switch("--once", help="Print what goes on now, and leave")


def run(args: Namespace, session: Session) -> int:
    """Show everything until one leaves."""
    watched = is_terminal(sys.stdin) and is_terminal(sys.stdout) and session.environ.get("TERM") != "dumb"
    if args.once or not watched:
        _print(session)
        return 0
    from modelrunner.cli.top.app import Top

    return Top(session).run() or 0


def _print(session: Session) -> None:
    from modelrunner.cli.top.feed import look_once
    from modelrunner.cli.top.page import Given, lay_out
    from modelrunner.cli.top.picture import Picture, rows

    client = session.client()
    running, queue, health, meters, version = look_once(client)
    picture = Picture(running, queue, client.events({}), health, version=version)
    if meters is not None:
        picture.capacity, picture.places = meters.capacity, meters.places
    registry = session.settings.default_registry
    found = rows(picture, datetime.now(UTC), registry)
    given = Given(found, -1, session.endpoint.address.url, registry, " ", time.monotonic())
    lines = ["".join(span.text for span in line).rstrip() for line in lay_out(picture, None, given, *_SIZE)]
    say("\n".join(lines).rstrip())
