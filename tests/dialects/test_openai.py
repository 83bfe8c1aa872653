"""OpenAI's form of errors and of the list of models."""

import json

from modelrunner.dialects.openai import OpenAI, model_item, model_list
from modelrunner.errors import EngineFailed, ModelNotFound


def test_an_error_has_openais_fields_and_our_hint() -> None:
    """Clients find message, type, code and param; ours find the hint too."""
    body = json.loads(OpenAI().error(ModelNotFound("model not found: `x`", hint="pull it")))

    assert {
        "error": {
            "message": "model not found: `x`",
            "type": "invalid_request_error",
            "code": "model_not_found",
            "param": None,
            "hint": "pull it",
        }
    } == body


def test_without_a_hint_there_is_no_field_for_it() -> None:
    """An absent hint is left out."""
    assert "hint" not in json.loads(OpenAI().error(EngineFailed("gone")))["error"]


def test_a_late_error_is_one_event() -> None:
    """Inside a stream the same content is the data of one event, on one line."""
    event = OpenAI().late_error(EngineFailed("gone:\nlast line"))

    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert 2 == event.count(b"\n")


def test_the_list_wraps_its_items() -> None:
    """`dmr` is there when something is known, and left out when not."""
    known = model_item(model_id="ai/a:latest", created=7, facts={"size": "1 MiB"})
    unknown = model_item(model_id="ai/b:latest", created=0, facts={})

    assert {
        "object": "list",
        "data": [
            {
                "id": "ai/a:latest",
                "object": "model",
                "created": 7,
                "owned_by": "docker",
                "dmr": {"size": "1 MiB"},
            },
            {"id": "ai/b:latest", "object": "model", "created": 0, "owned_by": "docker"},
        ],
    } == model_list([known, unknown])
