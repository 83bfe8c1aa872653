"""`df`: what models and engines take on disk."""

from modelrunner.cli.output import emit, standard_json, table
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.units import format_bytes


def configure(parser: Parser) -> None:
    """Take nothing."""
    parser.words("", most=0)
    parser.switch("--json", help="Format output in JSON")


def run(args: Namespace, session: Session) -> int:
    """Print a table; the engines' row only when they take anything."""
    usage = session.quick_client().disk_usage()
    if args.json:
        emit(standard_json(usage))
        return 0
    rows = [("Models", format_bytes(usage["models_disk_usage"]))]
    if engines := usage["default_backend_disk_usage"]:
        rows.append(("Inference engine", format_bytes(engines)))
    emit(table(("TYPE", "SIZE"), rows))
    return 0
