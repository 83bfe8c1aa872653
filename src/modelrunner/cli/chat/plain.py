"""A streamed answer as plain text, and as lines of JSON."""

import sys
from collections.abc import Iterable

from modelrunner.cli.chat.asking import Calling
from modelrunner.cli.output import clean, emit, harmless, is_terminal, json_line, note, say
from modelrunner.client import Piece


def show_plain(pieces: Iterable[Piece | Calling]) -> str:
    """Print an answer as it comes; returns its text, without the thoughts.

    A terminal obeys escape sequences, and a model may have been talked into writing some: none gets there.
    """
    shown = harmless if is_terminal(sys.stdout) else str
    content: list[str] = []
    thinking = thought = False
    usage = None
    for piece in pieces:
        if isinstance(piece, Calling):
            note(f"[tool] calling {clean(piece.name)} with args: {clean(piece.arguments)}")
            continue
        if piece.notice:
            note(clean(piece.notice))
        if piece.reasoning:
            if not thinking:
                emit("\n\n" if content else "" if thought else "Thinking:\n")
            thinking = thought = True
            emit(shown(piece.reasoning))
        if piece.content:
            if thinking:
                emit("\n\n--\n\n")
            thinking = False
            content.append(piece.content)
            emit(shown(piece.content))
        usage = piece.usage or usage
    if usage:
        emit(f"\n\nToken usage: {usage.prompt} prompt + {usage.completion} completion = {usage.total} total")
    return "".join(content)


def show_lines(pieces: Iterable[Piece | Calling]) -> str:
    """Print each piece as an object on a line of its own, and a last one of type `done`."""
    content: list[str] = []
    finish, usage, speed = "", None, 0.0
    for piece in pieces:
        if isinstance(piece, Calling):
            line("tool", name=piece.name, arguments=piece.arguments)
            continue
        if piece.notice:
            line("notice", text=piece.notice)
        if piece.reasoning:
            line("reasoning", text=piece.reasoning)
        if piece.content:
            content.append(piece.content)
            line("content", text=piece.content)
        finish, usage, speed = piece.finish or finish, piece.usage or usage, piece.speed or speed
    done: dict[str, object] = {"finish_reason": finish or None}
    if usage:
        done["usage"] = {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.total,
        }
    if speed:
        done["tokens_per_second"] = round(speed, 2)
    line("done", **done)
    return "".join(content)


def line(kind: str, **fields: object) -> None:
    """Print one object."""
    say(json_line({"type": kind, **fields}))
