"""How notes travel: written down one by one, read together."""

import io

import pytest

from modelrunner.recorder.frames import Batch, read_told
from modelrunner.recorder.values import Notes
from tests.recorder.conftest import noted


def test_notes_that_were_written_one_by_one_are_read_as_one_message() -> None:
    notes = [noted(f"number {number}", answer="x" * 10 * number) for number in range(300)]
    batch = Batch()
    for note in notes:
        batch.add(note, 10)

    assert Notes(70_000, notes) == read_told(io.BytesIO(batch.framed(70_000)))
    assert (300, 3000) == (batch.count, batch.held)


def test_a_note_that_cannot_be_written_leaves_the_others_as_they_are() -> None:
    batch = Batch()
    batch.add(noted("before"), 1)
    with pytest.raises(UnicodeEncodeError):
        batch.add(noted(error="half of \ud800"), 1)
    batch.add(noted("after"), 1)

    assert Notes(1, [noted("before"), noted("after")]) == read_told(io.BytesIO(batch.framed(1)))
