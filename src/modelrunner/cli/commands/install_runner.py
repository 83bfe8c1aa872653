"""`install-runner`: an engine is installed, in an environment that the daemon keeps for it."""

import sys
import time
from collections.abc import Iterable
from contextlib import closing

from modelrunner.cli.output import clean, is_terminal, note, say
from modelrunner.cli.parse import Namespace, Parser, UsageError
from modelrunner.cli.session import Session
from modelrunner.wire import InstallRequest, ProgressLine

_SPEAK = 5.0  # seconds between two lines of progress where they are not drawn in place


def configure(parser: Parser) -> None:
    """Take the engine."""
    parser.words("", most=0)
    parser.add_argument("--backend", metavar="string", help="The engine, such as vllm")
    parser.examples = "  install-runner --backend vllm"


def run(args: Namespace, session: Session) -> int:
    """Install, showing what happens; an engine that is here is not installed again."""
    install(backend(args), session)
    return 0


def backend(args: Namespace) -> str:
    """The engine that was named.

    Raises:
        UsageError: none was; a runner in a container of its own is not made from here.
    """
    if not args.backend:
        raise UsageError("--backend is required", hint="name an engine: `--backend vllm`")
    return str(args.backend)


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
