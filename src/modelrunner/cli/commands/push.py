"""`push`: send a model to its registry."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from modelrunner.cli.commands.pull import token_for
from modelrunner.cli.container_credentials import hand_over
from modelrunner.cli.output import is_terminal, note, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.progress import announce_retry, follow
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take one model."""
    parser.words("MODEL", least=1, most=1)
    parser.examples = "  push registry.example.com/team/model:v1"


def run(args: Namespace, session: Session) -> int:
    """Push, then print how it went."""
    name = args.words[0]
    hand_over(session)
    lines = session.client().push(name, token_for(name, session), on_retry=announce_retry("push"))
    with told_when_interrupted(), closing(lines):
        say(follow(lines, "push", sys.stdout))
    return 0


@contextmanager
def told_when_interrupted() -> Iterator[None]:
    """Say, when Ctrl-C ends a push, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        mark = "\n" if is_terminal(sys.stderr) else ""  # the terminal has written ^C
        note(f"{mark}push interrupted; run it again, and what has arrived is not sent again")
        raise
