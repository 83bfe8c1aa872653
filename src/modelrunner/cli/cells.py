"""How wide text is on a terminal, and text cut to a width."""

import re
import unicodedata
from collections.abc import Sequence

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_WIDE = frozenset({"W", "F"})


def width_of(text: str) -> int:
    """Count the columns of a line; colours take none."""
    plain = _ESCAPE.sub("", text)
    return len(plain) if plain.isascii() else sum(map(_cells, plain))


def crop(text: str, width: int) -> str:
    """Cut a plain line to so many columns."""
    if width_of(text) <= width:
        return text
    taken, left = [], width - 1
    for character in text:
        left -= _cells(character)
        if left < 0:
            break
        taken.append(character)
    return "".join(taken) + "…" if width > 0 else ""


def fitting(facts: Sequence[str], width: int) -> str:
    """Put facts side by side: as many of the first as so many columns hold, the first one cut if need be."""
    for count in range(len(facts), 1, -1):
        line = " · ".join(facts[:count])
        if width_of(line) <= width:
            return line
    return crop(facts[0], width) if facts else ""


def wrap(text: str, width: int) -> list[str]:
    """Break plain text into lines of at most so many columns, between words where it can be."""
    lines: list[str] = []
    for paragraph in text.expandtabs(4).split("\n"):
        line, used = "", 0
        for word in re.findall(r"\S+\s*|\s+", paragraph):
            size = width_of(word.rstrip())
            if used and used + size > width:
                lines.append(line.rstrip())
                line, used = "", 0
            for piece in _pieces(word, width):
                if used + width_of(piece.rstrip()) > width:
                    lines.append(line.rstrip())
                    line, used = "", 0
                line += piece
                used += width_of(piece)
        lines.append(line.rstrip())
    return lines


def _pieces(word: str, width: int) -> list[str]:
    if width_of(word.rstrip()) <= width:
        return [word]
    pieces, piece, used = [], "", 0
    for character in word:
        cells = _cells(character)
        if used + cells > width:
            pieces.append(piece)
            piece, used = "", 0
        piece += character
        used += cells
    return [*pieces, piece]


def _cells(character: str) -> int:
    if unicodedata.combining(character) or character in "\u200b\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
