"""Requests are summed up in groups."""

from pathlib import Path

import pytest

from modelrunner.recorder.database import open_to_read
from modelrunner.recorder.searching import page
from modelrunner.recorder.statistics import statistics
from modelrunner.recorder.values import Filter
from modelrunner.recorder.writing import Writing
from tests.recorder.conftest import MODEL, entry

AT = 1_800_000_000.0


def test_sums_are_made_in_groups(writing: Writing, file: Path) -> None:
    writing.store([entry(at=AT, seconds=float(n), first=n / 2, answer_type="text/event-stream",
                         response=b'data: {"choices":[{"delta":{"content":"x"}}],"usage":'
                                  b'{"prompt_tokens":10,"completion_tokens":5}}\n\n')
                   for n in range(1, 101)])  # fmt: skip
    writing.store([entry(model_id="", model="ai/none", outcome="failed", status=404, at=AT + 86400)])

    found = statistics(open_to_read(file), Filter(), "model", {MODEL: "ai/tiny"})

    assert ["ai/tiny", "ai/none"] == [each["group"] for each in found]
    assert (100, 1000, 500) == (
        found[0]["requests"],
        found[0]["prompt_tokens"],
        found[0]["completion_tokens"],
    )
    assert {"p50": 50.0, "p90": 90.0, "p99": 99.0} == found[0]["seconds"]
    assert {"p50": 25.0, "p90": 45.0, "p99": 49.5} == found[0]["first_token"]
    assert 1 == found[1]["failed"]
    days = statistics(open_to_read(file), Filter(), "day", {})
    assert [100, 1] == [each["requests"] for each in days]
    assert "2027-01-15T00:00:00.000Z" == days[0]["group"]
    assert [] == statistics(open_to_read(file), Filter(since=AT + 1e6), "caller", {})


def test_words_narrow_down_what_is_summed_up(writing: Writing, file: Path) -> None:
    writing.store([entry("of whales"), entry("of ships"), entry("whales again")])

    [found] = statistics(open_to_read(file), Filter(words="whales"), "status", {})

    assert ("200", 2, 20) == (found["group"], found["requests"], found["prompt_tokens"])


@pytest.mark.parametrize(("words", "counted"), [("🐳 - ()", 0), ('""', 0), (" ", 2)])
def test_what_the_list_does_not_find_is_not_summed_up(
    writing: Writing, file: Path, words: str, counted: int
) -> None:
    writing.store([entry("of whales"), entry("of ships")])
    connection, wanted = open_to_read(file), Filter(words=words)

    assert counted == len(page(connection, wanted, 50)["requests"])
    assert counted == sum(each["requests"] for each in statistics(connection, wanted, "status", {}))


def test_who_writes_more_counts_more_for_the_speed(writing: Writing, file: Path) -> None:
    def answer(tokens: int, rate: float) -> dict[str, object]:
        return {"choices": [], "timings": {"predicted_n": tokens, "predicted_per_second": rate}}

    writing.store([entry(response=answer(90, 10.0)), entry(response=answer(10, 90.0)), entry()])

    [found] = statistics(open_to_read(file), Filter(), "model", {})

    assert 10.98 == found["tokens_per_second"]  # 100 tokens in 9 and a ninth of a second
