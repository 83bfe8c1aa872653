"""Whom a chat talks to: our daemon, or another server with OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from modelrunner.cli.names import display_name, matches
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest, RunnerError

if TYPE_CHECKING:
    from modelrunner.cli.chat.asking import Talker
    from modelrunner.client import OpenAIServer
    from modelrunner.wire.configuration import ConfigureRequest
    from modelrunner.wire.models import ModelView


class Peer(Protocol):
    """What a chat needs of the other side."""

    def talker(self) -> Talker:
        """Whom to ask."""
        ...

    def models(self) -> list[str]:
        """Name the models that are there."""
        ...

    def describe(self, name: str) -> ModelView | None:
        """Describe a model; None where nobody can."""
        ...

    def preload(self, name: str) -> None:
        """Load a model; returns once it is there."""
        ...

    def set_context_size(self, name: str, tokens: int) -> None:
        """Configure a model."""
        ...

    def context(self, name: str) -> int | None:
        """How many tokens a model's context holds; None when nobody says."""
        ...


class Daemon:
    """Our own daemon, or the reference's."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def talker(self) -> Talker:
        """The daemon, which is started when it has ended."""
        return self._session.client()

    def models(self) -> list[str]:
        """Name the models as tables show them."""
        registry = self._session.settings.default_registry
        views = self._session.client().models(brief=True)
        return sorted(display_name(tag, registry) for view in views for tag in view.get("tags") or [])

    def describe(self, name: str) -> ModelView | None:
        """Describe a model.

        Raises:
            ModelNotFound: it is not here.
        """
        return self._session.client().model(name)

    def preload(self, name: str) -> None:
        """Load a model."""
        self._session.client().preload(name)

    def set_context_size(self, name: str, tokens: int) -> None:
        """Change this one thing; a daemon of the reference would forget the others."""
        client = self._session.client()
        rows = client.configurations(name)
        kept = next((row["Config"] for row in rows if row.get("Mode") == "completion"), None)
        request: ConfigureRequest = {**(kept or {}), "model": name, "mode": "completion"}
        request["context-size"] = tokens
        client.configure(request)

    def context(self, name: str) -> int | None:
        """Look at what is in memory. It is only a comfort, so nothing that is wrong is said."""
        try:
            running = self._session.client(start=False).running()
        except RunnerError:
            return None
        registry = self._session.settings.default_registry
        rows = (row for row in running if matches(row["model_name"], name, registry))
        return next((row["context_size"] for row in rows if "context_size" in row), None)


class Server:
    """A server with OpenAI's API and nothing else."""

    def __init__(self, server: OpenAIServer) -> None:
        self._server = server

    def talker(self) -> Talker:
        """The server itself."""
        return self._server

    def models(self) -> list[str]:
        """Name the models as the server does."""
        return sorted(self._server.models())

    def describe(self, _name: str) -> ModelView | None:
        """Nobody knows."""
        return None

    def preload(self, name: str) -> None:
        """Leave it to the server."""

    def set_context_size(self, _name: str, _tokens: int) -> None:
        """Refuse.

        Raises:
            InvalidRequest: always.
        """
        raise InvalidRequest("the server at --openaiurl chooses its context size itself")

    def context(self, _name: str) -> int | None:
        """Nobody says."""
        return None
