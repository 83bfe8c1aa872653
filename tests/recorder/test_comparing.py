"""Two requests side by side."""

from pathlib import Path

import pytest

from modelrunner.recorder.comparing import difference, lines
from modelrunner.recorder.database import open_to_read
from modelrunner.recorder.searching import whole
from modelrunner.recorder.writing import Writing
from tests.recorder.conftest import entry


def test_two_requests_are_compared_value_by_value_and_line_by_line(writing: Writing, file: Path) -> None:
    body = {
        "model": "ai/tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 1,
        "seed": 1,
    }
    writing.store([entry("hello", "one\ntwo"), entry(body=body, answer="one\nthree", seconds=3.0)])
    connection = open_to_read(file)
    a, b = whole(connection, 1), whole(connection, 2)
    assert a is not None
    assert b is not None

    found = difference(a, b)

    assert [] == found["prompt"]
    assert [("same", "one"), ("removed", "two"), ("added", "three")] == [
        (line["kind"], line["text"]) for line in found["answer"]
    ]
    assert [("temperature", 0.5, 1), ("seed", None, 1)] == [
        (each["name"], each["a"], each["b"]) for each in found["parameters"]
    ]
    assert ["seconds"] == [each["name"] for each in found["values"]]
    assert "timeline" not in found["a"]


def test_texts_of_very_many_lines_are_not_compared_for_ever() -> None:
    found = lines("\n".join(map(str, range(15_000))), "\n".join(map(str, range(15_000, 30_000))))

    assert 30_000 == len(found)


@pytest.mark.timeout(10)
def test_texts_of_lines_that_recur_are_not_compared_for_ever() -> None:
    """Each with each other, as for short texts, would be some hundred millions of comparisons."""
    found = lines("x\n" * 9_999, "x\n" * 9_998 + "y\n")

    assert [("removed", "x"), ("added", "y")] == [
        (line["kind"], line["text"]) for line in found if line["kind"] != "same"
    ]
    assert 10_000 == len(found)
