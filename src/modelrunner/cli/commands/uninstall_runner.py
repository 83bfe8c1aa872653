"""`uninstall-runner`: an engine that the daemon installed is removed."""

from modelrunner.cli.commands.install_runner import backend
from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take the engine."""
    parser.words("", most=0)
    parser.add_argument("--backend", metavar="string", help="The engine, such as vllm")
    parser.examples = "  uninstall-runner --backend vllm"


def run(args: Namespace, session: Session) -> int:
    """Unload what the engine has loaded, and remove it."""
    name = backend(args)
    session.client().uninstall_backend(name)
    say(f"Uninstalled {name} backend")
    return 0
