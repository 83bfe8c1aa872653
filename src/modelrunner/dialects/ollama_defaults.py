"""What a model that was made with `/api/create` brings along for every request: a prompt, options, messages.

They stand in the artifact's configuration, under a name that other programs ignore.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.dialects.ollama import Message

FIELD = "ollama"


class Defaults(msgspec.Struct, frozen=True, omit_defaults=True):
    """A system prompt, options by name, and messages that come before all others."""

    system: str = ""
    parameters: dict[str, Any] = {}
    messages: list[Message] = []

    def with_options(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """Options of a request, over those of the model."""
        return {**self.parameters, **(options or {})}

    def with_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Messages of a request, behind those of the model; its own system prompt wins."""
        told = any(message.role == "system" for message in messages)
        system = [Message("system", self.system)] if self.system and not told else []
        return [*system, *self.messages, *messages]


class _Config(msgspec.Struct):
    ollama: Defaults | None = None


NOTHING = Defaults()
_config = msgspec.json.Decoder(_Config)


def defaults_of(config: bytes) -> Defaults:
    """Read them from a model's configuration; nothing, where there is nothing of that form."""
    try:
        return _config.decode(config).ollama or NOTHING
    except UNREADABLE:
        return NOTHING


def as_parameters(parameters: Mapping[str, Any]) -> str:
    """Write options as `show` prints them: a line for each value.

    Source: Ollama, server/routes.go, `GetModelInfo`.
    """
    rows = [
        (name, value)
        for name, given in sorted(parameters.items())
        for value in (given if isinstance(given, list) else [given])
    ]
    return "\n".join(f"{name:<30} {_written(value)}" for name, value in rows)


def _written(value: object) -> str:
    return msgspec.json.encode(value).decode() if isinstance(value, str | bool) else str(value)
