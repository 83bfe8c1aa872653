"""`reinstall-runner`: an engine is removed and installed again."""

from modelrunner.cli.commands.install_runner import backend, install
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take the engine."""
    parser.words("", most=0)
    parser.add_argument("--backend", metavar="string", help="The engine, such as vllm")
    parser.examples = "  reinstall-runner --backend vllm"


def run(args: Namespace, session: Session) -> int:
    """Remove it, then install it."""
    name = backend(args)
    session.client().uninstall_backend(name)
    install(name, session)
    return 0
