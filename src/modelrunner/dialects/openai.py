"""OpenAI's form: what the engines speak themselves, so only errors and the list of models are made here."""

from collections.abc import Iterable

import msgspec

from modelrunner.errors import RunnerError
from modelrunner.wire.errors import ErrorBody
from modelrunner.wire.models import ModelFacts, OpenAIModel, OpenAIModelList


class OpenAI:
    """The dialect of `/v1`.

    Source: OpenAI API reference, "Error codes"; `hint` is ours, and clients ignore it.
    """

    name_header: bytes | None = None

    def error(self, exc: RunnerError) -> bytes:
        """Write `{"error": {...}}`."""
        return msgspec.json.encode(error_body(exc))

    def late_error(self, exc: RunnerError) -> bytes:
        """Write a `data:` event with the same content; clients raise it as they would a status."""
        return b"data: " + self.error(exc) + b"\n\n"


def error_body(exc: RunnerError) -> ErrorBody:
    """Describe an error as OpenAI does, with the way out in `hint`."""
    param = exc.detail.get("param")
    body: ErrorBody = {
        "error": {
            "message": exc.message,
            "type": exc.openai_type,
            "code": exc.code,
            "param": param if isinstance(param, str) else None,
        }
    }
    if exc.hint:
        body["error"]["hint"] = exc.hint
    return body


def model_item(
    *, model_id: str, created: int, owner: str = "docker", facts: ModelFacts | None = None
) -> OpenAIModel:
    """Describe one model; `created` is in Unix seconds. `facts` is left out when nothing is known."""
    item: OpenAIModel = {"id": model_id, "object": "model", "created": created, "owned_by": owner}
    if facts:
        item["dmr"] = facts
    return item


def model_list(items: Iterable[OpenAIModel]) -> OpenAIModelList:
    """Wrap models as `GET /v1/models` answers."""
    return {"object": "list", "data": list(items)}
