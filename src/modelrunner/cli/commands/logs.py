"""`logs`: what the daemon and its engines wrote."""

from contextlib import closing

from modelrunner.cli.output import emit_foreign
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take nothing."""
    parser.words("", most=0)
    parser.switch("-f", "--follow", help="View logs with real-time streaming")
    parser.add_argument(
        "--level", metavar="string", help="Only lines that are at least so grave: warning, say"
    )
    parser.add_argument("--model", metavar="name", help="Only what engines said about this model")
    parser.switch("--no-engines", help="Exclude inference engine logs from the output")
    parser.add_argument("-n", "--tail", metavar="int", help="Begin with at most this many lines")


def run(args: Namespace, session: Session) -> int:
    """Copy the logs to stdout."""
    client = session.client()
    query = {name: value for name in ("model", "level", "tail") if (value := getattr(args, name)) is not None}
    with closing(client.logs(follow=args.follow, engines=not args.no_engines, query=query)) as pieces:
        emit_foreign(pieces)
    return 0
