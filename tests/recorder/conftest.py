"""Requests as the data path notes them, and a file to keep them in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelrunner.recorder.database import open_to_write
from modelrunner.recorder.reading import read_noted
from modelrunner.recorder.redaction import Rules
from modelrunner.recorder.values import Circumstances, Entry, Instance, Noted, Notes, Seen
from modelrunner.recorder.writing import Writing

MODEL = "sha256:" + "ab" * 32
CHAT = "/v1/chat/completions"


def noted(
    prompt: str = "hello", answer: str = "Hi there!", *, body: Any = None, response: Any = None, **more: Any
) -> Noted:
    """A request as it comes; `body` and `response` are JSON, or bytes."""
    if body is None:
        body = {"model": "ai/tiny", "messages": [{"role": "user", "content": prompt}], "temperature": 0.5}
    if response is None:
        response = {
            "object": "chat.completion",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        }
    who: dict[str, Any] = {
        "model_id": MODEL,
        "name": "ai/tiny:latest",
        "backend": "llama.cpp",
        "mode": "completion",
        "context_size": 4096,
        "config": "{}",
    }
    given: dict[str, Any] = {
        "at": 1_800_000_000.0,
        "request_id": "req_1",
        "method": "POST",
        "path": CHAT,
        "model": "ai/tiny",
        "address": "127.0.0.1",
        "user_agent": "OpenAI/Python 1.2",
        "key": None,
        "replay_of": None,
        "trace": None,
        "request_type": "application/json",
        "answer_type": "application/json",
        "status": 200,
        "outcome": "ok",
        "error": None,
        "asked": 0.5,
        "first": 0.7,
        "last": 1.2,
        "seconds": 1.25,
        "queued": 0.5,
        "loading": 0.3,
        "cut": False,
        "keep": True,
        "body": body if isinstance(body, bytes) else json.dumps(body).encode(),
        "answer": response if isinstance(response, bytes) else json.dumps(response).encode(),
        **{name: value for name, value in more.items() if name not in who},
    }
    for header in ("request_id", "user_agent", "key", "replay_of", "trace", "request_type", "answer_type"):
        if isinstance(given[header], str):
            given[header] = given[header].encode()
    who |= {name: value for name, value in more.items() if name in who}
    return Noted(instance=Instance(**who) if who["model_id"] else None, **given)


def seen(noted: Noted, who: int = 0) -> Seen:
    """The same request as the data path hands it over, which came when its clock was at nothing."""
    headers = {
        b"user-agent": noted.user_agent,
        b"authorization": noted.key,
        b"x-replay-of": noted.replay_of,
        b"traceparent": noted.trace,
        b"content-type": noted.request_type,
    }
    return Seen(
        at=noted.at,
        since=0.0,
        method=noted.method,
        path=noted.path,
        address=noted.address,
        headers=[(name, value) for name, value in headers.items() if value is not None],
        name=noted.request_id,
        body=noted.body,
        model=noted.model,
        status=noted.status,
        media_type=noted.answer_type,
        pieces=[noted.answer],
        size=len(noted.answer),
        cut=noted.cut,
        first=noted.first or 0.0,
        last=noted.last or 0.0,
        timing=None if noted.asked is None else (noted.queued, noted.loading, noted.asked),
        ended=noted.seconds,
        error=noted.error,
        left=noted.outcome == "cancelled",
        engine=[noted.engine],
        who=who,
    )


def notes(number: int, *every: Noted) -> Notes:
    """A batch of requests, each in its own circumstances."""
    circumstances = [Circumstances(each.instance, each.keep) for each in every]
    return Notes(number, circumstances, [seen(each, who) for who, each in enumerate(every)])


def entry(prompt: str = "hello", answer: str = "Hi there!", **more: Any) -> Entry:
    """A request as it is stored."""
    return read_noted(noted(prompt, answer, **more), Rules(), b"salt")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "requests.db"


@pytest.fixture
def writing(file: Path) -> Iterator[Writing]:
    """A file with nothing in it, to write."""
    connection = open_to_write(file)
    try:
        yield Writing(connection, limit=1 << 30, lifetime=1e9)
    finally:
        connection.close()
