"""`reinstall-runner`: the runner's container, or with `--backend` alone an engine, is made again."""

from modelrunner.cli import runner
from modelrunner.cli.commands.install_runner import flags, install, is_engine
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take the container's flags, or the engine."""
    flags(parser)
    parser.examples = "  reinstall-runner --gpu cuda\n  reinstall-runner --backend vllm"


def run(args: Namespace, session: Session) -> int:
    """Remove it, then install it; what is not said of a container stays as it was."""
    if is_engine(args):
        session.client().uninstall_backend(args.backend)
        install(args.backend, session)
    else:
        runner.reinstall(args, session)
    return 0
