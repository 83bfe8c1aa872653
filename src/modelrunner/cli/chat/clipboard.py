"""The terminal's clipboard, which also reaches through ssh."""

import base64
import re

_FENCED = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
MOST = 74_994  # bytes; what terminals take at least


def sequence(text: str) -> str:
    """Make what has a terminal put a text into its clipboard.

    Source: xterm control sequences, "OSC 52".
    """
    return f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07"


def last_code(answer: str) -> str | None:
    """The last code block of an answer, without its fences; None when there is none."""
    blocks = _FENCED.findall(answer)
    return blocks[-1][1].rstrip("\n") if blocks else None
