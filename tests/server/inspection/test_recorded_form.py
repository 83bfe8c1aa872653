"""Requests in the form of Docker Model Runner."""

import json
from typing import Any

import pytest

from modelrunner.server.inspection.recorded_form import groups


def row(**other: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "at": 1_800_000_000.25,
        "model_id": "sha256:ab",
        "model": "ai/tiny",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "ok",
        "error": None,
        "dialect": "openai",
        "user_agent": "",
        "request": '{"model":"ai/tiny"}',
        "response": '{"choices":[]}',
        "detail": '{"config":"{\\"context-size\\":4096}"}',
        **other,
    }


def only(**other: Any) -> dict[str, Any]:
    [group] = groups([row(**other)])
    [record] = group["records"]
    found: dict[str, Any] = record
    return found


def test_requests_are_grouped_by_model_with_the_last_configuration() -> None:
    rows = [row(), row(id=8, model_id="sha256:cd"), row(id=9, model="ai/alias", detail="{}")]

    first, second = groups(rows)

    assert ("sha256:ab", 2, {}) == (first["model"], first["count"], first["config"])
    assert ("sha256:cd", 1, {"context-size": 4096}) == (second["model"], second["count"], second["config"])
    assert ["ai/alias", "ai/tiny"] == [group["model"] for group in groups(rows, named=True)]


def test_a_record_has_the_fields_that_clients_read() -> None:
    assert {
        "id": "sha256:ab_1800000000250000007",
        "model": "ai/tiny",
        "method": "POST",
        "url": "/v1/chat/completions",
        "request": '{"model":"ai/tiny"}',
        "timestamp": 1_800_000_000,
        "status_code": 200,
        "response": '{"choices":[]}',
    } == only()


@pytest.mark.parametrize(
    ("other", "field", "expected"),
    [
        ({"dialect": "ollama"}, "origin", "ollama/completion"),
        ({"dialect": "anthropic"}, "origin", "anthropic/messages"),
        ({"user_agent": "curl/8"}, "user_agent", "curl/8"),
        ({"status": 0}, "status_code", 408),
        (
            {"request": '{"z":1,"messages":[],"a":2}'},
            "request",
            '{"a":2,"messages":[],"z":1}',
        ),
        ({"request": '{"z":1,"a":2}'}, "request", '{"z":1,"a":2}'),
        (
            {"response": "iVBOR...[truncated 4096 chars; sha256:" + "0" * 64 + ", 3145 bytes]"},
            "response",
            "iVBOR...[truncated 4096 chars]",
        ),
    ],
)
def test_a_field_is_written_as_the_reference_has_it(
    other: dict[str, Any], field: str, expected: object
) -> None:
    assert expected == only(**other)[field]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"status": 404, "response": '{"error":"no model"}'}, {"error": "no model"}),
        ({"status": 404, "response": "no model"}, {"error": "no model"}),
        ({"status": 500, "response": None, "error": "gone"}, {"error": "gone"}),
        ({"status": 500, "response": None}, {"error": "unknown error"}),
        (
            {"outcome": "failed", "error": "broke off"},
            {"status_code": 500, "message": "broke off", "type": "server_error", "details": ""},
        ),
        (
            {"outcome": "failed"},
            {"status_code": 500, "message": "streaming error", "type": "server_error", "details": ""},
        ),
    ],
)
def test_what_failed_has_an_error_and_no_response(other: dict[str, Any], expected: object) -> None:
    record = only(**other)

    assert expected == json.loads(record["error"])
    assert "response" not in record
