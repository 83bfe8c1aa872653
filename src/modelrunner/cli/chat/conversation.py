"""What a chat remembers. Pure state; the terminal is elsewhere."""

from collections.abc import Sequence
from typing import NamedTuple

from modelrunner.client import Message

Content = str | list[dict[str, object]]


class Turn(NamedTuple):
    """A prompt and its answer; `typed` is the prompt as it was typed, before files came into it."""

    prompt: Content
    answer: str
    typed: str


class Conversation:
    """The turns so far. A turn that failed or was cancelled never enters."""

    def __init__(self) -> None:
        self.system = ""
        self._turns: list[Turn] = []

    @property
    def turns(self) -> Sequence[Turn]:
        """What was said, oldest first."""
        return self._turns

    @property
    def messages(self) -> list[Message]:
        """The turns as an API has them, without the system prompt."""
        return [
            message
            for turn in self._turns
            for message in (
                Message(role="user", content=turn.prompt),
                Message(role="assistant", content=turn.answer),
            )
        ]

    def with_prompt(self, prompt: Content) -> list[Message]:
        """Everything to send: the system prompt, the turns, and the new prompt."""
        system = [Message(role="system", content=self.system)] if self.system else []
        return [*system, *self.messages, Message(role="user", content=prompt)]

    def add(self, prompt: Content, answer: str, typed: str = "") -> None:
        """Remember a turn that was answered."""
        self._turns.append(Turn(prompt, answer, typed or words_of(prompt)))

    def take_back(self) -> Turn | None:
        """Forget the last turn and return it; None when there is none."""
        return self._turns.pop() if self._turns else None

    def clear(self) -> None:
        """Forget the turns; the system prompt stays."""
        self._turns.clear()


def words_of(content: Content) -> str:
    """The text of a message, without its images."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in content if "text" in part)
