"""`tag`: give a model another name."""

from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidReference


def configure(parser: Parser) -> None:
    """Take the model and its new name."""
    parser.words("SOURCE TARGET", least=2, most=2)
    parser.examples = "  tag ai/smollm2 registry.example.com/team/smollm2:v1"


def run(args: Namespace, session: Session) -> int:
    """Tag, and say so."""
    source, target = args.words
    repository, tag = split_target(target)
    session.client().tag(source, repository, tag)
    say(f'Model "{source}" tagged successfully with "{target}"')
    return 0


def split_target(target: str) -> tuple[str, str]:
    """Part a new name into repository and tag; the daemon checks both.

    Raises:
        InvalidReference: nothing, or a digest, which nobody can choose.
    """
    if "@" in target or not target.strip():
        raise InvalidReference(
            f"invalid tag: `{target}`", hint="write it like `ai/smollm2:latest`; a digest cannot be given"
        )
    head, slash, last = target.strip().rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag or "latest"
