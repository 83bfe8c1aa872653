"""`explain`: whether a model can be loaded now, what would make room for it, and why it waits."""

from modelrunner.cli.commands.events import line
from modelrunner.cli.narrow import say_wrapped
from modelrunner.cli.output import emit, say, standard_json
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take a model."""
    parser.words("MODEL", least=1, most=1)
    parser.switch("--json", help="Print everything that is known, as JSON")
    parser.add_argument("--backend", metavar="NAME", help="Ask about this engine")
    parser.add_argument("--mode", metavar="MODE", help="Ask about this mode, such as `embedding`")


def run(args: Namespace, session: Session) -> int:
    """Print sentences, then what happened to the model lately."""
    query = {name: value for name in ("mode", "backend") if (value := getattr(args, name))}
    explanation = session.client().explain({"model": args.words[0], **query})
    if args.json:
        emit(standard_json(explanation))
        return 0
    for sentence in explanation["sentences"]:
        say_wrapped(sentence)
    if explanation["events"]:
        say("\nLately:")
        for event in explanation["events"]:
            say_wrapped(line(event, session.settings.default_registry), "  ")
    return 0
