"""What a request says, in whichever dialect it was asked: its messages and its parameters.

Source: OpenAI API reference, "Chat completions", "Responses", "Embeddings"; Anthropic API reference,
"Messages"; Ollama, docs/api.md.
"""

from typing import Any

import msgspec

from modelrunner.recorder.documents import JSON, dict_of, dicts_of, list_of, text_of
from modelrunner.recorder.values import Asked, Call, Said

OPENAI, ANTHROPIC, OLLAMA, RESPONSES = "openai", "anthropic", "ollama", "responses"

# What is said rather than how it is to be answered.
_WORDS = frozenset(
    {"messages", "prompt", "system", "instructions", "input", "model", "images", "suffix", "content", "query"}
    | {"documents", "text_1", "text_2", "tokens", "texts", "file", "template"}
)
_PLAIN = (
    ("prompt", "user"),
    ("suffix", "suffix"),
    ("input", "user"),
    ("content", "user"),
    ("query", "query"),
    ("documents", "document"),
    ("text_1", "query"),
    ("text_2", "document"),
)


def dialect_of(path: str) -> str:
    """Tell a dialect by the path of a request."""
    if path.startswith("/api/"):
        return OLLAMA
    if path.startswith("/anthropic/") or path.endswith(("/v1/messages", "/v1/messages/count_tokens")):
        return ANTHROPIC
    if path.endswith("/responses"):
        return RESPONSES
    return OPENAI


def read_asked(document: Any) -> Asked:
    """Read a request; nothing is expected of it."""
    body = dict_of(document)
    said: list[Said] = []
    for name in ("system", "instructions"):
        text = _text(body.get(name))
        if text:
            said.append(Said("system", text))
    said += [_message(message) for message in dicts_of(body.get("messages"))]
    for name, role in _PLAIN:
        if name in body:
            said += _plain(body[name], role)
    parameters = {name: value for name, value in body.items() if name not in _WORDS}
    return Asked(said, parameters)


def as_text(messages: list[Said]) -> str:
    """Write messages one below the other, each with its role unless there is only a user's."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].text
    return "\n\n".join(f"{said.role}: {_with_calls(said)}" for said in messages)


def gist(messages: list[Said], most: int) -> str:
    """The beginning, of so many characters, of what was asked last."""
    asked = next((said.text for said in reversed(messages) if said.role == "user" and said.text), None)
    if asked is None:
        asked = messages[-1].text if messages else ""
    return asked[:most]


def _with_calls(said: Said) -> str:
    calls = [f"{call.name}({call.arguments})" for call in said.calls]
    return "\n".join([said.text, *calls] if said.text else calls)


def _plain(value: Any, role: str) -> list[Said]:
    if isinstance(value, str):
        return [Said(role, value)] if value else []
    found: list[Said] = []
    for each in list_of(value):
        if isinstance(each, str):
            found.append(Said(role, each))
        elif isinstance(each, dict):
            found.append(_message(each, role))
    return found


def _message(message: JSON, role: str = "user") -> Said:
    """Read a message of a chat, or an item of the Responses API."""
    kind = message.get("type")
    if kind in {"function_call", "custom_tool_call"}:
        return Said("assistant", "", [_call(message, message)])
    if kind == "function_call_output":
        return Said("tool", _text(message.get("output")))
    said = Said(text_of(message.get("role")) or role, _text(message.get("content") or message.get("text")))
    said.calls = calls_of(message)
    return said


def calls_of(message: JSON) -> list[Call]:
    """The tools that a message of OpenAI's, Ollama's or Anthropic's kind calls."""
    calls = [_call(call, dict_of(call.get("function"))) for call in dicts_of(message.get("tool_calls"))]
    blocks = dicts_of(message.get("content"))
    return calls + [_call(block, block) for block in blocks if block.get("type") == "tool_use"]


def _call(outer: JSON, function: JSON) -> Call:
    given = function.get("arguments", function.get("input"))
    return Call(
        id=text_of(outer.get("call_id")) or text_of(outer.get("id")),
        name=text_of(function.get("name")),
        arguments=given if isinstance(given, str) else _json(given),
    )


def _json(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _text(content: Any) -> str:
    """The text of a content: itself, or that of its parts; what is no text is only named."""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for part in list_of(content):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            texts.append(_part(part))
    return "\n".join(text for text in texts if text)


def _part(part: JSON) -> str:
    kind = text_of(part.get("type"))
    if kind == "tool_use":
        return ""
    if kind == "tool_result":
        return _text(part.get("content"))
    text = part.get("text", part.get("thinking", part.get("refusal")))
    return text if isinstance(text, str) else f"[{kind or 'part'}]"
