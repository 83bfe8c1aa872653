"""`import`: models that other programs keep on this machine are taken over, without moving anything."""

import sys
from contextlib import closing
from pathlib import Path

from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.progress import follow
from modelrunner.cli.session import Session
from modelrunner.wire.transfers import ImportRequest

_PROGRAMS = ("ollama", "huggingface", "lmstudio")


def configure(parser: Parser) -> None:
    """Take the models to import; all that are found without any."""
    parser.words("[MODEL...]")
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="place",
        help=f"Where they are: {', '.join(_PROGRAMS)}, or a file or folder; else all of these programs",
    )
    parser.switch("--link", help="Share files that their owner may write to, instead of copying them")
    parser.switch("--dry-run", help="Only list what there is")


def run(args: Namespace, session: Session) -> int:
    """Import, then print how it went."""
    request = ImportRequest(names=args.words, link=args.link, dry_run=args.dry_run)
    if args.origin is not None:
        known = args.origin in _PROGRAMS
        request["from"] = args.origin if known else str(Path(args.origin).expanduser().absolute())
    with closing(session.client().import_models(request)) as lines:
        say(follow(lines, "pull", sys.stdout))
    return 0
