"""How lines become messages: triple quotes hold several together, and long pastes stand as one word."""

import hashlib
import re

_QUOTES = '"""'
_LONG = 1000  # characters of a paste that is shown as one word
_TALL = 8  # lines of it
_PLACEHOLDER = re.compile(r"\[pasted \d+ (?:lines|characters), [0-9a-f]{6}\]")


class Composer:
    '''Puts lines together: one that begins with `"""` begins a message that ends with `"""`.'''

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.is_open = False

    def feed(self, line: str) -> str | None:
        """Take a line; returns the message once it is complete."""
        begins = not self.is_open and line.lstrip().startswith(_QUOTES)
        if not begins and not self.is_open:
            return line
        text = line.lstrip().removeprefix(_QUOTES) if begins else line
        ends = text.rstrip().endswith(_QUOTES)
        self._lines.append(text.rstrip().removesuffix(_QUOTES) if ends else text)
        self.is_open = not ends
        if not ends:
            return None
        message = "\n".join(self._lines).strip("\n")
        self._lines.clear()
        return message

    def discard(self) -> None:
        """Drop an unfinished message."""
        self._lines.clear()
        self.is_open = False


class Pastes:
    """Long texts that were pasted. At the prompt each is a short placeholder.

    An editor that has to lay out a megabyte at every key is none.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def shorten(self, text: str) -> str:
        """Return what stands at the prompt for a paste: itself when it is short."""
        lines = text.count("\n") + 1
        if len(text) <= _LONG and lines <= _TALL:
            return text
        size = f"{lines} lines" if lines > 1 else f"{len(text)} characters"
        mark = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:6]
        placeholder = f"[pasted {size}, {mark}]"
        self._texts[placeholder] = text
        return placeholder

    def restore(self, prompt: str) -> str:
        """Put the texts back; a placeholder of another chat's history stays as it is."""
        return _PLACEHOLDER.sub(lambda match: self._texts.get(match[0], match[0]), prompt)


def as_paste(text: str) -> str:
    """Read what a terminal hands over: its line ends are those of the keyboard."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
