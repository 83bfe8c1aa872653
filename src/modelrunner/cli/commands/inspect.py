"""`inspect`: everything that is known of one model, as JSON."""

from typing import TYPE_CHECKING

from modelrunner.cli.output import emit, standard_json
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.errors import RunnerError

if TYPE_CHECKING:
    from modelrunner.client import Client


def configure(parser: Parser) -> None:
    """Take one model."""
    parser.words("MODEL", least=1, most=1)
    parser.examples = "  inspect ai/smollm2\n  inspect --remote ai/qwen3"
    parser.switch("--openai", help="List the model in an OpenAI format")
    parser.switch("-r", "--remote", help="Show the model as its registry has it, without pulling it")


def run(args: Namespace, session: Session) -> int:
    """Print one JSON object."""
    if args.openai and args.remote:
        raise args.parser.wrong("--remote flag cannot be used with --openai flag")
    client, name = session.client(), args.words[0]
    if args.openai:
        emit(standard_json(client.openai_model(name)))
        return 0
    model = client.model(name, remote=args.remote)
    emit(standard_json(model if args.remote else {**model, **_configuration(client, name)}))
    return 0


def _configuration(client: "Client", name: str) -> dict[str, object]:
    """How the model is run, in each mode that was configured or is its own; nothing if nobody can say."""
    try:
        rows = client.configurations(name, effective=True)
    except RunnerError:  # daemons of before cannot say
        return {}
    runs = [
        {"backend": row["Backend"], "mode": row["Mode"], "values": row["Effective"]}
        for row in rows
        if "Effective" in row
    ]
    return {"configuration": runs} if runs else {}
