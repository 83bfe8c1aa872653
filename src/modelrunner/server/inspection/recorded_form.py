"""Recorded requests in the form of Docker Model Runner, which its clients read. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec

from modelrunner.recorder.documents import JSON, dict_of, read_json
from modelrunner.recorder.shortening import as_reference

_ORIGINS = {"ollama": "ollama/completion", "anthropic": "anthropic/messages"}
_NEVER_ANSWERED = 408
_FIRST_ERROR = 400


def groups(rows: Iterable[JSON], *, named: bool = False) -> list[JSON]:
    """Group rows, oldest first, by model; called by id, or by the `named` that was asked for."""
    by_model: dict[str, list[JSON]] = {}
    for row in rows:
        by_model.setdefault(row["model_id"], []).append(row)
    return [
        {
            "count": len(of_model),
            "model": of_model[-1]["model"] if named else model,
            "config": dict_of(read_json(dict_of(read_json(of_model[-1]["detail"])).get("config") or "{}")),
            "records": [_record(row) for row in of_model],
        }
        for model, of_model in by_model.items()
    ]


def not_asked(model: str, config: object) -> JSON:
    """The group of a model that is loaded, and of which no request is recorded."""
    return {"count": 0, "model": model, "config": config, "records": []}


def _record(row: JSON) -> JSON:
    record: JSON = {
        "id": f"{row['model_id']}_{int(row['at'] * 1e6)}{row['id'] % 1000:03d}",
        "model": row["model"],
        "method": row["method"],
        "url": row["path"],
        "request": _request(row["request"]),
        "timestamp": int(row["at"]),
        "status_code": row["status"] or _NEVER_ANSWERED,
    }
    error = _error(row)
    if error is not None:
        record["error"] = error
    elif row["response"]:
        record["response"] = as_reference(row["response"])
    if row["user_agent"]:
        record["user_agent"] = row["user_agent"]
    origin = _ORIGINS.get(row["dialect"])
    return {**record, "origin": origin} if origin is not None else record


def _request(text: str) -> str:
    """A chat with its keys in order, as the reference writes it again; anything else as it came."""
    document: Any = read_json(text)
    if isinstance(document, dict) and isinstance(document.get("messages"), list):
        text = msgspec.json.encode(document, order="sorted").decode()
    return as_reference(text)


def _error(row: JSON) -> str | None:
    status, body = row["status"], row["response"]
    if status >= _FIRST_ERROR:
        if body and read_json(body) is not None:
            return str(body)
        return _encoded({"error": body or row["error"] or "unknown error"})
    if row["outcome"] == "failed":
        details = {"message": row["error"] or "streaming error", "type": "server_error", "details": ""}
        return _encoded({"status_code": 500, **details})
    return None


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
