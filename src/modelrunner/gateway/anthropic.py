"""OpenAI's chat as Anthropic's messages, and Anthropic's answer as OpenAI's. Text, without tools.

Source: Anthropic's API reference, "Messages", version 2023-06-01.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

VERSION = "2023-06-01"
_MOST_TOKENS = 4096  # Anthropic wants a limit, OpenAI does not
_FINISHED = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}
_SAME = ("temperature", "top_p", "stream")


def request(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Translate a question; the last system message is the system's."""
    messages: list[dict[str, Any]] = []
    translated: dict[str, Any] = {"model": model, "messages": messages}
    for message in body.get("messages", ()):
        content = message.get("content") or ""
        if message.get("role") in {"system", "developer"}:
            translated["system"] = content
        else:
            role = "assistant" if message.get("role") == "assistant" else "user"
            messages.append({"role": role, "content": _content(content)})
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    translated["max_tokens"] = limit or _MOST_TOKENS
    translated |= {name: body[name] for name in _SAME if body.get(name) is not None}
    if (stop := body.get("stop")) is not None:
        translated["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    return translated


def answer(document: Mapping[str, Any], model: str, created: int) -> dict[str, Any]:
    """Translate a whole answer; `created` is in Unix seconds."""
    text = "".join(
        block.get("text", "") for block in document.get("content", ()) if block.get("type") == "text"
    )
    usage = document.get("usage", {})
    asked, said = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": _FINISHED.get(document.get("stop_reason") or "", "stop"),
    }
    return {
        "id": f"chatcmpl-{document.get('id', '')}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
    }


class Stream:
    """Translates a stream: the role first, then text as it comes, then why it ended."""

    def __init__(self, model: str, created: int) -> None:
        """`created` is in Unix seconds."""
        self._head: dict[str, Any] = {
            "id": "chatcmpl-",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the data of one event, and yield the data of those that it becomes."""
        event = json.loads(data)
        kind = event.get("type")
        if kind == "message_start":
            self._head["id"] = f"chatcmpl-{event.get('message', {}).get('id', '')}"
            yield self._chunk({"role": "assistant", "content": ""})
        elif kind == "content_block_delta" and event.get("delta", {}).get("type") == "text_delta":
            yield self._chunk({"content": event["delta"].get("text", "")})
        elif kind == "message_delta":
            reason = event.get("delta", {}).get("stop_reason") or ""
            yield self._chunk({}, _FINISHED.get(reason, "stop"))
        elif kind == "message_stop":
            yield b"[DONE]"
        elif kind == "error":
            error = event.get("error", {})
            document = {
                "error": {"message": error.get("message", "the provider failed"), "type": "upstream_error"}
            }
            yield json.dumps(document).encode()

    def _chunk(self, delta: Mapping[str, Any], finished: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finished}
        return json.dumps({**self._head, "choices": [choice]}).encode()


def _content(content: object) -> object:
    """Texts stay; of parts, texts and pictures in data URLs are understood."""
    if not isinstance(content, list):
        return content
    return [_part(part) for part in content]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") != "image_url":
        return {"type": "text", "text": part.get("text", "")}
    url = str(part.get("image_url", {}).get("url", ""))
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}
