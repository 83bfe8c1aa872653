"""`bench`: levels of concurrency, one after the other."""

import json
from typing import TYPE_CHECKING

import pytest

from modelrunner.cli.levels import Level, Request, compare, describe, document

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

CHAT = "/engines/v1/chat/completions"
LEVELS = [
    Level(1, 10.0, [Request(100, 2.0), Request(300, 8.0)]),
    Level(4, 10.0, [Request(210, 1.0)] * 4, failed=2),
]


def _answer(tokens: int | None, content: str = "12345678") -> dict[str, object]:
    usage = {} if tokens is None else {"usage": {"completion_tokens": tokens}}
    return {"choices": [{"message": {"content": content}, "finish_reason": "stop"}], **usage}


def test_a_level_is_told_when_it_is_over() -> None:
    """All tokens of all answers, by the time that passed."""
    assert describe(LEVELS[1]) == (
        "  Tokens per second: 84.00 TPS\n  Requests per second: 0.40\n  Total tokens: 840\n"
        "  Total requests: 4\n  Failed requests: 2\n  Total time: 10s\n"
    )


def test_levels_are_compared_with_the_first() -> None:
    """The fastest is marked, and summed up."""
    assert compare(LEVELS) == (
        "Benchmark #1: Tokens per Second at Different Concurrency Levels\n"
        "  Concurrency 1: 40.00 tokens/sec (rel. speed: 1.00x)\n"
        "  Concurrency 4: 84.00 tokens/sec (rel. speed: 2.10x) fastest\n\n"
        "Summary:\n  Max Tokens/sec: 84.00\n  Best concurrency: 4\n  Improvement from 1: 2.10x\n\n"
        "Detailed Results:\n"
        "Concurrency  Tokens/sec  Rel. Speed  Requests/sec  Total Tokens  Latency p50  p95    \n"
        "1            40.00       1.00x       0.20          400           8.00s        8.00s  \n"
        "4            84.00       2.10x       0.40          840           1.00s        1.00s  \n"
    )


def test_json_has_the_reference_s_fields() -> None:
    """Times in nanoseconds, and each answer's tokens."""
    results = document("m", "p", LEVELS[:1])["results"]

    assert results == [
        {
            "Concurrency": 1,
            "MeanRPS": 0.2,
            "TotalTokens": 400,
            "TPS": 40.0,
            "TotalTime": 10_000_000_000,
            "Requests": 2,
            "TokenCounts": [100, 300],
            "Failed": 0,
            "LatencyP50": 8_000_000_000,
            "LatencyP95": 8_000_000_000,
        }
    ]


@pytest.mark.parametrize(("tokens", "counted"), [(7, 7), (None, 2)])
def test_the_model_is_loaded_and_then_asked(
    daemon: "Daemon", dmr: "Run", tokens: int | None, counted: int
) -> None:
    """Not streamed; an answer without a count is counted by its length."""
    daemon.json("GET", "/models/m", {})
    daemon.json("POST", CHAT, _answer(tokens))

    outcome = dmr("bench", "--duration", "30ms", "--concurrency", "1,2", "--prompt", "hi", "--json", "m")

    report = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    assert [result["Concurrency"] for result in report["results"]] == [1, 2]
    assert {count for result in report["results"] for count in result["TokenCounts"]} == {counted}
    assert daemon.paths[:2] == ["GET /models/m", f"POST {CHAT}"]
    assert "X-Preload-Only" in daemon.seen[1].headers
    assert daemon.chats[0].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }


def test_answers_may_be_kept_short(daemon: "Daemon", dmr: "Run") -> None:
    """A small model that rambles is no reason to wait."""
    daemon.json("GET", "/models/m", {})
    daemon.json("POST", CHAT, _answer(5))

    dmr("bench", "--duration", "20ms", "--concurrency", "1", "--max-tokens", "16", "m")

    body = daemon.chats[0].json
    assert isinstance(body, dict)
    assert body["max_tokens"] == 16


def test_people_are_told_as_it_goes(daemon: "Daemon", dmr: "Run") -> None:
    """The settings first, then each level, then all of them."""
    daemon.json("GET", "/models/m", {})
    daemon.json("POST", CHAT, _answer(5))

    lines = dmr("bench", "--duration", "20ms", "--concurrency", "1", "--prompt", "hi", "m").out.splitlines()

    assert lines[:5] == [
        "Prompt: hi",
        "Duration: 20ms per concurrency level",
        "Concurrency levels: [1]",
        "",
        "Running benchmark with concurrency: 1",
    ]
    assert "Detailed Results:" in lines


def test_requests_that_fail_are_told_once_and_counted(daemon: "Daemon", dmr: "Run") -> None:
    """When none is answered, there is nothing to report."""
    daemon.json("GET", "/models/m", {})
    daemon.text("POST", CHAT, "it broke", status=500)

    outcome = dmr("bench", "--duration", "40ms", "--concurrency", "2", "--json", "m")

    assert (outcome.code, outcome.out) == (1, "")
    assert 1 <= outcome.err.count("request failed during benchmark: it broke") <= 2
    assert "error: no request was answered" in outcome.err


def test_a_model_that_is_not_here_is_not_measured(dmr: "Run") -> None:
    """The daemon says so before anything is asked."""
    assert dmr("bench", "m").code == 3


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--concurrency", "1,x", "`1,x` is no list of numbers between 1 and 1024"),
        ("--concurrency", "0", "`0` is no list of numbers between 1 and 1024"),
        ("--duration", "soon", "invalid duration: `soon`"),
        ("--timeout", "-1", "`-1` is no time to measure in"),
    ],
)
def test_settings_that_measure_nothing_are_refused(dmr: "Run", flag: str, value: str, message: str) -> None:
    """By name."""
    outcome = dmr("bench", flag, value, "m")

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: invalid value for {flag}: {message}")
