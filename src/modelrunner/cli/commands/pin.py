"""`pin`: keep models in memory, from now on and after every start of the daemon."""

from modelrunner.cli.configured import tell
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.wire.configuration import ConfigureRequest


def configure(parser: Parser) -> None:
    """Take models."""
    parser.words("MODEL [MODEL...]", least=1)


def run(args: Namespace, session: Session) -> int:
    """Pin each; printed is only, as a note, that one cannot be loaded."""
    return set_pinned(args, session, pinned=True)


def set_pinned(args: Namespace, session: Session, *, pinned: bool) -> int:
    """Change this one thing of each model's configuration."""
    client = session.client()
    for name in args.words:
        tell(name, client.change_configuration(ConfigureRequest({"model": name, "pinned": pinned})))
    return 0
