"""What of OpenAI's chat request is looked at before the engine sees it: media in messages, a tool by name.

Both are rare, so the bytes of a body are searched for the words first; a body without them is never read.
"""

import re
from typing import Any

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.dialects.pictures import data_url
from modelrunner.dialects.reading import unreadable
from modelrunner.errors import InvalidRequest

_WORDS = (b"image_url", b"video_url", b"audio_url", b"tool_choice", b"_embeds")
# A letter of those words may be written as an escape; nobody does so but to get past this.
_ESCAPED = re.compile(rb"\\u00[567]")
_IMAGE = b'"image"'
_MEDIA = ("image_url", "video_url", "audio_url", "image")  # the last one is MLX's
_EMBEDDINGS = ("image_embeds", "video_embeds", "audio_embeds")
_SHOWN = 60  # characters
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Watched(msgspec.Struct):
    messages: Any = None
    tools: Any = None
    tool_choice: Any = None


_watched = msgspec.json.Decoder(_Watched)


def prepared(body: bytes, *, remote_media: bool) -> bytes:
    """Check the media of a chat's messages, and leave of its tools the one that it names.

    llama.cpp ignores a tool that is chosen by name; one that has to be chosen from one has the same effect.

    Raises:
        InvalidRequest: an image that is none or is too large, an address though `remote_media` is false, or
            a tool that is not among the tools.
    """
    if not _may_concern(body):
        return body
    try:
        asked = _watched.decode(body)
    except UNREADABLE as exc:
        raise unreadable(exc) from exc
    _check_media(asked.messages, remote=remote_media)
    name = _chosen(asked.tool_choice)
    if name is None:
        return body
    fields = _fields.decode(body)
    fields["tools"] = msgspec.Raw(msgspec.json.encode([_named(asked.tools, name)]))
    fields["tool_choice"] = msgspec.Raw(b'"required"')
    return msgspec.json.encode(fields)


def _may_concern(body: bytes) -> bool:
    """Whether one of the words may be there; single bytes are searched for many times as fast, so first."""
    if b"_" in body and any(word in body for word in _WORDS):
        return True
    if _IMAGE in body:
        return True
    return b"\\" in body and b"\\u00" in body and _ESCAPED.search(body) is not None


def _check_media(messages: Any, *, remote: bool) -> None:
    for message in messages if isinstance(messages, list) else ():
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                _check_part(part, remote=remote)


def _check_part(part: dict[str, Any], *, remote: bool) -> None:
    for kind in _MEDIA:
        if kind in part:
            _check(kind, part[kind], remote=remote)
    for kind in _EMBEDDINGS:
        if kind in part:
            raise InvalidRequest(f"`{kind}` is not accepted", hint="send the picture or the sound itself")


def _check(kind: str, given: Any, *, remote: bool) -> None:
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise InvalidRequest(f"invalid {kind}: no `url`", hint=f'write `"{kind}": {{"url": "data:…"}}`')
    if url.startswith(("http://", "https://")):
        if remote:
            return
        raise InvalidRequest(
            f"invalid {kind}: `{url[:_SHOWN]}` is an address, and nothing is fetched",
            hint="send the data itself, as `data:…;base64,…`, or set DMR_REMOTE_MEDIA",
        )
    if not url.startswith("data:"):
        raise InvalidRequest(f"invalid {kind}: `{url[:_SHOWN]}`", hint="send it as `data:…;base64,…`")
    if kind in ("image_url", "image"):
        data_url(url)


def _chosen(choice: Any) -> str | None:
    """The name of a tool that is chosen by its name."""
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _named(tools: Any, name: str) -> Any:
    for tool in tools if isinstance(tools, list) else ():
        if _chosen(tool) == name:
            return tool
    raise InvalidRequest(f"tool_choice: no tool is called `{name[:_SHOWN]}`", hint="name one of `tools`")
