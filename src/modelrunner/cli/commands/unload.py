"""`unload`: free the memory that models take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session

if TYPE_CHECKING:
    from modelrunner.wire.engines import UnloadRequest


def configure(parser: Parser) -> None:
    """Take models, or `--all`."""
    parser.words("(MODEL [MODEL...] [--backend BACKEND] | --all)")
    parser.examples = "  unload ai/smollm2\n  unload --all"
    parser.switch("--all", help="Unload all running models")
    parser.add_argument("--backend", metavar="string", default="", help="Unload from this backend only")


def run(args: Namespace, session: Session) -> int:
    """Unload, and say how many went."""
    names: list[str] = args.words
    if args.all and names:
        raise args.parser.wrong(f"'{args.parser.prog}' does not take MODEL when --all is specified.")
    if not args.all and not names:
        raise args.parser.wrong(f"'{args.parser.prog}' requires MODEL unless --all is specified.")
    request: UnloadRequest = {"all": args.all, "backend": args.backend, "models": names or None}
    reply = session.client().unload(request)
    count, stay = reply["unloaded_runners"], reply.get("in_use", 0)
    if count:
        say(f"Unloaded {count} model(s).")
    if stay:
        say(f"{stay} model(s) stay, because they are in use or waited for.")
    elif not count:
        say("No models are running." if args.all else "No such model(s) running.")
    return 0
