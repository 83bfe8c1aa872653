"""`restart-runner`: the runner's container is made again, as it was but for what is given."""

from modelrunner.cli import runner
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take the container's flags."""
    parser.words("", most=0)
    runner.container_flags(parser)
    parser.examples = "  restart-runner\n  restart-runner --gpu none"


def run(args: Namespace, session: Session) -> int:
    """Remove it and make it again, from an image that is here."""
    runner.restart(args, session)
    return 0
