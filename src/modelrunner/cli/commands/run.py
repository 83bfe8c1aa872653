"""`run`: ask a model one question, or talk to it."""

import sys
from contextlib import closing

from modelrunner.cli.chat.plain import Style, show
from modelrunner.cli.commands.pull import pull
from modelrunner.cli.output import emit, is_terminal, note
from modelrunner.cli.parse import Namespace, Parser, one_of
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest, ModelNotFound


def configure(parser: Parser) -> None:
    """Take a model and the words of a prompt."""
    parser.words("MODEL [PROMPT...]", least=1)
    parser.add_argument(
        "--color",
        type=one_of("auto", "yes", "no"),
        default="no",
        metavar="string",
        help="Render code blocks and styles: auto, yes or no (default no)",
    )
    parser.switch("--debug", help="Say what is being done")
    parser.switch("-d", "--detach", help="Load the model in the background, with no interaction")


def run(args: Namespace, session: Session) -> int:
    """Pull the model if it is not here, then answer the prompt, or begin a chat."""
    name, *words = args.words
    typed = " ".join(words)
    piped = "" if args.detach or is_terminal(sys.stdin) else sys.stdin.read()
    prompt = "\n\n".join(part for part in (typed, piped.rstrip("\n")) if part.strip())
    if not prompt and not args.detach and not is_terminal(sys.stdin):
        raise InvalidRequest(
            "no prompt was given, and there is no terminal to ask for one",
            hint=f"`{session.program} run {name} PROMPT`, or pipe a prompt into it",
        )
    if args.debug:
        note(f"Running model {name}{f' with prompt {prompt}' if prompt else ''}")
    _ensure_here(session, name)
    if args.detach:
        session.client().preload(name)
        if args.debug:
            note(f"Model {name} loaded successfully")
        return 0
    if prompt:
        return _answer(session, name, typed, prompt, _style(args.color, session))
    from modelrunner.cli.chat.loop import converse

    return converse(session, name, _style(args.color, session))


def _ensure_here(session: Session, name: str) -> None:
    try:
        session.client().model(name)
    except ModelNotFound:
        note(f"Unable to find model '{name}' locally. Pulling from the server.")
        note(pull(session, name, sys.stderr))


def _answer(session: Session, name: str, typed: str, prompt: str, style: Style) -> int:
    """Print one answer. Files are looked for only in what was typed."""
    from modelrunner.cli.chat.attachments import expand

    content = expand(typed)
    piped = prompt.removeprefix(typed)
    if isinstance(content, str):
        content += piped
    elif piped:
        content.append({"type": "text", "text": piped.strip()})
    client = session.client()
    with closing(client.chat(name, [{"role": "user", "content": content}])) as pieces:
        try:
            show(pieces, style)
        finally:
            emit("\n")
    return 0


def _style(choice: str, session: Session) -> Style:
    """Whether to render: `auto` does on a terminal that shows colour."""
    environ = session.environ
    coloured = choice == "yes" or (
        choice == "auto"
        and is_terminal(sys.stdout)
        and not session.settings.no_color
        and environ.get("TERM") != "dumb"
    )
    if not coloured:
        return Style()
    from modelrunner.cli.chat.loop import markdown

    return Style(markdown)
