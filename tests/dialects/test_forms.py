"""Forms with files: whatever their parts hold is found, and what is none is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.dialects.forms import is_form, read_form
from modelrunner.errors import InvalidRequest

TYPE = b"multipart/form-data; boundary=XyZ"
BODY = (
    b'--XyZ\r\nContent-Disposition: form-data; name="model"\r\n\r\nai/whisper\r\n'
    b'--XyZ\r\ncontent-disposition: form-data; name="file"; filename="a \xc3\xa4.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\nRIFF\r\n--Xy\r\n\x00\r\n"
    b"--XyZ--\r\n"
)


def _form(parts: list[tuple[str, bytes]], boundary: bytes = b"XyZ") -> bytes:
    told = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary, name.encode(), content)
        for name, content in parts
    )
    return told + b"--" + boundary + b"--\r\n"


def test_parts_are_found_where_they_are() -> None:
    """A file is one that has a file's name; what looks like half a boundary is content."""
    form = read_form(BODY, TYPE)

    assert [(part.name, part.is_file) for part in form.parts] == [("model", False), ("file", True)]
    assert form.text("model") == "ai/whisper"
    assert form.content(form.parts[1]) == b"RIFF\r\n--Xy\r\n\x00"
    assert form.text("file") == form.text("other") == ""


def test_a_field_is_given_another_text() -> None:
    """And everything else keeps its bytes."""
    changed = read_form(BODY, TYPE).with_text("model", "m")

    assert changed == BODY.replace(b"ai/whisper", b"m")


@pytest.mark.parametrize(
    ("content_type", "is_one"),
    [
        (TYPE, True),
        (b'Multipart/Form-Data;charset=utf-8; Boundary="a b"', True),
        (b"application/x-www-form-urlencoded", False),
        (b"application/json", False),
        (None, False),
    ],
)
def test_the_type_says_whether_it_is_one(content_type: bytes | None, is_one: bool) -> None:
    """Whatever its case."""
    assert is_form(content_type) is is_one


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (BODY, b"application/json", "has to be a form"),
        (BODY, None, "has to be a form"),
        (BODY, b"multipart/form-data; charset=x", "boundary"),
        (b"", TYPE, "does not begin"),
        (BODY.replace(b"--XyZ--", b""), TYPE, "ends before"),
        (BODY[:60], TYPE, "ends before"),
        (b"--XyZ\r\nContent-Type: a/b\r\n\r\nx\r\n--XyZ--", TYPE, "has no name"),
        (_form([("a", b"")] * 65), TYPE, "more than 64"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, content_type: bytes | None, words: str) -> None:
    """With what is missing."""
    with pytest.raises(InvalidRequest, match=words):
        read_form(body, content_type)


@given(st.lists(st.tuples(st.from_regex(r"[a-z\[\]_]{1,20}", fullmatch=True), st.binary(max_size=80))))
def test_whatever_parts_hold_is_found_again(parts: list[tuple[str, bytes]]) -> None:
    """As long as it is not the boundary itself, which who writes a form sees to."""
    boundary = b"0b1d5c1f-no-content-has-this"
    form = read_form(_form(parts[:64], boundary), b"multipart/form-data; boundary=" + boundary)

    assert [(part.name, form.content(part)) for part in form.parts] == parts[:64]


@given(st.integers(0, len(BODY)), st.binary(max_size=20), st.integers(0, len(BODY)))
def test_any_bytes_are_a_form_or_refused(where: int, other: bytes, end: int) -> None:
    """By an error that a client can be told."""
    with contextlib.suppress(InvalidRequest):
        form = read_form((BODY[:where] + other + BODY[where:])[:end], TYPE)
        for part in form.parts:
            assert 0 <= part.start <= part.stop <= len(form.body)
