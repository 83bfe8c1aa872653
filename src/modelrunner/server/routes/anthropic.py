"""Anthropic's messages, their counts, and its list of models."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from modelrunner.dialects.anthropic import (
    JSON,
    Anthropic,
    CountRequest,
    MessagesRequest,
    body_of,
    has_pictures,
    read,
    read_count,
    wishes_of,
)
from modelrunner.dialects.anthropic_answers import Messages
from modelrunner.dialects.base import Question, Timing
from modelrunner.models.description.kinds import Mode
from modelrunner.runtime.instance import Instance
from modelrunner.server.connection.replies import json_reply
from modelrunner.server.inference.asking import count_tokens
from modelrunner.server.inference.call import Call, Endpoint, Reply, Request
from modelrunner.server.library.abilities import Ability
from modelrunner.server.services import Services
from modelrunner.store.snapshot import StoredModel

_CHAT = "/v1/chat/completions"
_MESSAGES, _COUNT = "/v1/messages", "/v1/messages/count_tokens"
_EPOCH = datetime.fromtimestamp(0, UTC)


def endpoints(services: Services) -> Mapping[str, Endpoint]:
    """The paths that may name an engine."""
    routes, dialect = _Routes(services), Anthropic()
    return {
        _MESSAGES: Endpoint(Mode.COMPLETION, _CHAT, dialect=dialect, understand=routes.messages),
        _COUNT: Endpoint(Mode.COMPLETION, _CHAT, dialect=dialect, understand=routes.count),
    }


def plain_endpoints(services: Services) -> Mapping[str, Endpoint]:
    """The same behind `/anthropic`, which is the base address for Anthropic's clients."""
    return {f"/anthropic{path}": endpoint for path, endpoint in endpoints(services).items()}


async def list_models(services: Services, _request: HttpRequest) -> Response:
    """`GET /anthropic/v1/models`; all of them, whatever page is asked for."""
    items = [_item(services, model) for model in services.catalogue.models]
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
    return json_reply({"data": items, "has_more": False, "first_id": None, "last_id": None, **ends})


async def look(services: Services, request: HttpRequest) -> Response:
    """`GET /anthropic/v1/models/{name}`."""
    return json_reply(_item(services, services.catalogue.find(request.path_params["name"])))


def _item(services: Services, model: StoredModel) -> dict[str, object]:
    created = services.catalogue.description(model).created or _EPOCH
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": created.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z",
    }


class _Routes:
    """`Understand` for each path."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def messages(self, request: Request) -> Call:
        """`POST /v1/messages`."""
        asked = read(request.body)
        body = body_of(asked) | wishes_of(asked)
        await self._check(asked, body, request.engine)
        translator = Messages(
            asked.model,
            streams=bool(asked.stream),
            thinks=asked.thinks,
            stops=asked.stop_sequences or [],
            max_tokens=asked.max_tokens,
        )
        # To end at a stop sequence, what the engine says has to be seen as it comes.
        stream = bool(asked.stream) or bool(asked.stop_sequences)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
        question = Question(_CHAT, msgspec.json.encode(body), stream=stream, translator=translator)
        return Call(asked.model, Mode.COMPLETION, question, engine=request.engine)

    async def count(self, request: Request) -> Call:
        """`POST /v1/messages/count_tokens`."""
        asked = read_count(request.body)
        body = body_of(asked)
        await self._check(asked, body, request.engine)

        async def work(instance: Instance, _timing: Timing) -> Reply:
            return Reply(msgspec.json.encode({"input_tokens": await count_tokens(instance, body)}) + b"\n")

        return Call(asked.model, Mode.COMPLETION, work, engine=request.engine)

    async def _check(self, asked: CountRequest | MessagesRequest, body: JSON, engine: str | None) -> None:
        """Refuse what the model is known not to do."""
        key = await self._services.catalogue.key((asked.model, Mode.COMPLETION, engine))
        facts = await self._services.abilities.of(self._services.catalogue.by_id(key.model))
        if asked.tools and body.get("tool_choice") != "none":
            facts.demand(Ability.TOOLS, asked.model)
        if has_pictures(body):
            facts.demand(Ability.VISION, asked.model)
