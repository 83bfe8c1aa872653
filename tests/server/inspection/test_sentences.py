"""What people are told of the scheduler's decisions."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from modelrunner.runtime.events import Kind
from modelrunner.runtime.scheduling.plan import Reason, Why
from modelrunner.server.inspection.sentences import explain, what_happened
from modelrunner.wire.insight import Facts

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
WHO = {"model": "ai/a:latest", "model_id": "sha256:00", "backend": "llama.cpp", "mode": "completion"}
GB = 1_000_000_000


def loaded(model: str, **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "model": model,
        "mode": "completion",
        "state": "ready",
        "memory": {"ram": 2 * GB},
        "requests": 0,
        "idle": 40.0,
        "keep_alive": "5m0s",
        "pinned": False,
        "load_time": 2.1,
        "worth": 1.0,
    }
    return usual | more


def told(**more: Any) -> list[str]:
    usual: dict[str, Any] = {
        **WHO,
        "state": "unloaded",
        "need": {"ram": 3 * GB, "place": 1},
        "parts": {},
        "capacity": {"ram": 8 * GB, "place": 4},
        "free": {"ram": 5 * GB},
        "loaded": [],
        "starts": False,
        "stops": [],
        "sleeps": False,
        "wait": None,
        "refusal": None,
        "failures": None,
        "waiting": [],
        "events": [],
    }
    return explain(cast("Facts", usual | more), NOW)


def test_a_model_that_fits_is_loaded_at_once() -> None:
    """What it needs, what there is of each, who has it, and what a request would meet."""
    assert [
        "`ai/a` is not loaded.",
        "It needs 3.00GB of memory: 2.00GB for weights, 1.00GB for cache.",
        "Of 8.00GB of memory, 2.00GB are promised to `ai/b` (2.00GB), and 5.00GB are free now.",
        "Of 4 places for models, 1 is taken: `ai/b`.",
        "A request now loads it at once.",
    ] == told(starts=True, parts={"weights": 2 * GB, "cache": GB}, loaded=[loaded("ai/b:latest")])


def test_what_sleeps_has_no_place_and_wakes() -> None:
    """And what can sleep makes room so."""
    sleeping = loaded(WHO["model"], state="asleep")

    assert told(state="asleep", starts=True, loaded=[sleeping])[0].startswith("`ai/a` is asleep")
    assert "Of 4 places for models, none is taken." in told(state="asleep", loaded=[sleeping])
    assert "A request now wakes it at once." == told(state="asleep", starts=True, loaded=[sleeping])[-1]
    assert (
        "A request now has `ai/b` (idle for 40 seconds) put to sleep first"
        in told(stops=["ai/b"], sleeps=True, loaded=[loaded("ai/b")])[-1]
    )


def test_who_makes_room_is_named_in_order() -> None:
    """With how long each has been idle, and why it goes before the others."""
    others = [
        loaded("ai/b", worth=2.0),
        loaded("ai/c", worth=0.5, idle=200.0),
        loaded("ai/d", worth=0.7),
        loaded("ai/busy", worth=0.0, requests=1, idle=None),
    ]
    sentences = told(stops=["ai/c", "ai/d"], loaded=others)

    first = (
        "A request now has `ai/c` (idle for 3 minutes), then `ai/d` (idle for 40 seconds) unloaded first, "
        "one at a time and no more than needed."
    )
    why = (
        "`ai/c` goes before `ai/b` because losing it costs less, by how often it is used and how long it "
        "loads (2.1 s)."
    )
    assert [first, why] == sentences[-2:]


def test_nothing_is_taken_of_an_empty_machine() -> None:
    """And memory that the system can take back is told apart, as the parts add up to more without it."""
    assert [
        "It needs 3.00GB of memory: 4.00GB for weights; 1.00GB of that the system can take back.",
        "Of 8.00GB of memory, nothing is promised, and 5.00GB are free now.",
        "Of 1 place for models, none is taken.",
    ] == told(starts=True, parts={"weights": 4 * GB}, capacity={"ram": 8 * GB, "place": 1})[1:4]


def test_a_need_that_is_not_known_is_not_made_up() -> None:
    """Places are counted all the same."""
    sentences = told(starts=True, need={"place": 1})

    assert ["How much memory it needs is not known.", "Of 4 places for models, none is taken."] == sentences[
        1:3
    ]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"requests": 2, "idle": None}, "`ai/a` is loaded, and 2 requests are in flight."),
        ({"requests": 1, "idle": None}, "`ai/a` is loaded, and 1 request is in flight."),
        (
            {},
            "`ai/a` is loaded, and idle for 40 seconds; it is unloaded in 4 minutes if nobody asks for it.",
        ),
        ({"pinned": True}, "`ai/a` is loaded, and idle for 40 seconds; it is pinned and stays."),
        (
            {"keep_alive": "-1"},
            "`ai/a` is loaded, and idle for 40 seconds; it stays until another model needs its room.",
        ),
    ],
)
def test_a_loaded_model_says_for_how_long_it_stays(more: dict[str, Any], sentence: str) -> None:
    """And a request is served at once."""
    sentences = told(state="ready", loaded=[loaded("ai/a:latest", **more)])

    assert (sentence, "A request now is served at once.") == (sentences[0], sentences[-1])


def test_why_a_model_is_gone_is_said() -> None:
    """As long as the event is remembered."""
    event = {**WHO, "kind": "gone", "at": "2026-01-31T11:57:00.000Z"}
    pushed = event | {"reason": "memory_needed", "text": "unloaded: another model needs its memory (`ai/b`)"}
    failed = event | {"reason": "failed", "text": "could not be loaded: out of luck"}

    expected = "It was unloaded 3 minutes ago: another model needs its memory (`ai/b`)."
    assert expected == told(starts=True, events=[failed, pushed])[1]
    expected = "It could not be loaded 3 minutes ago: out of luck."
    assert expected == told(starts=True, events=[pushed, failed])[1]


def test_a_wait_is_told_with_its_reason() -> None:
    """For whom, and when that is looked at again."""
    wait = {"reason": "busy", "text": Why.BUSY.text, "others": ["ai/b", "ai/c:latest"], "until": 12.0}

    expected = (
        "A request now waits: the models that could make room are in use (`ai/b` and `ai/c`); "
        "that is looked at again in 12 seconds."
    )
    assert expected == told(wait=wait)[-1]


def test_those_who_wait_are_counted() -> None:
    """With the place of the first."""
    first = {"position": 3, "waited": 12.5, "text": Why.BUSY.text, "others": ["ai/b"]}
    wait: dict[str, Any] = {"reason": "busy", "text": Why.BUSY.text, "others": [], "until": None}
    sentences = told(waiting=[first, first], wait=wait)

    expected = (
        "2 requests wait for it, the first for 12 seconds, at place 3 of the line: "
        "the models that could make room are in use (`ai/b`)."
    )
    assert expected == sentences[-2]


def test_a_refusal_comes_with_the_way_out() -> None:
    """And the engine's last words when it fails again and again."""
    failures = {"count": 3, "words": "no luck\nat all", "pause": 9.0, "refusing": True}
    refusal = {"reason": "failing", "message": "it failed", "hint": "see the log"}

    assert [
        "It failed 3 times in a row, last with: no luck.",
        "Requests are refused for 9 seconds; `dmr unload` or `dmr configure` lets it be tried at once.",
        "A request now is refused: it failed.",
        "What helps: see the log.",
    ] == told(refusal=refusal, failures=failures)[-4:]


@pytest.mark.parametrize(
    ("kind", "reason", "detail", "others", "text"),
    [
        (Kind.WAITING, Why.MEMORY, "", [], f"waits: {Why.MEMORY.text}"),
        (Kind.REFUSED, Why.TOO_LARGE, "needs 9 GB", [], "refused: needs 9 GB"),
        (Kind.STARTING, Reason.REQUESTED, "", [], "loading: a request asked for it"),
        (Kind.READY, Reason.REQUESTED, "0.52 s", [], "ready after 0.52 s"),
        (
            Kind.STOPPING,
            Reason.MEMORY_NEEDED,
            "",
            ["ai/b:latest"],
            "unloading: another model needs its memory (`ai/b`)",
        ),
        (Kind.GONE, Reason.IDLE, "", [], f"unloaded: {Reason.IDLE.text}"),
        (Kind.GONE, Reason.CRASHED, "one\n\ntwo\nthree", [], "crashed: one; its last words: three"),
        (Kind.GONE, Reason.CRASHED, "", [], f"crashed: {Reason.CRASHED.text}"),
        (Kind.GONE, Reason.FAILED, "exited:\ntail", [], "could not be loaded: exited"),
    ],
)
def test_an_event_is_one_line(
    kind: Kind, reason: Reason | Why, detail: str, others: list[str], text: str
) -> None:
    """It stands behind the name of the model."""
    assert text == what_happened(kind, reason, detail, others)
