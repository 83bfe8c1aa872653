"""A streamed answer on the screen: thoughts, text, token counts, and code blocks when colour is on."""

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

from modelrunner.cli.output import clean, emit, harmless, is_terminal, note
from modelrunner.client import Piece

_FENCE = "```"
_ITALIC, _GREY, _PLAIN = "\x1b[3m", "\x1b[90m", "\x1b[0m"


class Style(NamedTuple):
    """How text is shown; without `render`, as it comes and without escape sequences."""

    render: Callable[[str], str] | None = None

    def thought(self, text: str) -> str:
        """Set reasoning apart."""
        return f"{_ITALIC}{text}{_PLAIN}" if self.render else text

    def aside(self, text: str) -> str:
        """Set what is not the answer apart."""
        return f"{_GREY}{text}{_PLAIN}" if self.render else text


def show(pieces: Iterable[Piece], style: Style) -> str:
    """Print an answer as it comes; returns its text, without the thoughts.

    A terminal obeys escape sequences, and a model may have been talked into writing some: none gets there.
    """
    shown = harmless if is_terminal(sys.stdout) else str
    writer = FencedWriter(emit, style.render)
    content: list[str] = []
    thinking = thought = False
    usage = None
    for piece in pieces:
        if piece.notice:
            note(clean(piece.notice))
        if piece.reasoning:
            if not thinking:
                writer.finish()
                emit("\n\n" if content else "" if thought else "Thinking:\n")
            thinking = thought = True
            emit(style.thought(shown(piece.reasoning)))
        if piece.content:
            if thinking:
                emit("\n\n--\n\n")
            thinking = False
            content.append(piece.content)
            writer.feed(shown(piece.content))
        usage = piece.usage or usage
    writer.finish()
    if usage:
        text = f"Token usage: {usage.prompt} prompt + {usage.completion} completion = {usage.total} total"
        emit(f"\n\n{style.aside(text)}")
    return "".join(content)


class FencedWriter:
    """Passes text on at once, except that a fenced block is held until it can be rendered as a whole."""

    def __init__(self, write: Callable[[str], None], render: Callable[[str], str] | None) -> None:
        """Without `render` everything passes as it is."""
        self._write = write
        self._render = render
        self._pending = ""
        self._held = ""
        self._line_start = True

    def feed(self, text: str) -> None:
        """Take the next piece of text."""
        if self._render is None:
            self._write(text)
            return
        self._pending += text
        while self._pending and self._step(self._render):
            pass

    def finish(self) -> None:
        """Render what is left, when the text ended inside a block."""
        left, self._held, self._pending = self._held + self._pending, "", ""
        self._line_start = True
        if left:
            self._write(self._render(left) if self._render else left)

    def _step(self, render: Callable[[str], str]) -> bool:
        """Deal with one line of what is pending; False when more must come first."""
        line, newline, rest = self._pending.partition("\n")
        if self._held:
            if not newline:
                return False
            self._held += line + newline
            self._pending = rest
            if line.strip() == _FENCE:
                block, self._held = self._held, ""
                self._write(render(block))
            return True
        begun = line.lstrip(" ")
        if self._line_start and begun.startswith(_FENCE) and newline:
            self._held, self._pending = line + newline, rest
            return True
        if self._line_start and not newline and (_FENCE.startswith(begun) or begun.startswith(_FENCE)):
            return False
        self._write(line + newline)
        self._pending, self._line_start = rest, bool(newline)
        return True
