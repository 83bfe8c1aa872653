"""Requests to change a picture: a form and JSON become the same for the engine."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.dialects.openai_images import unpacked_edit
from modelrunner.errors import InvalidRequest

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
TEXT = base64.b64encode(PIXEL).decode()
URL = f"data:image/gif;base64,{TEXT}"
TYPE = b"multipart/form-data; boundary=B"


def _form(*parts: tuple[str, bytes, bool]) -> bytes:
    told = b""
    for name, content, is_file in parts:
        more = b'; filename="a.gif"' if is_file else b""
        head = b'--B\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n' % (name.encode(), more)
        told += head + content + b"\r\n"
    return told + b"--B--\r\n"


def test_a_form_becomes_json() -> None:
    """Files in base64, numbers as numbers, and an empty field is as none."""
    body = _form(
        ("model", b"ai/painter", False),
        ("prompt", b"a hat", False),
        ("image[]", PIXEL, True),
        ("mask", PIXEL, True),
        ("n", b"2", False),
        ("strength", b"0.5", False),
        ("stream", b"false", False),
        ("size", b"", False),
    )

    assert json.loads(unpacked_edit(body, TYPE)) == {
        "model": "ai/painter",
        "prompt": "a hat",
        "images": [TEXT],
        "mask": TEXT,
        "n": 2,
        "strength": 0.5,
        "stream": False,
        "size": None,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"images": [{"image_url": URL}], "mask": {"image_url": URL}},
        {"image": URL, "mask": URL},
        {"image": [TEXT], "mask": TEXT},
        {"images": [{"image_url": {"url": URL}}], "mask": {"image_url": {"url": URL}}},
    ],
)
def test_json_may_have_pictures_in_several_ways(fields: dict[str, object]) -> None:
    """OpenAI's own, and those that clients know from messages."""
    body = json.dumps({"model": "m", "prompt": "p", "n": 2, **fields}).encode()

    assert json.loads(unpacked_edit(body, b"application/json")) == {
        "model": "m",
        "prompt": "p",
        "n": 2,
        "images": [TEXT],
        "mask": TEXT,
    }


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"{}", None, "image is required"),
        (b"[]", b"application/json", "invalid request"),
        (_form(("prompt", b"p", False)), TYPE, "image is required"),
        (_form(("image", b"no picture", True)), TYPE, "it is no PNG"),
        (_form(("image", PIXEL, True), ("n", b"two", False)), TYPE, "invalid n: `two`"),
        (_form(("image", PIXEL, True), ("stream", b"maybe", False)), TYPE, "invalid stream"),
        (_form(("image", PIXEL, True), ("markup", PIXEL, True)), TYPE, "`markup` is a file"),
        (_form(*[("image[]", PIXEL, True)] * 17), TYPE, "images: `17`"),
        (json.dumps({"image": "https://example.com/a.png"}).encode(), None, "is an address"),
        (json.dumps({"images": [{"file_id": "file-1"}]}).encode(), None, "no files are kept"),
        (json.dumps({"image": 7}).encode(), None, "no picture"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, content_type: bytes | None, words: str) -> None:
    """Before a model is loaded for it."""
    with pytest.raises(InvalidRequest, match=words):
        unpacked_edit(body, content_type)


@given(
    st.dictionaries(
        st.sampled_from(["image", "images", "mask", "n"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["image_url"]), inner)
            ),
        ),
    )
)
def test_any_object_is_read_or_refused(fields: dict[str, object]) -> None:
    """By an error that a client can be told."""
    with contextlib.suppress(InvalidRequest):
        unpacked_edit(json.dumps(fields).encode(), None)
