"""What is looked at in a chat before its engine sees it."""

import base64
import json
import struct

import pytest

from modelrunner.dialects.openai_chat import prepared
from modelrunner.errors import InvalidRequest


def png(width: int, height: int) -> str:
    """The beginning of a picture, as a data URL."""
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x06\0\0\0"
    return "data:image/png;base64," + base64.b64encode(head).decode()


def chat(url: object, kind: str = "image_url", **more: object) -> bytes:
    content = [{"type": "text", "text": "what is it?"}, {"type": kind, kind: url}]
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()


TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("one", "two")]


def test_a_plain_body_is_not_read() -> None:
    """It need not even be JSON, and the very same bytes go on."""
    body = b'{"messages": [{"content": "caf\\u00e9, base_url"'

    assert prepared(body, remote_media=False) is body


def test_a_picture_passes_as_it_is() -> None:
    """Not a byte of the body changes."""
    body = chat({"url": png(640, 480)})

    assert prepared(body, remote_media=False) is body


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ({"url": png(20_000, 10)}, "image too large: `20000` x `10` pixels"),
        ({"url": "data:image/png;base64,bm8gcGljdHVyZQ=="}, "no PNG, JPEG"),
        ({"url": "data:image/png;base64,!"}, "not base64"),
        ({"url": "https://example.com/cat.png"}, "is an address"),
        ({"url": "file:///etc/passwd"}, "invalid image_url: `file:///etc/passwd`"),
        ({"url": 5}, "no `url`"),
        (None, "no `url`"),
    ],
)
def test_what_is_no_picture_or_elsewhere_is_refused(url: object, words: str) -> None:
    """By the daemon, before an engine decodes or fetches it."""
    with pytest.raises(InvalidRequest, match=words):
        prepared(chat(url), remote_media=False)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "image", "image": "http://localhost/"}, "is an address"),
        ({"type": "image", "image": {"url": "file:///etc/passwd"}}, "invalid image"),
        ({"type": "image_embeds", "image_embeds": "gASV"}, "`image_embeds` is not accepted"),
    ],
)
def test_what_single_engines_take_for_media_is_looked_at_too(part: dict[str, object], words: str) -> None:
    """MLX has a word of its own for an image; vLLM unpickled what is computed of one."""
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
    with pytest.raises(InvalidRequest, match=words):
        prepared(body, remote_media=False)


def test_an_escape_does_not_hide_an_address() -> None:
    """A letter of `image_url` may be written as JSON allows."""
    body = chat({"url": "http://localhost/"}).replace(b"image_url", rb"\u0069mage_ur\u006c")

    with pytest.raises(InvalidRequest, match="is an address"):
        prepared(body, remote_media=False)


@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
def test_an_address_passes_where_the_operator_allows_it(kind: str) -> None:
    """And nowhere else, whatever is behind it."""
    body = chat({"url": "https://example.com/it"}, kind)

    assert prepared(body, remote_media=True) is body
    with pytest.raises(InvalidRequest, match="is an address"):
        prepared(body, remote_media=False)


def test_a_named_tool_is_the_only_one_that_is_left() -> None:
    """And has to be used; all else of the body stays."""
    choice = {"type": "function", "function": {"name": "two"}}
    body = json.dumps({"model": "m", "tools": TOOLS, "tool_choice": choice, "seed": 2**70}).encode()

    assert json.loads(prepared(body, remote_media=False)) == {
        "model": "m",
        "tools": [TOOLS[1]],
        "tool_choice": "required",
        "seed": 2**70,
    }


@pytest.mark.parametrize("choice", ["auto", "none", "required", None, 5, {"type": "function"}])
def test_another_choice_is_the_engines_matter(choice: object) -> None:
    """The body passes as it is."""
    body = json.dumps({"model": "m", "tools": TOOLS, "tool_choice": choice}).encode()

    assert prepared(body, remote_media=False) is body


@pytest.mark.parametrize("tools", [TOOLS, None, "x", [5]])
def test_a_tool_that_is_not_there_cannot_be_chosen(tools: object) -> None:
    """The error names it."""
    choice = {"type": "function", "function": {"name": "three"}}
    body = json.dumps({"tools": tools, "tool_choice": choice}).encode()

    with pytest.raises(InvalidRequest, match="no tool is called `three`"):
        prepared(body, remote_media=False)
