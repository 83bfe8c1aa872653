"""What a chat remembers, and how lines become messages. Pure state; the terminal is `chat.py`'s."""

from modelrunner.client import Message

_QUOTES = '"""'

Content = str | list[dict[str, object]]


class Conversation:
    """The turns so far. A turn that failed or was cancelled never enters."""

    def __init__(self) -> None:
        self.system = ""
        self._turns: list[Message] = []

    def with_prompt(self, prompt: Content) -> list[Message]:
        """Everything to send: the system prompt, the turns, and the new prompt."""
        system = [Message(role="system", content=self.system)] if self.system else []
        return [*system, *self._turns, Message(role="user", content=prompt)]

    def add(self, prompt: Content, answer: str) -> None:
        """Remember a turn that was answered."""
        self._turns += [Message(role="user", content=prompt), Message(role="assistant", content=answer)]

    def clear(self) -> None:
        """Forget the turns; the system prompt stays."""
        self._turns.clear()


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
