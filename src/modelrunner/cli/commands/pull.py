"""`pull`: fetch a model from a registry."""

import sys
from contextlib import closing
from typing import TextIO

from modelrunner.cli.container_credentials import hand_over
from modelrunner.cli.output import is_terminal, note, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.progress import announce_retry, follow
from modelrunner.cli.session import Session

_HUGGING_FACE = ("hf.co/", "huggingface.co/")


def configure(parser: Parser) -> None:
    """Take one model."""
    parser.words("MODEL", least=1, most=1)
    parser.examples = (
        "  pull ai/smollm2\n"
        "  pull registry.example.com/team/model:v1\n"
        "  pull hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"
    )


def run(args: Namespace, session: Session) -> int:
    """Pull, then print how it went."""
    say(pull(session, args.words[0], sys.stdout))
    return 0


def pull(session: Session, name: str, plain: TextIO) -> str:
    """Pull a model and show its progress; returns the sentence of its success.

    The daemon stops when its last client leaves, and keeps what it has.
    """
    hand_over(session)
    lines = session.client().pull(name, token_for(name, session), on_retry=announce_retry("download"))
    try:
        with closing(lines):
            return follow(lines, "pull", plain)
    except KeyboardInterrupt:
        mark = "\n" if is_terminal(sys.stderr) else ""  # the terminal has written ^C
        note(f"{mark}pull interrupted; run it again to continue where it stopped")
        raise


def token_for(name: str, session: Session) -> str | None:
    """The token of Hugging Face, for its models and for no other registry."""
    return session.settings.hf_token if name.startswith(_HUGGING_FACE) else None
