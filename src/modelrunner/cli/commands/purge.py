"""`purge`: remove every model, after asking."""

import sys

from modelrunner.cli.output import emit, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take nothing."""
    parser.words("", most=0)
    parser.switch("-f", "--force", help="Forcefully remove all models without asking")


def run(args: Namespace, session: Session) -> int:
    """Unload everything, then remove everything; anything but `y` leaves all as it is."""
    if not args.force and not _confirmed():
        say("Operation cancelled.")
        return 0
    client = session.client()
    client.unload({"all": True})
    client.purge()
    return 0


def _confirmed() -> bool:
    say("WARNING! This will remove the entire models directory.")
    emit("Are you sure you want to continue? [y/N] ")
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        say()  # the input ended where the answer should have been
    return answer.strip() in {"y", "Y"}
