"""`unpin`: models may go again when they are idle or their place is needed."""

from modelrunner.cli.commands.pin import configure, set_pinned
from modelrunner.cli.parse import Namespace
from modelrunner.cli.session import Session

__all__ = ["configure", "run"]


def run(args: Namespace, session: Session) -> int:
    """Unpin each; nothing is printed."""
    return set_pinned(args, session, pinned=False)
