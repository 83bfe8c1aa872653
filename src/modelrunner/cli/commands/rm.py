"""`rm`: remove models by name or id."""

from modelrunner.cli.output import clean, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take any number of models."""
    parser.words("MODEL [MODEL...]", least=1)
    parser.examples = "  rm ai/smollm2 ai/qwen3:4B\n  rm --force 354bf30d0aa3"
    parser.switch("-f", "--force", help="Forcefully remove the model, with all of its tags")


def run(args: Namespace, session: Session) -> int:
    """Remove one after the other, printing what was done; the first failure ends it."""
    client = session.client()
    for name in args.words:
        for removal in client.remove(name, force=args.force):
            for action, what in removal.items():
                say(clean(f"{action}: {what}"))
    return 0
