"""`uninstall-runner`: the runner's container, or with `--backend` an engine, is removed."""

from modelrunner.cli import runner
from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take what else goes, or the engine."""
    parser.words("", most=0)
    parser.add_argument("--backend", metavar="string", help="The engine to remove, such as vllm")
    parser.switch("--images", help="Remove the runner's images too, all variants")
    parser.switch("--models", help="Remove the container's models and configurations too")
    parser.examples = "  uninstall-runner --images\n  uninstall-runner --backend vllm"


def run(args: Namespace, session: Session) -> int:
    """Unload what the engine has loaded, and remove it; or stop and remove the container."""
    if args.backend and (args.images or args.models):
        raise args.parser.wrong("--images and --models belong to the container, --backend to an engine")
    if args.backend:
        session.client().uninstall_backend(args.backend)
        say(f"Uninstalled {args.backend} backend")
    else:
        runner.uninstall(session, models=args.models, images=args.images)
    return 0
