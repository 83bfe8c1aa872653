"""`inspect`: everything that is known of one model, as JSON."""

from modelrunner.cli.output import emit, standard_json
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


def configure(parser: Parser) -> None:
    """Take one model."""
    parser.words("MODEL", least=1, most=1)
    parser.switch("--openai", help="List the model in an OpenAI format")
    parser.switch("-r", "--remote", help="Show the model as its registry has it, without pulling it")


def run(args: Namespace, session: Session) -> int:
    """Print one JSON object."""
    if args.openai and args.remote:
        raise args.parser.wrong("--remote flag cannot be used with --openai flag")
    client, name = session.client(), args.words[0]
    document: object = client.openai_model(name) if args.openai else client.model(name, remote=args.remote)
    emit(standard_json(document))
    return 0
