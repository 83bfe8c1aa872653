"""`install-runner`: the runner in a container, or with `--backend` alone an engine for the runner here."""

import sys
import time
from collections.abc import Iterable
from contextlib import closing

from modelrunner.cli import runner
from modelrunner.cli.output import clean, is_terminal, note, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.wire.engines import InstallRequest
from modelrunner.wire.transfers import ProgressLine

_SPEAK = 5.0  # seconds between two lines of progress where they are not drawn in place


def configure(parser: Parser) -> None:
    """Take the container's flags, or the engine."""
    flags(parser)
    parser.examples = (
        "  install-runner                      the runner, in a container\n"
        "  install-runner --gpu cuda           the same, with the GPU\n"
        "  install-runner --backend vllm       an engine, for the runner that is here"
    )


def flags(parser: Parser) -> None:
    """Take what `reinstall-runner` takes too."""
    parser.words("", most=0)
    parser.add_argument("--backend", metavar="string", help="Alone: the engine to install, such as vllm")
    parser.add_argument(
        "--llama-server-version", metavar="string", help="Accepted; the version is the runner's own"
    )
    runner.container_flags(parser)
    runner.tls_flags(parser)


def run(args: Namespace, session: Session) -> int:
    """Install, showing what happens; what is here is not installed again."""
    if is_engine(args):
        install(args.backend, session)
    else:
        runner.install(args, session, pull=True)
    return 0


def is_engine(args: Namespace) -> bool:
    """Whether an engine is meant: one is named, and nothing is said of a container."""
    return bool(args.backend) and not runner.typed(args)


def install(name: str, session: Session) -> None:
    """Install an engine and say so. Whoever interrupts this ends the installation."""
    say(f"Installing {name} backend...")
    with closing(session.client().install_backend(InstallRequest(backend=name))) as lines:
        _follow(lines)
    say(f"{name} backend installed successfully")


def _follow(lines: Iterable[ProgressLine]) -> None:
    drawn = is_terminal(sys.stderr)
    due = 0.0
    for line in lines:
        message = clean(line["message"])
        if line["type"] != "progress" or not message:
            continue
        if drawn:
            sys.stderr.write(f"\r\x1b[K{message[:78]}")
            sys.stderr.flush()
        elif time.monotonic() >= due:
            due = time.monotonic() + _SPEAK
            note(message)
    if drawn:
        sys.stderr.write("\r\x1b[K")
