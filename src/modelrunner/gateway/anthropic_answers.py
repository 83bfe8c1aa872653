"""Anthropic's messages as OpenAI's chat completions: whole ones, and streams of events.

Source: Anthropic's API reference, "Messages" and "Streaming messages"; OpenAI API reference, "Chat
completions".
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from modelrunner.dialects.anthropic import Block
from modelrunner.dialects.anthropic_answers import REASONS

JSON = dict[str, Any]
_FINISHED = {theirs: ours for ours, theirs in REASONS.items()} | {"model_context_window_exceeded": "length"}


class _Usage(msgspec.Struct):
    """Counts of tokens; those of the prompt come in three parts, and in a stream only once."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct):
    content: list[Block]
    id: str = ""
    stop_reason: str | None = None
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Delta(msgspec.Struct):
    """What is added to a block, or known of the message at its end."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Error(msgspec.Struct):
    message: str = "the provider failed"


class _Begun(msgspec.Struct):
    id: str = ""
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Event(msgspec.Struct):
    """An event of any type; which fields it has depends on that."""

    type: str = ""
    index: int = 0
    message: _Begun | None = None
    content_block: Block | None = None
    delta: _Delta = msgspec.field(default_factory=_Delta)
    usage: _Usage | None = None
    error: _Error = msgspec.field(default_factory=_Error)


_whole = msgspec.json.Decoder(_Message)
_events = msgspec.json.Decoder(_Event)


def answer(data: bytes, model: str, created: int) -> JSON:
    """Translate a whole answer; `created` is in Unix seconds.

    Raises:
        MsgspecError, UnicodeDecodeError, RecursionError: it cannot be read.
    """
    given = _whole.decode(data)
    texts = [block.text or "" for block in given.content if block.type == "text"]
    thoughts = "".join(block.thinking or "" for block in given.content if block.type == "thinking")
    calls = [
        _call(block, msgspec.json.encode(block.input or {}).decode())
        for block in given.content
        if block.type == "tool_use"
    ]
    message: JSON = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": _finished(given.stop_reason)}
    return {
        "id": f"chatcmpl-{given.id}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": _counts(given.usage),
    }


class Stream:
    """Translates a stream: the role first, then what is said as it comes, then why it ended."""

    def __init__(self, model: str, created: int, *, counts: bool = False) -> None:
        """`created` is in Unix seconds; with `counts` the last chunk has the counts of tokens."""
        self._head: JSON = {
            "id": "chatcmpl-",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._wants_counts = counts
        self._usage = _Usage()
        self._calls = 0
        self._block: Block | None = None  # the call that is open, as long as nothing came of its arguments
        self.ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the data of one event, and yield the data of those that it becomes.

        Raises:
            MsgspecError, UnicodeDecodeError, RecursionError: it cannot be read.
        """
        event = _events.decode(data)
        match event.type:
            case "message_start":
                begun = event.message or _Begun()
                self._head["id"], self._usage = f"chatcmpl-{begun.id}", begun.usage
                yield self._chunk({"role": "assistant", "content": ""})
            case "content_block_start":
                yield from self._open(event.content_block or Block())
            case "content_block_delta":
                yield from self._add(event.delta)
            case "content_block_stop":
                if self._block is not None:  # a call without arguments has an empty object of them
                    arguments = msgspec.json.encode(self._block.input or {}).decode()
                    yield self._arguments(arguments)
            case "message_delta":
                self._count(event.usage or _Usage())
                yield self._chunk({}, _finished(event.delta.stop_reason))
            case "message_stop":
                self.ended = True
                if self._wants_counts:
                    yield msgspec.json.encode({**self._head, "choices": [], "usage": _counts(self._usage)})
                yield b"[DONE]"
            case "error":
                self.ended = True
                error = {"message": event.error.message, "type": "upstream_error"}
                yield msgspec.json.encode({"error": error})

    def _open(self, block: Block) -> Iterator[bytes]:
        if block.type == "tool_use":
            self._block = block
            self._calls += 1
            yield self._chunk({"tool_calls": [{"index": self._calls - 1, **_call(block, "")}]})
        elif block.type == "text" and block.text:
            yield self._chunk({"content": block.text})

    def _add(self, delta: _Delta) -> Iterator[bytes]:
        if delta.type == "text_delta":
            yield self._chunk({"content": delta.text})
        elif delta.type == "thinking_delta":
            yield self._chunk({"reasoning_content": delta.thinking})
        elif delta.type == "input_json_delta" and delta.partial_json:
            yield self._arguments(delta.partial_json)

    def _arguments(self, text: str) -> bytes:
        self._block = None
        return self._chunk({"tool_calls": [{"index": self._calls - 1, "function": {"arguments": text}}]})

    def _count(self, usage: _Usage) -> None:
        """Take counts, which are of everything so far; one that is missing is as it was."""
        for name in _Usage.__struct_fields__:
            if (count := getattr(usage, name)) is not None:
                setattr(self._usage, name, count)

    def _chunk(self, delta: Mapping[str, Any], finished: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finished}
        return msgspec.json.encode({**self._head, "choices": [choice]})


def _call(block: Block, arguments: str) -> JSON:
    function = {"name": block.name or "", "arguments": arguments}
    return {"id": block.id or "", "type": "function", "function": function}


def _finished(reason: str | None) -> str:
    return _FINISHED.get(reason or "", "stop")


def _counts(usage: _Usage) -> JSON:
    cached = usage.cache_read_input_tokens or 0
    asked = (usage.input_tokens or 0) + (usage.cache_creation_input_tokens or 0) + cached
    said = usage.output_tokens or 0
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
