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
    thoughts: str
    measured: Measured


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


def show(
    pieces: Iterable[Piece | Calling], how: Manner, thoughts: Thoughts = Thoughts.SHOW, hint: str = ""
) -> Answer:
    """Show an answer as it comes; `hint` tells how folded thoughts are seen."""
    watch = Watch(time.monotonic)
    reasoning: list[str] = []
    seen = _watched(pieces, watch, reasoning)
    if how is Manner.LINES:
        text = show_lines(seen)
    elif how is Manner.PLAIN:
        text = show_plain(seen)
    else:
        text = _render(seen, watch, thoughts, hint)
    return Answer(text, "".join(reasoning), watch.result())


def size() -> tuple[int, int]:
    """Columns and rows of the terminal."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return _SIZE
    return columns or _SIZE[0], rows or _SIZE[1]


def _render(seen: Iterable[Piece | Calling], watch: Watch, thoughts: Thoughts, hint: str) -> str:
    from modelrunner.cli.chat.region import Flow, Region
    from modelrunner.cli.chat.screen import Look, Screen

    live = is_terminal(sys.stdout)
    look = Look(lambda: size()[0], live, thoughts, hint)
    with Screen(Region(emit, size) if live else Flow(emit), look, watch) as screen:
        return screen.show(seen)


def _watched(
    pieces: Iterable[Piece | Calling], watch: Watch, reasoning: list[str]
) -> Iterator[Piece | Calling]:
    for piece in pieces:
        if isinstance(piece, Piece):
            watch.see(piece)
            reasoning.append(piece.reasoning)
        yield piece
