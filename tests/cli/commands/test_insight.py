"""The commands that say why: events and explain, and what ps counts."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

GONE: dict[str, Any] = {
    "id": 7,
    "at": "2026-01-31T12:00:00.000Z",
    "kind": "gone",
    "reason": "place_needed",
    "text": "unloaded: another model needs its place (`ai/b`)",
    "model": "ai/smollm2:latest",
    "model_id": "sha256:" + "a" * 64,
    "backend": "llama.cpp",
    "mode": "completion",
    "detail": "",
    "others": ["ai/b:latest"],
}


@pytest.fixture(autouse=True)
def _in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_events_are_a_line_each(daemon: "Daemon", dmr: "Run") -> None:
    """The time, the model, what happened and why; a mode that is not the usual one is named."""
    embedding = GONE | {"mode": "embedding", "model": GONE["model_id"], "text": "ready after 1 s\x1b[2J"}
    daemon.json("GET", "/engines/events", [GONE, embedding])

    assert (
        "2026-01-31 12:00:00  smollm2  unloaded: another model needs its place (`ai/b`)\n"
        "2026-01-31 12:00:00  aaaaaaaaaaaa (embedding)  ready after 1 s\ufffd[2J\n"
    ) == dmr("events").out


def test_events_can_be_narrowed_down(daemon: "Daemon", dmr: "Run") -> None:
    """The daemon does it; what it gives can be had as it is."""
    daemon.json("GET", "/engines/events", [GONE])

    assert GONE == json.loads(dmr("events", "--json", "--model", "smollm2", "--since", "10m").out)
    assert {"model": "smollm2", "since": "10m"} == daemon.seen[-1].query


def test_events_are_followed(daemon: "Daemon", dmr: "Run") -> None:
    """Comments are passed over; what is missing, and why the stream ended, is said on stderr."""
    pieces = (
        ": still here\n\n"
        f"id: 7\ndata: {json.dumps(GONE)}\n\n"
        'event: lost\ndata: {"lost":3}\n\n'
        f"id: 8\ndata: {json.dumps(GONE)}\n\n"
        'event: end\ndata: {"reason":"shutting_down","text":"the daemon is shutting down"}\n\n'
    )
    daemon.sends("GET", "/engines/events", pieces.encode(), media="text/event-stream")
    outcome = dmr("events", "-f")

    assert 0 == outcome.code
    assert 2 == len(outcome.out.splitlines())
    assert "3 events are missing: they came too fast\nthe daemon is shutting down\n" == outcome.err
    assert "text/event-stream" in daemon.seen[-1].headers["Accept"]


@pytest.mark.parametrize("data", ["no json", "[]", "{}"])
def test_events_that_cannot_be_read_are_an_error(daemon: "Daemon", dmr: "Run", data: str) -> None:
    """Somebody else answers there."""
    daemon.sends("GET", "/engines/events", f"data: {data}\n\n".encode(), media="text/event-stream")

    assert 1 == dmr("events", "--follow").code


def test_a_model_is_explained_in_sentences(daemon: "Daemon", dmr: "Run") -> None:
    """Then comes what happened to it lately."""
    document = {"sentences": ["`ai/a` is not loaded.", "A request now loads it at once."], "events": [GONE]}
    daemon.json("GET", "/engines/explain", document)

    assert (
        "`ai/a` is not loaded.\nA request now loads it at once.\n\nLately:\n"
        "  2026-01-31 12:00:00  smollm2  unloaded: another model needs its place (`ai/b`)\n"
    ) == dmr("explain", "a", "--mode", "embedding", "--backend", "llama.cpp").out
    assert {"model": "a", "mode": "embedding", "backend": "llama.cpp"} == daemon.seen[-1].query


def test_an_explanation_can_be_read_by_programs(daemon: "Daemon", dmr: "Run") -> None:
    """Everything that the daemon says."""
    document: dict[str, Any] = {"sentences": [], "events": [], "starts": True}
    daemon.json("GET", "/engines/explain", document)

    assert document == json.loads(dmr("explain", "--json", "a").out)


def test_an_unknown_model_is_not_explained(daemon: "Daemon", dmr: "Run") -> None:
    """It is not found."""
    daemon.refuses("/engines/explain", "model_not_found", "model not found: `a`", method="GET", status=404)

    assert 3 == dmr("explain", "a").code


def test_ps_counts_requests(daemon: "Daemon", dmr: "Run") -> None:
    """In flight, and waiting."""
    model = {"backend_name": "llama.cpp", "mode": "completion", "last_used": "", "model_name": "a"}
    daemon.json("GET", "/engines/ps", [model | {"keep_alive": "-1", "requests": 2, "waiting": 3}])

    assert (
        "MODEL NAME  BACKEND    MODE        UNTIL    REQUESTS  WAITING  \n"
        "a           llama.cpp  completion  Forever  2         3        \n"
    ) == dmr("ps").out
