"""`run`: ask a model one question, or talk to it."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING

from modelrunner.cli.chat.showing import Manner, manner, show, warm
from modelrunner.cli.commands.pull import pull
from modelrunner.cli.output import emit, is_terminal, note
from modelrunner.cli.parse import Namespace, Parser, one_of
from modelrunner.cli.session import Session
from modelrunner.client.answers import valid
from modelrunner.errors import InvalidRequest, ModelNotFound, RunnerError

if TYPE_CHECKING:
    from modelrunner.cli.chat.conversation import Content
    from modelrunner.cli.chat.peer import Peer


def configure(parser: Parser) -> None:
    """Take a model and the words of a prompt."""
    parser.words("MODEL [PROMPT...]", least=1)
    parser.add_argument(
        "--color",
        type=one_of("auto", "yes", "no"),
        default="auto",
        metavar="string",
        help="Render Markdown and styles: auto, yes or no (default auto, which does on a terminal)",
    )
    parser.switch("--debug", help="Say what is being done")
    parser.switch("-d", "--detach", help="Load the model in the background, with no interaction")
    parser.switch("--json", help="Print each piece of the answer as JSON on a line of its own")
    parser.add_argument("--openaiurl", metavar="URL", help="Talk to another server with OpenAI's API")
    parser.switch("--websearch", help="Let the model search the web")


def run(args: Namespace, session: Session) -> int:
    """Pull the model if it is not here, then answer the prompt, or begin a chat."""
    name, *words = args.words
    if args.detach and args.openaiurl:
        raise InvalidRequest("--detach flag cannot be used with --openaiurl flag")
    typed = valid(" ".join(words))
    piped = "" if args.detach or is_terminal(sys.stdin) else _piped()
    prompt = "\n\n".join(part for part in (typed, piped.rstrip("\n")) if part.strip())
    if not prompt and not args.detach and not is_terminal(sys.stdin):
        raise InvalidRequest(
            "no prompt was given, and there is no terminal to ask for one",
            hint=f"`{session.program} run {name} PROMPT`, or pipe a prompt into it",
        )
    if args.json and not prompt:
        raise InvalidRequest("--json takes a prompt", hint=f"`{session.program} run --json {name} PROMPT`")
    if args.debug:
        note(f"Running model {name}{f' with prompt {prompt}' if prompt else ''}")
    how = manner(args.color, session, as_json=args.json)
    warm(how)
    peer = _peer(args, session)
    if not args.openaiurl:
        _ensure_here(session, name)
    if args.detach:
        peer.preload(name)
        if args.debug:
            note(f"Model {name} loaded successfully")
        return 0
    if prompt:
        content = prompt if args.openaiurl else _content(typed, prompt)
        return _answer(args, session, peer, name, content, how)
    from modelrunner.cli.chat.loop import converse

    return converse(session, peer, name, how, websearch=args.websearch)


def _piped() -> str:
    """Read what was piped in.

    Raises:
        InvalidRequest: it is no text.
    """
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidRequest(
            "what was piped in is no text", hint="name an image by its path: `run MODEL describe ./cat.png`"
        )
    return valid(text)


def _peer(args: Namespace, session: Session) -> "Peer":
    from modelrunner.cli.chat.peer import Daemon, Server

    if not args.openaiurl:
        return Daemon(session)
    from modelrunner.cli.endpoint import parse
    from modelrunner.client import OpenAIServer

    address = parse(args.openaiurl, session.settings, "--openaiurl")
    return Server(OpenAIServer(address, user_agent=session.user_agent))


def _ensure_here(session: Session, name: str) -> None:
    try:
        session.client().model(name)
    except ModelNotFound:
        note(f"Unable to find model '{name}' locally. Pulling from the server.")
        note(pull(session, name, sys.stderr))


def _content(typed: str, prompt: str) -> "Content":
    """Put files in their places. They are looked for only in what was typed."""
    from modelrunner.cli.chat.attachments import expand

    content = expand(typed)
    piped = prompt.removeprefix(typed)
    if isinstance(content, str):
        content += piped
    elif piped:
        content.append({"type": "text", "text": piped.strip()})
    return content


def _answer(
    args: Namespace, session: Session, peer: "Peer", name: str, content: "Content", how: Manner
) -> int:
    """Print one answer."""
    from modelrunner.cli.chat.asking import Function, Question, take_turn

    functions: tuple[Function, ...] = ()
    if args.websearch:
        from modelrunner.cli.chat.websearch import function

        functions = (function(session.settings.websearch),)
    options = {"stream_options": {"include_usage": True}} if how is Manner.LINES else {}
    question = Question(name, [{"role": "user", "content": content}], options)
    with closing(take_turn(peer.talker(), question, functions)) as pieces:
        try:
            show(pieces, how)
        except RunnerError as exc:
            if how is not Manner.LINES:
                raise
            _fail(exc)
            return exc.exit_code
        finally:
            emit("\n" if how is Manner.PLAIN else "")
    return 0


def _fail(error: RunnerError) -> None:
    """Say it where a program reads it."""
    from modelrunner.cli.chat.plain import line

    line("error", message=error.message, code=error.code, hint=error.hint)
