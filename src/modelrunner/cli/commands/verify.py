"""`verify`: the files of models are read again and compared with their digests."""

import sys
from contextlib import closing

from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.progress import follow
from modelrunner.cli.session import Session
from modelrunner.wire.models import VerifyRequest


def configure(parser: Parser) -> None:
    """Take the models to check; all without any."""
    parser.words("[MODEL...]")
    parser.switch("--repair", help="Pull again what is damaged")


def run(args: Namespace, session: Session) -> int:
    """Check, then print how it went; it fails when something is damaged."""
    request = VerifyRequest(models=args.words, repair=args.repair)
    with closing(session.client().verify(request)) as lines:
        say(follow(lines, "verify", sys.stdout))
    return 0
