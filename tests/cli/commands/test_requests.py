"""`requests` in all its forms, against a scripted daemon, and `logs` with its filters."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelrunner.cli.recorded import brief, difference, listing, state, sums, timeline, whole
from tests.cli.conftest import Reply

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

SUMMARY: dict[str, Any] = {
    "id": 7,
    "request_id": "req_7",
    "at": "2026-01-02T03:04:05.000Z",
    "model": "ai/smollm2",
    "model_id": "sha256:" + "ab" * 32,
    "backend": "llama.cpp",
    "mode": "completion",
    "dialect": "openai",
    "method": "POST",
    "path": "/v1/chat/completions",
    "caller": "curl",
    "user_agent": "curl/8",
    "address": "127.0.0.1",
    "streamed": True,
    "status": 200,
    "outcome": "ok",
    "error": None,
    "prompt": "hello\nthere \x1b[31m<script>",
    "answer": "Hi!",
    "prompt_tokens": 10,
    "cached_tokens": 4,
    "completion_tokens": 5,
    "reasoning_tokens": None,
    "tokens_per_second": 42.0,
    "prompt_per_second": 310.5,
    "context_used": 15,
    "context_size": 4096,
    "first_token": 0.25,
    "seconds": 1.5,
    "finish_reason": "stop",
    "tool_calls": 1,
    "replay_of": None,
}
WHOLE: dict[str, Any] = {
    **SUMMARY,
    "timeline": {"queued": 0.0, "loading": 1.2, "prompt": 0.2, "tokens": 0.05, "end": 0.05},
    "parameters": {"temperature": 0.5, "stream": True},
    "messages": [
        {"role": "system", "text": "be brief", "media": []},
        {
            "role": "user",
            "text": "hello \x1b[31m",
            "media": [{"type": "image/png", "size": 2000, "digest": "sha256:" + "cd" * 32}],
        },
    ],
    "reasoning": "hm",
    "calls": [{"id": "c", "name": "look_up", "arguments": '{"a":1}'}],
    "media": [],
    "request": "{}",
    "response": "{}",
    "redacted": 1,
    "cut": False,
}
DIFF: dict[str, Any] = {
    "a": SUMMARY,
    "b": {**SUMMARY, "id": 8},
    "values": [
        {"name": "seconds", "a": 1.5, "b": 2.0},
        {"name": "first_token", "a": 0.9, "b": None},
        {"name": "tokens_per_second", "a": 41.5, "b": 20.0},
    ],
    "parameters": [{"name": "seed", "a": None, "b": 7}],
    "prompt": [],
    "reasoning": [],
    "answer": [
        *({"kind": "same", "text": f"line {n}"} for n in range(9)),
        {"kind": "removed", "text": "old \x1b"},
        {"kind": "added", "text": "new"},
    ],
}
SUMS: list[dict[str, Any]] = [
    {
        "group": "ai/smollm2:latest",
        "requests": 3,
        "failed": 1,
        "cancelled": 0,
        "prompt_tokens": 30,
        "cached_tokens": 4,
        "completion_tokens": 15,
        "tokens_per_second": 42.0,
        "first_token": {"p50": 0.2, "p90": 0.3, "p99": 0.4},
        "seconds": {"p50": 1.2, "p90": None, "p99": 2.5},
    }
]
RECORDER: dict[str, Any] = {
    "state": "failing",
    "reason": "disk is full",
    "requests": 12,
    "size": 65536,
    "limit": 536870912,
    "lifetime": 1.0,
    "oldest": None,
    "waiting": 0,
    "dropped": 2,
    "rules": ["key", "password", "password"],
}
REFERENCE = b'[{"count":1,"model":"sha256:x","config":{},"records":[{"id":"x_1"}]}]\n'


def test_a_program_gets_the_reference_s_json_byte_for_byte(daemon: "Daemon", dmr: "Run") -> None:
    daemon.sends("GET", "/engines/requests", REFERENCE, media="application/json")

    assert REFERENCE.decode() == dmr("requests").out
    assert REFERENCE.decode() == dmr("requests", "--model", "ai/smollm2", "--json").out
    assert {"model": "ai/smollm2"} == daemon.seen[-1].query


def test_a_number_asks_for_requests_and_not_for_the_reference_s_json(daemon: "Daemon", dmr: "Run") -> None:
    """Which has all of them."""
    daemon.json("GET", "/requests", {"requests": [SUMMARY], "before": None})

    assert [SUMMARY] == json.loads(dmr("requests", "-n", "1", "--json").out)
    assert {"limit": "1"} == daemon.seen[-1].query


def test_follow_prints_the_data_of_events(daemon: "Daemon", dmr: "Run") -> None:
    events = (
        b'event: existing_request\ndata: [{"count":1}]\n\n'
        b'event: connected\ndata: {"status": "connected"}\n\n'
        b': still here\n\nevent: new_request\ndata: [{"count":2}]\n\n'
    )
    daemon.sends("GET", "/engines/requests", events, media="text/event-stream")

    outcome = dmr("requests", "--follow", "--include-existing", "--model", "m")

    assert '[{"count":1}]\n[{"count":2}]\n' == outcome.out
    assert outcome.err.splitlines() == [
        "Connected to request stream. Press Ctrl+C to stop.",
        "Stream closed by server.",
    ]
    assert {"include_existing": "true", "model": "m"} == daemon.seen[-1].query


@pytest.mark.parametrize(("existing", "after"), [([{**SUMMARY, "id": 8}, SUMMARY], "8"), ([], "0")])
def test_nothing_is_missed_between_what_exists_and_what_is_followed(
    daemon: "Daemon", dmr: "Run", existing: list[Any], after: str
) -> None:
    event = f"id: 9\ndata: {json.dumps({**SUMMARY, 'id': 9})}\n\n".encode()
    daemon.json("GET", "/requests", {"requests": existing, "before": None})
    daemon.replies["GET", "/requests"].append(Reply(event, media="text/event-stream"))

    lines = dmr("requests", "-f", "--include-existing", "--outcome", "ok", "--json").out.splitlines()

    assert [*reversed([each["id"] for each in existing]), 9] == [json.loads(line)["id"] for line in lines]
    assert after == daemon.seen[-1].headers["Last-Event-ID"]


def test_a_number_means_nothing_while_following(daemon: "Daemon", dmr: "Run") -> None:
    """There is no end to count to: a program gets the reference's form all the same."""
    events = b'event: new_request\ndata: [{"count":1}]\n\n'
    daemon.sends("GET", "/engines/requests", events, media="text/event-stream")

    assert '[{"count":1}]\n' == dmr("requests", "--follow", "-n", "5").out
    assert {} == daemon.seen[-1].query


def test_including_what_exists_needs_follow(daemon: "Daemon", dmr: "Run") -> None:
    outcome = dmr("requests", "--include-existing")

    assert 0 != outcome.code
    assert "--include-existing can only be used with --follow" in outcome.err


def test_an_error_says_of_which_model(daemon: "Daemon", dmr: "Run") -> None:
    daemon.refuses("/engines/requests", "store_error", "it broke", method="GET", status=500)

    assert "Failed to get requests for ai/x: it broke" in dmr("requests", "--model", "ai/x").err


def test_filters_list_in_a_table_without_control_characters(daemon: "Daemon", dmr: "Run") -> None:
    daemon.json("GET", "/requests", {"requests": [SUMMARY], "before": 7})

    outcome = dmr("requests", "--search", "hello", "--api", "openai", "--since", "1h", "-n", "1")

    header, row = outcome.out.splitlines()
    assert header.split()[:6] == ["ID", "TIME", "MODEL", "API", "STATUS", "TOKENS"]
    assert row.startswith("7 ")
    assert "\x1b" not in row
    assert "hello there" in row
    assert {"q": "hello", "dialect": "openai", "since": "1h", "limit": "1"} == daemon.seen[-1].query
    assert "more" in outcome.err
    assert [SUMMARY] == json.loads(dmr("requests", "--search", "hello", "--json").out)


def test_that_nothing_is_recorded_is_said_where_nothing_is_found(daemon: "Daemon", dmr: "Run") -> None:
    daemon.json("GET", "/requests", {"requests": [], "before": None})
    daemon.json("GET", "/requests/recorder", {**RECORDER, "state": "off"})

    assert "DMR_REQUESTS=0" in dmr("requests", "-n", "3").err


def test_one_is_shown_whole(daemon: "Daemon", dmr: "Run") -> None:
    daemon.json("GET", "/requests/7", WHOLE)

    text = dmr("requests", "show", "7").out

    for words in (
        "10>5 (of those 4 cached)",
        "15 of 4096 (0%)",
        "42.0 tokens/s, prompt 310",
        "temperature=0.5, stream=true",
        "loading 1.20 s > prompt 200 ms > tokens 50 ms",
        "--- system\nbe brief",
        "image/png, 2.00kB",
        "--- thoughts\nhm",
        'calls look_up({"a":1})',
    ):
        assert words in text
    assert "\x1b" not in text
    assert WHOLE == json.loads(dmr("requests", "show", "7", "--json").out)


def test_an_error_keeps_its_lines_and_stays_apart_from_the_other_facts() -> None:
    failed: Any = {**WHOLE, "error": "it broke\r\n  Tokens      9>9\n\tat \x1b[1m"}

    text = whole(failed)

    after = " " * 14
    assert f"\n  Error       it broke\n{after}  Tokens      9>9\n{after}\tat \ufffd[1m\n" in text


def test_a_replay_says_what_is_to_be_different(daemon: "Daemon", dmr: "Run") -> None:
    daemon.json("POST", "/requests/7/replay", {**WHOLE, "id": 8, "replay_of": 7})

    outcome = dmr(
        "requests", "replay", "7", "--to", "ai/x", "--set", "seed=7", "--set", "stop=end", "--unset", "top_p"
    )

    assert {"model": "ai/x", "parameters": {"seed": 7, "stop": "end", "top_p": None}} == daemon.seen[-1].json
    assert "Replay of   7" in outcome.out
    assert "diff 7 8" in outcome.err
    assert 0 != dmr("requests", "replay", "7", "--set", "nonsense").code


def test_two_are_compared_with_what_is_around(daemon: "Daemon", dmr: "Run") -> None:
    daemon.json("GET", "/requests/diff", DIFF)

    lines = dmr("requests", "diff", "7", "8").out.splitlines()

    assert "Request 7 and 8" == lines[0]
    assert "  seconds              1.50 s -> 2.00 s" in lines
    assert "  first_token          900 ms -> -" in lines
    assert "  tokens_per_second    41.5 tokens/s -> 20.0 tokens/s" in lines
    assert "  seed                 - -> 7" in lines
    assert ["  ...", "  line 6", "  line 7", "  line 8", "- old \ufffd", "+ new"] == lines[-6:]
    assert {"a": "7", "b": "8"} == daemon.seen[-1].query


def test_an_export_goes_where_it_is_to(daemon: "Daemon", dmr: "Run", tmp_path: Path) -> None:
    daemon.sends("GET", "/requests/7/export", b"curl x\n", media="text/plain")
    daemon.sends("GET", "/requests/export", b"{}\n", media="application/x-ndjson")

    assert "curl x\n" == dmr("requests", "export", "7").out
    dmr("requests", "export", "--format", "jsonl", "--outcome", "failed", "-o", str(tmp_path / "file"))

    assert b"{}\n" == (tmp_path / "file").read_bytes()
    assert {"format": "jsonl", "outcome": "failed"} == daemon.seen[-1].query
    assert "cannot write" in dmr("requests", "export", "-o", str(tmp_path)).err


def test_sums_and_the_recorder_s_state(daemon: "Daemon", dmr: "Run") -> None:
    daemon.json("GET", "/requests/statistics", SUMS)
    daemon.json("GET", "/requests/recorder", RECORDER)

    assert "ai/smollm2:latest" in dmr("requests", "stats", "--by", "api").out
    assert {"by": "dialect"} == daemon.seen[-1].query
    text = dmr("requests", "status").out
    assert "failing: disk is full" in text
    assert "Dropped:   2" in text
    assert "Redacted:  key, password\n" in text


def test_forgetting_needs_names_or_all(daemon: "Daemon", dmr: "Run") -> None:
    daemon.json("DELETE", "/requests/7", {"deleted": 1})
    daemon.json("DELETE", "/requests", {"deleted": 3})

    assert "Forgot 1 request.\n" == dmr("requests", "rm", "7").out
    assert "Forgot 3 requests.\n" == dmr("requests", "rm", "--all", "--until", "24h").out
    assert {"until": "24h"} == daemon.seen[-1].query
    for wrong in (("rm",), ("rm", "7", "--all"), ("show",), ("diff", "7"), ("dance",)):
        assert 2 == dmr("requests", *wrong).code, wrong


def test_a_number_is_for_the_list_alone(daemon: "Daemon", dmr: "Run") -> None:
    """Five of them were meant, and not all."""
    for words in (("rm", "--all"), ("export",), ("stats",)):
        outcome = dmr("requests", *words, "-n", "5")
        assert 2 == outcome.code, words
        assert "--limit is for the list" in outcome.err

    assert [] == daemon.seen


def test_what_was_forgotten_before_an_error_is_told(daemon: "Daemon", dmr: "Run") -> None:
    daemon.json("DELETE", "/requests/7", {"deleted": 1})

    outcome = dmr("requests", "rm", "7", "99999")

    assert "Forgot 1 request.\n" == outcome.out
    assert 0 != outcome.code
    assert "" == dmr("requests", "rm", "99999", "7").out


@pytest.mark.parametrize("field", ["prompt", "answer", "path", "model", "caller"])
def test_nothing_of_a_request_steers_a_terminal(field: str) -> None:
    evil: Any = {**WHOLE, field: "\x1b]0;owned\x07\x9b31m\r\n\u202e"}

    for text in (whole(evil), brief(evil), listing([evil], "docker.io")):
        assert not any(character in text for character in "\x1b\x07\x9b\r")


def test_what_is_not_known_is_a_dash() -> None:
    names = ("tokens_per_second", "first_token", "prompt_tokens", "completion_tokens", "context_used")
    unknown: Any = {**SUMMARY, **dict.fromkeys(names)}
    row = listing([unknown], "docker.io").splitlines()[1]

    assert "->-" in row
    timeless: Any = {**WHOLE, "timeline": dict.fromkeys(WHOLE["timeline"])}
    assert "" == timeline(timeless)
    same: Any = {**DIFF, "values": [], "parameters": [], "answer": []}
    assert "the same" in difference(same)
    assert "GROUP" in sums([], "group")
    off: Any = {**RECORDER, "state": "off"}

    assert "off" in state(off)


def test_logs_are_narrowed_down_by_the_daemon(daemon: "Daemon", dmr: "Run") -> None:
    daemon.text("GET", "/logs", "[x] line\n")

    dmr("logs", "--level", "warning", "--model", "m", "-n", "5")

    assert {"follow": "false", "no-engines": "false", "level": "warning", "model": "m", "tail": "5"} == (
        daemon.seen[-1].query
    )
