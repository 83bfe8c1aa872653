"""OpenAI's requests to change a picture, which are forms with files or JSON: both become JSON for an engine.

That has the pictures in base64, in `images` and `mask`, each looked at before; all other fields as they were.
Source: OpenAI API reference, "Create image edit".
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.dialects.forms import Part, is_form, read_form
from modelrunner.dialects.pictures import data_url, inspected
from modelrunner.errors import InvalidRequest

_IMAGES = frozenset({"image", "image[]", "images", "images[]"})
_MOST = 16  # pictures in a request; OpenAI's
_SHOWN = 60  # characters
_MASK = "a `mask` says where the picture changes"


def _switched(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError
    return text.lower() == "true"


# What in a form is text and in JSON is not.
_KINDS: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("n", "seed", "num_inference_steps", "output_compression", "partial_images"), int),
    **dict.fromkeys(("guidance_scale", "strength"), float),
    "stream": _switched,
}


def unpacked_edit(body: bytes, content_type: bytes | None) -> bytes:
    """Make the engine's JSON of a form, or of OpenAI's JSON.

    Raises:
        InvalidRequest: there is no picture, or one that is none, or a field that cannot be read.
    """
    fields = _from_form(body, content_type) if is_form(content_type) else _from_json(body)
    if not fields["images"]:
        raise InvalidRequest("image is required", hint="send the picture to change in the field `image`")
    if len(fields["images"]) > _MOST:
        raise InvalidRequest(f"images: `{len(fields['images'])}`", hint=f"at most {_MOST} at a time")
    return msgspec.json.encode(fields)


def _from_form(body: bytes, content_type: bytes | None) -> dict[str, Any]:
    form = read_form(body, content_type)
    fields: dict[str, Any] = {"images": []}
    for part in form.parts:
        content = form.content(part)
        if part.name in _IMAGES:
            fields["images"].append(_encoded(part, content))
        elif part.name == "mask":
            fields["mask"] = _encoded(part, content)
        elif part.is_file:
            raise InvalidRequest(f"`{part.name[:_SHOWN]}` is a file, and none is read there", hint=_MASK)
        else:
            fields[part.name] = _value(part.name, content.decode("utf-8", "replace"))
    return fields


def _encoded(part: Part, content: bytes) -> str:
    if not part.is_file:
        return _plain(part.name, content.decode("utf-8", "replace"))
    inspected(content)
    return base64.b64encode(content).decode()


def _value(name: str, text: str) -> object:
    try:
        return _KINDS[name](text) if name in _KINDS and text else text or None
    except ValueError as exc:
        raise InvalidRequest(
            f"invalid {name}: `{text[:_SHOWN]}`", hint="see the reference of the API"
        ) from exc


def _from_json(body: bytes) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE as exc:
        raise InvalidRequest(
            f"invalid request: {exc}", hint="send a form, `multipart/form-data`, or a JSON object"
        ) from exc
    fields = {name: value for name, value in given.items() if name not in {"image", "images", "mask"}}
    if given.get("markup") is not None:
        raise InvalidRequest("markup is not supported", hint=_MASK)
    several = given.get("images", given.get("image"))
    several = several if isinstance(several, list) else [several]
    fields["images"] = [_plain("image", each) for each in several if each is not None]
    if given.get("mask") is not None:
        fields["mask"] = _plain("mask", given["mask"])
    return fields


def _plain(name: str, given: Any) -> str:
    """The base64 of a picture that is text: alone, as a data URL, or in an object with one."""
    if isinstance(given, dict) and "file_id" in given:
        raise InvalidRequest(f"{name}: no files are kept here", hint="send the picture itself, as a data URL")
    text = given.get("image_url") if isinstance(given, dict) else given
    text = text.get("url") if isinstance(text, dict) else text
    if not isinstance(text, str):
        raise InvalidRequest(
            f"invalid {name}: it is no picture", hint='write `{"image_url": "data:image/png;base64,…"}`'
        )
    return data_url(text).partition(",")[2]
