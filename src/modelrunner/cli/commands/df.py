"""`df`: what models and engines take on disk."""

from modelrunner.cli.output import emit, table
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.units import format_bytes


def configure(parser: Parser) -> None:
    """Take nothing."""
    parser.words("", most=0)


def run(_: Namespace, session: Session) -> int:
    """Print a table; the engines' row only when they take anything."""
    usage = session.client().disk_usage()
    rows = [("Models", format_bytes(usage["models_disk_usage"]))]
    if engines := usage["default_backend_disk_usage"]:
        rows.append(("Inference engine", format_bytes(engines)))
    emit(table(("TYPE", "SIZE"), rows))
    return 0
