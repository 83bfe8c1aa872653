"""Markdown as lines for a terminal."""

import re

import pytest

from modelrunner.cli.cells import width_of
from modelrunner.cli.chat.markdown import Renderer, mended, split

TEXT = """# Head

A paragraph
of two lines with `code` and **much** to say.

- one
- two

  - inner

3. three

```python
def f():

    return 1
```
> quote

| a | b |
|---|---|
| 1 | 2 |

---
The end."""


def _plain(text: str, width: int = 40) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in Renderer().lines(text, width)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_text_that_grows_is_parted_as_the_whole_one(size: int) -> None:
    """Blocks that are finished are finished: however the text comes, the same blocks come out."""
    whole = split(TEXT)
    finished: list[str] = []
    rest = ""
    for start in range(0, len(TEXT), size):
        blocks, rest = split(rest + TEXT[start : start + size])
        finished += blocks

    assert [block.strip() for block in finished] == [block.strip() for block in whole.finished]
    assert rest == whole.rest == "The end."
    assert len(finished) == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("some **bold", "some **bold**"),
        ("some **bold*", "some **bold***"),
        ("some **", "some "),
        ("some `code", "some `code`"),
        ("a **b** `c`", "a **b** `c`"),
        ("`a ** b`", "`a ** b`"),
        ("text\n-", "text"),
        ("text\n==", "text"),
        ("text\n12.", "text"),
        ("text\n| a |\n|--", "text\n| a |"),
        ("```\na **b", "```\na **b"),
        ("", ""),
    ],
)
def test_what_is_open_is_closed_for_now(text: str, expected: str) -> None:
    """Nothing jumps once the rest is there."""
    assert expected == mended(text)


def test_everything_is_laid_out() -> None:
    """Calmly: no boxes, no grounds, and addresses in sight."""
    text = "# Head\n\nSee [docs](http://x/y) ![cat](http://c.png)\n\n1. a\n2. b\n\n```py\nx = 1\n```\n\n> q"

    assert _plain(text, 50) == [
        "Head",
        "",
        "See docs (http://x/y) [cat] (http://c.png)",
        "",
        " 1 a",
        " 2 b",
        "",
        "  x = 1",
        "",
        "▌ q",
    ]


@pytest.mark.parametrize("width", [1, 10, 20, 80, 500])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Nor than what is easily read."""
    lines = Renderer().lines(TEXT + "\n\n" + "word " * 100 + "\n\n```\n" + "x" * 300 + "\n```", width)

    assert max(map(width_of, lines)) <= max(10, min(width, 100))


def test_nothing_but_colours_reaches_the_terminal() -> None:
    """No links that say one thing and lead elsewhere, no other sequences."""
    shown = _plain(TEXT + "\n[a](http://b) <b>c</b> &#x1b;[2J")

    assert all(line.isprintable() for line in shown)


@pytest.mark.parametrize("text", ["", "\n\n", "<!-- x -->", "[a]: http://b"])
def test_what_shows_nothing_has_no_lines(text: str) -> None:
    """Rather than empty ones."""
    assert Renderer().lines(text, 80) == []


@pytest.mark.parametrize(
    "text",
    [
        "*" * 1000,
        "[" * 500,
        "> " * 200 + "x",
        "- " * 200 + "x",
        "`" * 999,
        "|" * 500 + "\n" + "|-" * 250,
        "&#0; &#x1b;[2J",
        "```nosuchlanguage\nx\n```",
        "1234567890. x",
        "\ufffd\u202e\u0300" * 50,
    ],
)
def test_odd_text_is_survived(text: str) -> None:
    """Whatever a model writes is shown somehow."""
    Renderer().lines(text, 20)
    split(text)
    mended(text)
