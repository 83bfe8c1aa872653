"""What clients of a soak ask on each path, in its dialect, and how they know that an answer is whole."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

_WORDS = "one two three"
_CHAT: Body = {"messages": [{"role": "user", "content": _WORDS}]}
_SHORT: Body = {**_CHAT, "max_tokens": 30}


@dataclass(frozen=True, slots=True)
class Kind:
    """A dialect's request, without model and stream; `ends` says whether a stream's last event is an end.

    `tells` are those to which the scripted engine's behaviour can be told. `separator` stands between events.
    """

    body: Body
    ends: Callable[[bytes], bool]
    separator: bytes = b"\n\n"
    tells: bool = False
    streams: bool = True


def _openai(last: bytes) -> bool:
    return last == b"data: [DONE]" or b"error" in last


def _ollama(last: bytes) -> bool:
    return b'"done":true' in last.replace(b" ", b"") or b'"error"' in last


def _anthropic(last: bytes) -> bool:
    return b"message_stop" in last or b"error" in last


def _responses(last: bytes) -> bool:
    return any(word in last for word in (b"response.completed", b"response.incomplete", b"failed", b"error"))


CHAT = Kind(_SHORT, _openai, tells=True)
_OLLAMA = {"options": {"num_predict": 30}}
KINDS: Mapping[str, Kind] = {
    "/v1/chat/completions": CHAT,
    "/engines/v1/chat/completions": CHAT,
    "/engines/llama.cpp/v1/chat/completions": CHAT,
    "/v1/completions": Kind({"prompt": _WORDS, "max_tokens": 30}, _openai, tells=True),
    "/v1/embeddings": Kind({"input": "one"}, _openai, tells=True, streams=False),
    "/v1/rerank": Kind({"query": "one", "documents": ["one", "two"]}, _openai, tells=True, streams=False),
    "/v1/images/generations": Kind({"prompt": "a cat"}, _openai, streams=False),
    "/api/chat": Kind({**_CHAT, **_OLLAMA}, _ollama, separator=b"\n"),
    "/api/generate": Kind({"prompt": _WORDS, **_OLLAMA}, _ollama, separator=b"\n"),
    "/api/embed": Kind({"input": ["one", "two"]}, _ollama, streams=False),
    "/v1/messages": Kind(_SHORT, _anthropic),
    "/anthropic/v1/messages": Kind(_SHORT, _anthropic),
    "/v1/messages/count_tokens": Kind(_CHAT, _anthropic, streams=False),
    "/v1/responses": Kind({"input": _WORDS, "max_output_tokens": 30}, _responses),
}
CHATS = tuple(path for path, kind in KINDS.items() if kind.tells and kind.streams)


def code_of(raw: bytes) -> str:
    """What an error calls itself, in whichever dialect; `-` when it has no name."""
    try:
        document = json.loads(raw)
    except ValueError:
        return "text"
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        return str(error.get("code") or error.get("type") or "-")
    return "-" if isinstance(error, str) else "no error"


def is_sentence(raw: bytes) -> bool:
    """Whether an error says something to people: OpenAI's and Anthropic's `message`, Ollama's `error`."""
    return b'"message"' in raw or b'"error":"' in raw.replace(b": ", b":")


def reason_of(raw: bytes) -> str:
    """The first words of an error, without what differs each time: what is in backticks, and numbers."""
    try:
        error = json.loads(raw)["error"]
    except (ValueError, TypeError, KeyError):
        return ""
    text = str(error.get("message", "") if isinstance(error, dict) else error)
    first = text.partition("\n")[0]
    return re.sub(r"`[^`]*`|\d+", "…", first)[:100]
