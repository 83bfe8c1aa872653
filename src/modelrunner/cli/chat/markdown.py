"""Markdown as lines for a terminal. The only module of a chat that knows rich."""

import io
import re
from typing import ClassVar, NamedTuple

from markdown_it import MarkdownIt
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.markdown import CodeBlock, Heading, HorizontalRule, Markdown
from rich.padding import Padding
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.text import Text
from rich.theme import Theme

_WIDEST = 100  # columns; longer lines are hard to read
# The terminal's own colours, and none that vanishes on a light or a dark ground.
_CODE = ANSISyntaxTheme(
    {
        Comment: Style(color="bright_black", italic=True),
        Keyword: Style(color="magenta"),
        Name.Builtin: Style(color="cyan"),
        Name.Function: Style(color="blue"),
        Name.Class: Style(color="blue"),
        Name.Decorator: Style(color="blue"),
        Name.Tag: Style(color="blue"),
        Name.Attribute: Style(color="cyan"),
        String: Style(color="green"),
        Number: Style(color="yellow"),
        Operator.Word: Style(color="magenta"),
    }
)
_THEME = Theme(
    {
        "markdown.h1": Style(bold=True, underline=True),
        "markdown.h2": Style(bold=True),
        "markdown.h3": Style(bold=True),
        "markdown.h4": Style(bold=True, italic=True),
        "markdown.h5": Style(italic=True),
        "markdown.h6": Style(italic=True),
        "markdown.code": Style(color="cyan"),
        "markdown.item.bullet": Style(dim=True),
        "markdown.item.number": Style(dim=True),
        "markdown.block_quote": Style(dim=True),
        "markdown.hr": Style(dim=True),
        "markdown.link": Style(underline=True),
        "markdown.link_url": Style(dim=True),
        "markdown.table.border": Style(dim=True),
        "markdown.table.header": Style(bold=True),
    }
)
_PARSER = MarkdownIt().enable("strikethrough").enable("table")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
# What the last line of a text that goes on may turn out to be the beginning of.
_UNDECIDED = re.compile(r"\s*(?:[-=*_+#>|`~:]+|\d{1,9}[.)]?)\s*")


class Split(NamedTuple):
    """A text in two: blocks that nothing can change any more, and where it goes on."""

    finished: list[str]
    rest: str


def split(text: str) -> Split:
    """Part a text that goes on before its last block."""
    starts = [token.map[0] for token in _PARSER.parse(text) if token.level == 0 and token.map]
    starts = sorted(set(starts))
    if len(starts) < 2:
        return Split([], text)
    lines = text.split("\n")
    ends = [*starts[1:], len(lines)]
    blocks = ["\n".join(lines[start:end]) for start, end in zip(starts, ends, strict=True)]
    return Split(blocks[:-1], blocks[-1])


def mended(text: str) -> str:
    """Close what a text that goes on has opened, and leave out a last line that nobody can read yet.

    So a word does not jump when its emphasis ends, and a paragraph is no heading while a list begins.
    """
    head, newline, last = text.rpartition("\n")
    if _UNDECIDED.fullmatch(last):
        return head
    if text.count("```") % 2 or text.count("~~~") % 2:
        return text
    open_code = last.count("`") % 2 == 1
    outside = "".join(last.split("`")[::2])
    if open_code:
        last += "`" if not last.endswith("`") else ""
    elif outside.count("**") % 2:
        last = last.rstrip() + "**" if not last.rstrip().endswith("**") else last.rstrip().removesuffix("**")
    return f"{head}{newline}{last}"


class Renderer:
    """Makes lines of blocks."""

    def __init__(self, *, colour: bool = True) -> None:
        self._colour = colour

    def lines(self, text: str, width: int) -> list[str]:
        """Render a block for so many columns; none for a text without anything to show."""
        console = Console(
            file=io.StringIO(),
            force_terminal=True,
            width=max(10, min(width, _WIDEST)),
            color_system="standard",
            no_color=not self._colour,
            highlight=False,
            emoji=False,
            legacy_windows=False,
            theme=_THEME,
        )
        with console.capture() as captured:
            console.print(_Markdown(text))
        lines = [line.rstrip() for line in captured.get().split("\n")]
        shown = [number for number, line in enumerate(lines) if _STYLE.sub("", line).strip()]
        return lines[shown[0] : shown[-1] + 1] if shown else []


class _Heading(Heading):
    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {}


class _Code(CodeBlock):
    """Code two columns to the right, without a ground of its own, so that it can be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Padding(Syntax(code, self.lexer_name, theme=_CODE, word_wrap=True), (0, 0, 0, 2))


class _Rule(HorizontalRule):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("─" * min(options.max_width, 40), style=console.get_style("markdown.hr"))


class _Markdown(Markdown):
    elements = {  # noqa: RUF012 - as rich declares it
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "hr": _Rule,
    }

    def __init__(self, text: str) -> None:
        super().__init__(text, hyperlinks=False)
        for child in (child for token in self.parsed for child in token.children or ()):
            if child.type == "image":  # rich would put it in front of its paragraph
                child.type, child.children = "text", None
                child.content = f"[{child.content or 'image'}] ({child.attrs.get('src', '')})"
