"""The two methods of any server with OpenAI's API that a chat needs."""

from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple, TypedDict

from modelrunner.client.answers import Message, Piece, ask
from modelrunner.client.shape import INTEGER, TEXT, Expected
from modelrunner.client.transport import Address, Transport


class _Row(TypedDict):
    id: str
    created: int | None


class _Rows(TypedDict):
    data: list[_Row]


_MODELS = Expected[_Rows]({"data": [{"id": TEXT, "created?": (None, INTEGER)}]})


class Listed(NamedTuple):
    """A model of a server; `created` is in Unix seconds, 0 when it does not say."""

    id: str
    created: int


class OpenAIServer:
    """A server at a base address such as `http://localhost:8000/v1`. No key is sent."""

    def __init__(self, address: Address, *, user_agent: str) -> None:
        self._transport = Transport(address, user_agent=user_agent)

    def chat(
        self, name: str, messages: Sequence[Message], options: Mapping[str, object] | None = None
    ) -> Generator[Piece, None, None]:
        """Ask a model and yield its answer as it comes.

        Raises:
            EngineFailed: the stream ended before the answer did.
        """
        request = {"model": name, "messages": messages, **(options or {})}
        yield from ask(self._transport, "/chat/completions", request)

    def models(self) -> list[str]:
        """Name the models that the server has."""
        return [model.id for model in self.listing()]

    def listing(self) -> list[Listed]:
        """List the models that the server has."""
        reply = self._transport.call("GET", "/models", _MODELS)
        return [Listed(row["id"], row.get("created") or 0) for row in reply["data"]]
