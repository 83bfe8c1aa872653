"""`start-runner`: the runner's container is made from an image that is here."""

from modelrunner.cli import runner
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take the container's flags."""
    parser.words("", most=0)
    parser.add_argument("--backend", metavar="string", help="Which image: llama.cpp, vllm or diffusers")
    runner.container_flags(parser)
    runner.tls_flags(parser)
    parser.examples = "  start-runner"


def run(args: Namespace, session: Session) -> int:
    """Start it as it was, but for what is given; one that runs is left alone."""
    runner.install(args, session, pull=False)
    return 0
