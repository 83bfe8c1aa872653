"""`top` in Textual's own harness, against a scripted daemon."""

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from modelrunner.cli.session import Session
from modelrunner.cli.top.app import Top

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon

METRICS = "modelrunner_memory_capacity_bytes 1e9\nmodelrunner_places 2\nmodelrunner_requests_total 1\n"


def _model(name: str, **fields: Any) -> dict[str, Any]:
    return {"backend_name": "llama.cpp", "model_name": name, "mode": "completion", "memory": 1000, **fields}


@pytest.fixture
def served(daemon: "Daemon") -> "Daemon":
    daemon.json("GET", "/version", {"version": "1.1.0"})
    daemon.json("GET", "/engines/queue", [])
    daemon.json("GET", "/health", {"status": "ok"})
    daemon.text("GET", "/metrics", METRICS)
    daemon.json("GET", "/engines/ps", [_model("ai/a:latest"), _model("ai/b:latest", pinned=True)])
    event = '{"id":1,"at":"2026-03-01T12:00:00Z","model":"ai/a:latest","mode":"completion","text":"ready"}'
    daemon.sends(
        "GET", "/engines/events", f"event: ready\ndata: {event}\n\n".encode(), media="text/event-stream"
    )
    daemon.json("POST", "/engines/unload", {"unloaded_runners": 1})
    daemon.json("PATCH", "/engines/_configure", {})
    return daemon


def _top(daemon: "Daemon") -> Top:
    return Top(Session("dmr", {"MODEL_RUNNER_HOST": daemon.url, "HOME": "/nonexistent"}))


async def _until(pilot: Pilot[int], holds: Callable[[str], bool]) -> str:
    """Wait until the page is as it should be; returns it."""
    async with asyncio.timeout(20):
        while not holds(text := str(pilot.app.query_one("#page", Static).content)):
            await pilot.pause(0.02)
    return text


async def test_models_and_events_are_shown(served: "Daemon") -> None:
    """As the daemon tells them."""
    async with _top(served).run_test(size=(100, 20)) as pilot:
        text = await _until(pilot, lambda text: "ready" in text and "llama.cpp" in text)

    assert "2.0 kB of 1.0 GB · 2 of 2 places" in text
    assert "a      idle" in text
    assert "pinned" in text


async def test_keys_unload_and_pin_the_chosen_model(served: "Daemon") -> None:
    """Which the arrows choose, or j and k."""
    async with _top(served).run_test(size=(100, 20)) as pilot:
        await _until(pilot, lambda text: "llama.cpp" in text)
        await pilot.press("p")
        await _until(pilot, lambda text: "a stays in memory from now on" in text)
        await pilot.press("down", "down", "j")
        await pilot.press("u")
        await _until(pilot, lambda text: "b is unloaded" in text)
        await pilot.press("p")
        await _until(pilot, lambda text: "b goes when it is idle" in text)
        served.refuses("/engines/unload", "conflict", "it is busy\x1b[2J", status=409)
        served.replies["POST", "/engines/unload"].pop(0)
        await pilot.press("k", "u")
        await _until(pilot, lambda text: "it is busy\ufffd[2J" in text)

    changed = [seen.json for seen in served.seen if seen.path == "/engines/_configure"]
    unloaded = [seen.json for seen in served.seen if seen.path == "/engines/unload"]
    assert changed == [{"model": "ai/a:latest", "pinned": True}, {"model": "ai/b:latest", "pinned": False}]
    assert [body["models"] for body in unloaded if isinstance(body, dict)] == [
        ["ai/b:latest"],
        ["ai/a:latest"],
    ]


async def test_a_daemon_without_metrics_has_no_rates(served: "Daemon") -> None:
    """The rest is there."""
    del served.replies["GET", "/metrics"]
    async with _top(served).run_test(size=(100, 20)) as pilot:
        text = await _until(pilot, lambda text: "llama.cpp" in text)

    assert "tokens/s" not in text


async def test_it_waits_for_a_daemon_and_can_be_left(served: "Daemon") -> None:
    """What is wrong is said; `q` leaves at once."""
    served.refuses("/engines/ps", "x", "not now", method="GET", status=500)
    served.replies["GET", "/engines/ps"].reverse()
    served.replies["GET", "/engines/ps"][1:1] = []
    app = _top(served)
    async with app.run_test(size=(60, 10)) as pilot:
        await _until(pilot, lambda text: "not now; trying again" in text)
        await _until(pilot, lambda text: "idle" in text)
        await pilot.press("q")

    assert app.return_value is None
    assert app._exit


async def test_a_signal_to_end_leaves_as_a_key_does(served: "Daemon") -> None:
    """So that the terminal is what it was, and the code is a shell's for that signal."""
    app = _top(served)
    async with app.run_test(size=(60, 10)) as pilot:
        await _until(pilot, lambda text: "idle" in text)
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while not app._exit:
                await pilot.pause(0.02)

    assert app.return_value == 143
