"""The items of the Responses API as messages of a chat: users' and models' turns, calls and their results.

Source: OpenAI API reference, "Responses", input items.
"""

import base64
import contextlib
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from modelrunner.dialects.pictures import data_url
from modelrunner.errors import InvalidRequest

JSON = dict[str, Any]
# Templates know no developers, only systems.
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_SEAL = "mr1."
_SUMMARY = "Summary of the conversation so far:\n"
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


def messages_of(instructions: str | None, items: Iterable[Mapping[str, Any]]) -> list[JSON]:
    """Write a conversation as messages; what one turn of a model has said, thought and called is one message.

    Raises:
        InvalidRequest: an item that has no place here, or a result of a call that was not made.
    """
    writer = _Messages()
    if instructions:
        writer.system(instructions)
    for item in items:
        writer.add(item)
    return writer.messages


def items_of(kept: Iterable[tuple[list[JSON], JSON]]) -> list[JSON]:
    """Join what was asked and answered; a call that broke off in its middle was never made."""
    return [
        item
        for asked, response in kept
        for item in (*asked, *response["output"])
        if item.get("type") != "function_call" or item.get("status", "completed") == "completed"
    ]


def named(items: Iterable[JSON]) -> list[JSON]:
    """Write items as they are listed: each with an identifier, and contents in parts."""
    return [_named(item) for item in items]


def _named(item: JSON) -> JSON:
    kind = item.get("type", "message")
    prefix = _PREFIXES.get(kind, "item")
    whole = {"id": f"{prefix}_{secrets.token_hex(12)}", "type": kind, "status": "completed"}
    whole |= {name: value for name, value in item.items() if value is not None}
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        said = item.get("role") == "assistant"
        part: JSON = {"type": "output_text" if said else "input_text", "text": content}
        whole["content"] = [part | {"annotations": []} if said else part]
    return whole


class _Messages:
    """Puts messages together from items in their order."""

    def __init__(self) -> None:
        self.messages: list[JSON] = []
        self._thoughts: list[str] = []
        self._calls: set[str] = set()

    def add(self, item: Mapping[str, Any]) -> None:
        """Take the next item."""
        match item.get("type", "message"):
            case "message":
                self._message(item)
            case "function_call":
                self._call(item)
            case "function_call_output":
                self._output(item)
            case "compaction":
                self.messages.append(
                    {"role": "user", "content": _SUMMARY + _opened(item.get("encrypted_content"))}
                )
            case "reasoning":
                parts = [*_parts(item.get("content")), *_parts(item.get("summary"))]
                self._thoughts += [_text(part) for part in parts[:1] or ()]
            case kind:
                raise InvalidRequest(f"input: an item of type `{str(kind)[:50]}` is not supported here")

    def system(self, text: str) -> None:
        """Take an instruction; those at the beginning are one message, as templates want it."""
        if self.messages and self.messages[-1]["role"] == "system":
            self.messages[-1]["content"] += f"\n\n{text}"
        else:
            self.messages.append({"role": "system", "content": text})

    def _message(self, item: Mapping[str, Any]) -> None:
        role = _ROLES.get(str(item.get("role", "user")))
        if role is None:
            raise InvalidRequest(
                f"input: no role is called `{str(item.get('role'))[:50]}`",
                hint="one of `user`, `assistant`, `system` and `developer`",
            )
        content = item.get("content")
        if not isinstance(content, str | list):
            raise InvalidRequest("input: content must be a string or an array of parts")
        if role == "user":
            self.messages.append({"role": "user", "content": _content(content)})
            return
        text = "".join(map(_text, _parts(content)))
        if role == "system":
            self.system(text)
        else:
            turn = self._turn(joins=False)
            turn["content"] = text

    def _call(self, item: Mapping[str, Any]) -> None:
        fields = {name: item.get(name) for name in ("call_id", "name", "arguments")}
        for name, value in fields.items():
            if not isinstance(value, str):
                raise InvalidRequest(f"input: `{name}` of a function call must be a string")
        self._calls.add(str(fields["call_id"]))
        function = {"name": fields["name"], "arguments": fields["arguments"]}
        call = {"id": fields["call_id"], "type": "function", "function": function}
        self._turn(joins=True).setdefault("tool_calls", []).append(call)

    def _output(self, item: Mapping[str, Any]) -> None:
        name, output = item.get("call_id"), item.get("output")
        if not isinstance(name, str) or name not in self._calls:
            raise InvalidRequest(
                f"no tool call found for function call output with call_id `{str(name)[:100]}`",
                hint="send the call before it, or the id of the response that made the call",
            )
        if not isinstance(output, str | list):
            raise InvalidRequest("input: the output of a function call must be a string or an array of parts")
        text = "".join(map(_text, _parts(output)))
        self.messages.append({"role": "tool", "tool_call_id": name, "content": text})

    def _turn(self, *, joins: bool) -> JSON:
        """The message of the model's turn: the last one, if what comes `joins` it, or a new one."""
        if joins and self.messages and self.messages[-1]["role"] == "assistant" and not self._thoughts:
            return self.messages[-1]
        turn: JSON = {"role": "assistant", "content": ""}
        if self._thoughts:
            turn["reasoning_content"] = "\n".join(self._thoughts)
            self._thoughts = []
        self.messages.append(turn)
        return turn


def sealed(text: str) -> str:
    """Write a summary as the `encrypted_content` of a compaction, which clients do not look into."""
    return _SEAL + base64.urlsafe_b64encode(text.encode()).decode()


def _opened(content: Any) -> str:
    if isinstance(content, str) and content.startswith(_SEAL):
        with contextlib.suppress(ValueError):  # no base64, or no characters
            return base64.b64decode(content.removeprefix(_SEAL), b"-_", validate=True).decode()
    raise InvalidRequest(
        "input: the `encrypted_content` of a compaction is not from here",
        hint="make one with `POST /v1/responses/compact`",
    )


def _parts(content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts = content if isinstance(content, list) else []
    for part in parts:
        if not isinstance(part, dict):
            raise InvalidRequest("input: content must be a string or an array of parts")
    return parts


def _text(part: Mapping[str, Any]) -> str:
    kind = str(part.get("type"))
    text = part.get("refusal") if kind == "refusal" else part.get("text")
    if kind not in _TEXTS and kind != "refusal":
        raise InvalidRequest(f"input: a part of type `{kind[:50]}` is not supported here")
    if not isinstance(text, str):
        raise InvalidRequest(f"input: a part of type `{kind}` has no text")
    return text


def _content(content: Any) -> str | list[JSON]:
    parts = [_part(part) for part in _parts(content)]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(part: Mapping[str, Any]) -> JSON:
    match part.get("type"):
        case "input_image" | "image_url":
            return {"type": "image_url", "image_url": {"url": _inline(part.get("image_url"))}}
        case "input_audio" if isinstance(part.get("input_audio"), dict):
            return {"type": "input_audio", "input_audio": part["input_audio"]}
    return {"type": "text", "text": _text(part)}


def _inline(url: Any) -> str:
    """Admit a picture that is there in itself; nothing is fetched on a client's word."""
    if isinstance(url, dict):
        url = url.get("url")
    if not isinstance(url, str) or not url.startswith("data:"):
        raise InvalidRequest(
            "input: an image has to be inline",
            hint="send it as `data:image/png;base64,…`; nothing is fetched",
        )
    return data_url(url)
