"""Which way an answer is shown: rendered, as plain text, or as lines of JSON."""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from modelrunner.cli.chat.asking import Calling
from modelrunner.cli.chat.plain import show_lines, show_plain
from modelrunner.cli.chat.statistics import Measured, Watch
from modelrunner.cli.chat.thoughts import Thoughts
from modelrunner.cli.output import emit, is_terminal
from modelrunner.cli.session import Session
from modelrunner.client import Piece

_SIZE = (80, 24)  # columns and rows of an output that has none


class Manner(StrEnum):
    """How answers are shown."""

    PLAIN = "plain"
    RENDERED = "rendered"
    LINES = "lines"


class Answer(NamedTuple):
    """What was answered, and what it took."""

    text: str
    measured: Measured


class Thinking(NamedTuple):
    """What is done with a model's thoughts: how they are seen, how those that are folded are unfolded.

    `heard` gets them as they come, so that they are there whatever ends the answer.
    """

    thoughts: Thoughts
    hint: str
    heard: list[str]


def manner(color: str, session: Session, *, as_json: bool = False) -> Manner:
    """Choose: `auto` renders on a terminal that shows colour."""
    if as_json:
        return Manner.LINES
    watched = is_terminal(sys.stdout) and not session.settings.no_color
    coloured = color == "yes" or (color == "auto" and watched and session.environ.get("TERM") != "dumb")
    return Manner.RENDERED if coloured else Manner.PLAIN


def warm(how: Manner) -> None:
    """Begin to import what rendering takes, while nobody waits for it."""
    if how is Manner.RENDERED:
        threading.Thread(target=_warm, name="warm", daemon=True).start()


def _warm() -> None:
    from modelrunner.cli.chat.screen import Screen

    Screen.warm()


def show(pieces: Iterable[Piece | Calling], how: Manner, thinking: Thinking | None = None) -> Answer:
    """Show an answer as it comes, thoughts in full if nothing else is said."""
    watch = Watch(time.monotonic)
    thinking = thinking or Thinking(Thoughts.SHOW, "", [])
    seen = _watched(pieces, watch, thinking.heard)
    if how is Manner.LINES:
        text = show_lines(seen)
    elif how is Manner.PLAIN:
        text = show_plain(seen)
    else:
        text = _render(seen, watch, thinking)
    return Answer(text, watch.result())


def size() -> tuple[int, int]:
    """Columns and rows of the terminal."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return _SIZE
    return columns or _SIZE[0], rows or _SIZE[1]


def _render(seen: Iterable[Piece | Calling], watch: Watch, thinking: Thinking) -> str:
    from modelrunner.cli.chat.region import Flow, Region
    from modelrunner.cli.chat.screen import Look, Screen

    live = is_terminal(sys.stdout)
    look = Look(lambda: size()[0] - 1, live, thinking.thoughts, thinking.hint)
    with Screen(Region(emit, size) if live else Flow(emit), look, watch) as screen:
        return screen.show(seen)


def _watched(pieces: Iterable[Piece | Calling], watch: Watch, heard: list[str]) -> Iterator[Piece | Calling]:
    for piece in pieces:
        if isinstance(piece, Piece):
            watch.see(piece)
            heard.append(piece.reasoning)
        yield piece
