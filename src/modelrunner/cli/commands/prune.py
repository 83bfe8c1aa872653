"""`prune`: files of the store that belong to no model are deleted."""

from modelrunner.cli.output import emit, note, table
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.units import format_bytes
from modelrunner.wire.models import PruneRequest


def configure(parser: Parser) -> None:
    """Take what to delete."""
    parser.words("", most=0)
    parser.switch(
        "-a", "--all", help="Also what is younger than a day, such as downloads that were broken off"
    )
    parser.switch("--damaged", help="Also damaged files that `verify` has set aside")
    parser.switch("--dry-run", help="Only list what there is")


def run(args: Namespace, session: Session) -> int:
    """Print a table of the files, and what they took."""
    request = PruneRequest(all=args.all, damaged=args.damaged, dry_run=args.dry_run)
    reply = session.client().prune(request)
    rows = [(file["path"], file["kind"], format_bytes(file["size"])) for file in reply["files"]]
    if rows:
        emit(table(("PATH", "KIND", "SIZE"), rows))
    note(f"{'Would free' if args.dry_run else 'Freed'} {format_bytes(reply['freed'])}")
    return 0
