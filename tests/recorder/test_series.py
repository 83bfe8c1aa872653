"""Requests as columns for charts."""

from pathlib import Path

from modelrunner.recorder.database import open_to_read
from modelrunner.recorder.series import series
from modelrunner.recorder.writing import Writing
from tests.recorder.conftest import MODEL, entry

AT = 1_800_000_000.0


def test_charts_have_a_value_for_each_step(writing: Writing, file: Path) -> None:
    writing.store([entry(at=AT + second, seconds=1.0) for second in (0, 1, 11, 29.9)])

    found = series(open_to_read(file), AT, AT + 30, 10, {MODEL: "ai/tiny"})

    assert [2, 1, 1] == found["requests"]
    assert {"ai/tiny": [2, 1, 1]} == found["models"]
    assert [20, 10, 10] == found["prompt_tokens"]
    assert [1.0, 1.0, 1.0] == found["seconds_p99"]
    assert [None] * 3 == found["tokens_per_second"]
    assert 3 == len(found["at"])


def test_a_chart_of_nothing_has_its_steps(writing: Writing, file: Path) -> None:
    writing.store([entry(at=AT - 1), entry(at=AT + 30)])

    found = series(open_to_read(file), AT, AT + 30, 10, {})

    assert ([0, 0, 0], [None] * 3, {}) == (found["requests"], found["seconds_p50"], found["models"])
