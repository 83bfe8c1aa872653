"""What an engine may offer besides: to save what it computed of a prompt, for another process of it.

The engine describes the conversations, the runtime holds them: a dialogue yields what to ask, is sent the
answer, and returns what came of it. There is no I/O here.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeVar, runtime_checkable

from modelrunner.engines.ask import Answer, Ask
from modelrunner.engines.base import Options
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.kinds import Mode

T = TypeVar("T")
Dialogue = Generator[Ask, Answer, T]
Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one request in an engine; `tokens` is how many of a prompt and its answer it still has."""

    number: int
    tokens: int
    busy: bool


class States(Protocol):
    """How one instance saves and restores. Files are named; their folder is `Options.states`.

    `key` is the same text for all instances that can read each other's states.
    """

    key: str

    def slots(self) -> Dialogue[tuple[Slot, ...]]:
        """Find out what is in memory; nothing when the engine does not say."""
        ...

    def save(self, slot: int, file: str) -> Dialogue[int | None]:
        """Write a slot's state to a file; how many bytes it wrote, None when it did not work."""
        ...

    def restore(self, slot: int, file: str) -> Dialogue[bool]:
        """Read a file into a slot; whether the engine says that it worked."""
        ...

    def prompt(self, target: str, body: bytes) -> Dialogue[Tokens | None]:
        """Find out which tokens a request's prompt consists of; None for requests that have no such thing."""
        ...

    def tokens(self, state: BinaryIO) -> Tokens | None:
        """Read from a state which tokens it is of; None when it is none that could be read."""
        ...

    def cached(self, tail: bytes) -> int | None:
        """Read from the end of an answer how many tokens of its prompt had not to be computed."""
        ...


@runtime_checkable
class SavesStates(Protocol):
    """An engine that can."""

    def states(self, bundle: Bundle, mode: Mode, options: Options) -> States | None:
        """Say how instances with these options do it; None when they cannot. Pure, but may probe."""
        ...
