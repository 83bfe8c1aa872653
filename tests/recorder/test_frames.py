"""How notes travel."""

import io

import pytest

from modelrunner.recorder.frames import can_be_written, framed, is_notes, notes_of, read_told, told_of
from modelrunner.recorder.values import Circumstances, Notes, Store
from modelrunner.server.inference.note import Note
from tests.recorder.conftest import noted, notes, seen


def test_notes_are_known_without_being_read() -> None:
    written = notes(70_000, *(noted(f"number {number}", answer="x" * 10 * number) for number in range(300)))

    raw = read_told(io.BytesIO(framed(written)))

    assert raw is not None
    assert is_notes(raw)
    assert written == notes_of(raw) == told_of(raw)


def test_what_else_is_said_is_no_notes() -> None:
    raw = read_told(io.BytesIO(framed(Store())))

    assert raw is not None
    assert not is_notes(raw)
    assert Store() == told_of(raw)


def test_what_only_the_data_path_knows_of_a_note_is_not_told() -> None:
    note = Note(1.0, 2.0, "POST", "/", "::1", [(b"a", b"b")], body=b"{}", pieces=[b"x", b"y"])
    assert note.key is None
    assert "key" == Note.__struct_fields__[-1]

    raw = bytes(framed(Notes(1, [Circumstances()], [note]))[4:])
    [found] = notes_of(raw).seen

    assert not isinstance(found, Note)
    assert ("POST", [(b"a", b"b")], b"{}", [b"x", b"y"]) == (
        found.method,
        found.headers,
        found.body,
        found.pieces,
    )


def test_half_of_a_surrogate_pair_cannot_be_written() -> None:
    assert can_be_written(seen(noted()))
    assert not can_be_written(seen(noted(error="half of \ud800")))
    with pytest.raises(UnicodeEncodeError):
        framed(notes(1, noted(), noted(error="half of \ud800")))
