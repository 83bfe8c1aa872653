"""`stop-runner`: the runner's container is removed; `start-runner` makes it again as it was."""

from modelrunner.cli import runner
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take what else goes."""
    parser.words("", most=0)
    parser.switch("--models", help="Remove the container's models and configurations too")


def run(args: Namespace, session: Session) -> int:
    """Stop the engines, then the runner, and remove the container."""
    runner.stop(session, models=args.models)
    return 0
