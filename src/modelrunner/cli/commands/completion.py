"""`completion`: the script by which a shell completes commands, flags and the names of models."""

from modelrunner.cli.output import emit
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.cli.shells import SHELLS, instructions, script


def configure(parser: Parser) -> None:
    """Take a shell."""
    parser.words("bash|zsh|fish|powershell", least=1, most=1)
    parser.switch("--no-descriptions", help="Complete names only")
    parser.examples = instructions(_name(parser.program))


def run(args: Namespace, session: Session) -> int:
    """Print the script."""
    shell = args.words[0].lower()
    if shell not in SHELLS:
        raise args.parser.wrong(f"`{args.words[0]}` is no shell of these: {', '.join(SHELLS)}")
    text = script(shell, _name(session.program))
    emit(text.replace(" __complete ", " __completeNoDesc ") if args.no_descriptions else text)
    return 0


def _name(program: str) -> str:
    """The name of the file that the shell runs; docker completes `docker model` itself."""
    return program.replace(" ", "-")
