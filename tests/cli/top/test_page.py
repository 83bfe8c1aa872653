"""The page of `top`, at every size."""

from datetime import UTC, datetime
from typing import Any

import pytest

from modelrunner.cli.cells import width_of
from modelrunner.cli.top.meters import Meters
from modelrunner.cli.top.page import Given, lay_out
from modelrunner.cli.top.picture import Picture, rows
from modelrunner.cli.top.rates import Rates

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def _model(name: str, **fields: Any) -> Any:
    return {
        "backend_name": "llama.cpp",
        "model_name": name,
        "mode": "completion",
        "last_used": "2026-03-01T12:00:00Z",
        "keep_alive": "5m0s",
        "context_size": 8192,
        "memory": 557_000_000,
        "requests": 0,
        "waiting": 0,
        **fields,
    }


def _picture(models: int = 4) -> Picture:
    running = [
        _model("ai/busy:latest", in_use=True, requests=2, waiting=1),
        _model("ai/loading:latest", loading=True),
        _model("ai/日本語:1b", pinned=True, mode="embedding"),
        _model("ai/sleeping:latest", asleep=True),
        *(_model(f"ai/more{number:03}:latest") for number in range(models - 4)),
    ]
    waiting: Any = [
        {"position": 1, "model": "ai/loading:latest", "mode": "completion", "waited": 3.2, "text": "it loads"}
    ]
    events: Any = [
        {
            "at": f"2026-03-01T11:{minute:02}:00Z",
            "model": "ai/busy:latest",
            "mode": "completion",
            "text": "ready",
        }
        for minute in range(30)
    ]
    return Picture(running[:models], waiting, events, {"status": "ok"}, 24_000_000_000, 2, "1.1.0")


def _rates() -> Rates:
    rates = Rates()
    for second in range(61):
        rates.take(second, Meters({"": second * 0.5}, {"a": second * 48.0}))
    return rates


def _page(
    picture: Picture, width: int = 100, height: int = 24, chosen: int = 0, message: str = ""
) -> list[str]:
    given = Given(rows(picture, NOW, ""), chosen, "http://127.0.0.1:12434", "", message, 60.0)
    lines = lay_out(picture, _rates(), given, width, height)
    return ["".join(span.text for span in line) for line in lines]


def test_everything_is_on_one_page() -> None:
    """Head, models, queue and events, and the keys below."""
    lines = [line.rstrip() for line in _page(_picture(), height=19)]

    assert lines[0] == "dmr top · http://127.0.0.1:12434 · 1.1.0"
    assert lines[1] == "memory    ━━────────────────── 2.2 GB of 24.0 GB · 4 of 2 places"
    assert lines[2].startswith("rate      ▁▁▁▁")
    assert lines[2].endswith("  48.0 tokens/s · 0.5 requests/s")
    assert lines[3:14] == [
        "",
        "MODEL                  STATE    MEMORY  REQUESTS  WAITING  CONTEXT  UNTIL      ENGINE",
        "busy                   busy     557 MB         2        1    8,192  5 minutes  llama.cpp",
        "loading                loading  557 MB         0        0    8,192             llama.cpp",
        "sleeping               asleep   557 MB         0        0    8,192             llama.cpp",
        "日本語:1b (embedding)  idle     557 MB         0        0    8,192  pinned     llama.cpp",
        "",
        "QUEUE",
        "1  loading  3 s  it loads",
        "",
        "EVENTS",
    ]
    assert lines[14].endswith("  busy  ready")
    assert lines[18] == "↑↓ choose · u unload · p pin · q quit"


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 15, 16, 40])
@pytest.mark.parametrize("width", [1, 10, 20, 40, 79, 200])
@pytest.mark.parametrize("models", [0, 1, 4, 50])
def test_it_fits_at_every_size(width: int, height: int, models: int) -> None:
    """Exactly as many lines, none too wide."""
    lines = _page(_picture(models), width, height)

    assert len(lines) == height
    assert max(map(width_of, lines)) <= width


def test_columns_go_one_by_one_when_it_becomes_narrow() -> None:
    """The model and its state stay longest."""
    headers = [_page(_picture(), width)[4].split() for width in (100, 70, 50, 38, 20, 12)]

    assert headers == [
        ["MODEL", "STATE", "MEMORY", "REQUESTS", "WAITING", "CONTEXT", "UNTIL", "ENGINE"],
        ["MODEL", "STATE", "MEMORY", "REQUESTS", "WAITING", "UNTIL"],
        ["MODEL", "STATE", "MEMORY", "REQUESTS"],
        ["MODEL", "STATE", "MEMORY"],
        ["MODEL", "STATE"],
        ["MODEL"],
    ]


def test_the_chosen_model_is_in_sight() -> None:
    """However many there are."""
    picture = _picture(50)
    names = [row.model for row in rows(picture, NOW, "")]

    for chosen in (0, 10, 25, 49):
        assert any(line.startswith(names[chosen]) for line in _page(picture, chosen=chosen))


def test_what_is_wrong_takes_the_last_line() -> None:
    """Before a message, and that before the keys."""
    picture = _picture()
    assert _page(picture, message="busy is unloaded")[-1] == "busy is unloaded"
    picture.health = {"status": "stalled", "seconds": 130.0, "text": "waits for memory\x1b[2J"}
    assert _page(picture, message="x")[-1] == "stalled for 130 s: waits for memory\ufffd[2J"
    picture.problem = "no daemon answers"

    assert _page(picture)[-1] == "no daemon answers"


def test_nothing_in_memory_is_said() -> None:
    """Rather than an empty table."""
    assert "No models are in memory." in _page(Picture())


def test_long_queues_are_cut() -> None:
    """With how many more there are."""
    picture = _picture()
    picture.queue = [*picture.queue] * 40

    assert "… and 34 more" in _page(picture)
