"""An engine's answers in Anthropic's form: events in their order, or one message.

A message is a row of blocks, of which one is open at a time: thoughts, text, calls of tools.
Source: Anthropic's API reference, "Streaming messages".
"""

import secrets
from typing import Any, Protocol

import msgspec

from modelrunner.dialects.base import EVENT_STREAM, Timing
from modelrunner.dialects.base import JSON as JSON_TYPE
from modelrunner.dialects.completion import Completion, ToolCall, Usage, read_completion
from modelrunner.dialects.sse import event
from modelrunner.dialects.stopping import Stopping
from modelrunner.errors import EngineFailed

JSON = dict[str, Any]
# Why an answer ended, in OpenAI's words and in Anthropic's; everything else is "stop" and "end_turn".
REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_TEXT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
_MOST_COLLECTED = 64 << 20  # characters of an answer that is put together from a stream


class _Written(Protocol):
    """Where blocks go: each method gives what can be sent by then."""

    media_type: bytes

    def start(self, message: JSON) -> bytes: ...

    def open(self, index: int, block: JSON) -> bytes: ...

    def add(self, index: int, kind: str, field: str, text: str) -> bytes: ...

    def close(self, index: int) -> bytes: ...

    def finish(self, delta: JSON, usage: JSON) -> bytes: ...


class Events:
    """Writes a message as events."""

    media_type = EVENT_STREAM

    def start(self, message: JSON) -> bytes:
        """Begin the message; the ping behind it is Anthropic's habit."""
        return _event("message_start", message=message) + _event("ping")

    def open(self, index: int, block: JSON) -> bytes:
        """Begin a block."""
        return _event("content_block_start", index=index, content_block=block)

    def add(self, index: int, kind: str, field: str, text: str) -> bytes:
        """Add to the block."""
        return _TEXT % (index, msgspec.json.encode({"type": kind, field: text}))

    def close(self, index: int) -> bytes:
        """End the block."""
        return _event("content_block_stop", index=index)

    def finish(self, delta: JSON, usage: JSON) -> bytes:
        """End the message."""
        return _event("message_delta", delta=delta, usage=usage) + _event("message_stop")


class Whole:
    """Puts a message together."""

    media_type = JSON_TYPE

    def __init__(self) -> None:
        self._message: JSON = {}
        self._blocks: list[tuple[JSON, list[str]]] = []
        self._size = 0

    def start(self, message: JSON) -> bytes:
        """Begin the message."""
        self._message = message
        return b""

    def open(self, index: int, block: JSON) -> bytes:  # noqa: ARG002 - blocks come in their order
        """Begin a block."""
        self._blocks.append((block, []))
        return b""

    def add(self, index: int, kind: str, field: str, text: str) -> bytes:  # noqa: ARG002 - as above
        """Add to the block."""
        self._size += len(text)
        if self._size > _MOST_COLLECTED:
            raise EngineFailed("the engine did not answer properly: an answer without end")
        self._blocks[-1][1].append(text)
        return b""

    def close(self, index: int) -> bytes:  # noqa: ARG002 - as above
        """End the block."""
        block, pieces = self._blocks[-1]
        text = "".join(pieces)
        if block["type"] == "tool_use":
            block["input"] = _object(text)
        else:
            block["thinking" if block["type"] == "thinking" else "text"] = text
        return b""

    def finish(self, delta: JSON, usage: JSON) -> bytes:
        """Write the message."""
        content = [block for block, _ in self._blocks]
        return msgspec.json.encode({**self._message, "content": content, **delta, "usage": usage}) + b"\n"


class Messages:
    """The `Translator` of `/v1/messages`."""

    def __init__(
        self, model: str, *, streams: bool, thinks: bool, stops: list[str], max_tokens: int | None = None
    ) -> None:
        """`stops` are the stop sequences; thoughts are left out unless the client wants it to think."""
        self._to: _Written = Events() if streams else Whole()
        self.media_type = self._to.media_type
        self.finished = False
        self._model = model
        self._thinks = thinks
        self._stopping = Stopping(stops)
        self._max_tokens = max_tokens
        self._begun = False
        self._index = -1  # of the block that came last
        self._kind: str | None = None  # of the block that is open
        self._call: int | None = None  # the engine's index of the call that is open
        self._nameless: ToolCall | None = None
        self._called = False
        self._reason: str | None = None
        self._asked, self._cached, self._made = 0, 0, 0
        self._usage: Usage | None = None

    def begin(self, timing: Timing) -> None:
        """See `Translator`."""

    def whole(self, body: bytes) -> bytes:
        """See `Translator`."""
        return self.chunk(read_completion(body)) + self.end()

    def chunk(self, chunk: Completion) -> bytes:
        """See `Translator`."""
        self._usage = chunk.usage or self._usage
        if chunk.prompt_progress is not None:
            self._asked, self._cached = chunk.prompt_progress.total, chunk.prompt_progress.cache
        out = b"" if self._begun else self._start()
        if not chunk.choices:
            return out
        choice = chunk.choices[0]
        said = choice.said
        if said.thinking and self._thinks:
            out += self._say("thinking", said.thinking)
        if said.content:
            self._made += 1
            out += self._say("text", self._stopping.feed(said.content))
            self.finished = self._stopping.found is not None
        if said.tool_calls and not self.finished:
            out += b"".join(map(self._piece, said.tool_calls))
        self._reason = choice.finish_reason or self._reason
        return out

    def end(self) -> bytes:
        """See `Translator`."""
        out = b"" if self._begun else self._start()
        out += self._say("text", self._stopping.end()) + self._close()
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": self._stopping.found}
        return out + self._to.finish(delta, self._counts())

    def _start(self) -> bytes:
        self._begun = True
        message: JSON = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._counts(),
        }
        return self._to.start(message)

    def _say(self, kind: str, text: str) -> bytes:
        if not text:
            return b""
        out = b""
        if self._kind != kind:
            block: JSON = {"type": kind, kind: ""}
            out = self._open(kind, block | ({"signature": ""} if kind == "thinking" else {}))
        return out + self._to.add(self._index, f"{kind}_delta", kind, text)

    def _open(self, kind: str, block: JSON) -> bytes:
        out = self._close()
        self._kind = kind
        self._index += 1
        return out + self._to.open(self._index, block)

    def _close(self) -> bytes:
        if self._kind is None:
            return b""
        self._kind = self._call = None
        return self._to.close(self._index)

    def _piece(self, piece: ToolCall) -> bytes:
        """Take a piece of a call; its block is opened as soon as its name is known."""
        if self._nameless is not None and self._nameless.index == piece.index:
            function, before = piece.function, self._nameless.function
            function.arguments = (before.arguments or "") + (function.arguments or "")
            piece.id, self._nameless = self._nameless.id or piece.id, None
        out = b""
        index = piece.index or 0
        if piece.index is None or self._kind != "tool_use" or self._call != index:
            if not piece.function.name:
                self._nameless = piece
                return b""
            name = piece.id or f"toolu_{secrets.token_hex(12)}"
            block = {"type": "tool_use", "id": name, "name": piece.function.name, "input": {}}
            # What was held back of the text stands before the call.
            out = self._say("text", self._stopping.end()) + self._open("tool_use", block)
            self._call, self._called = index, True
        if piece.function.arguments:
            out += self._to.add(self._index, "input_json_delta", "partial_json", piece.function.arguments)
        return out

    def _stop_reason(self) -> str:
        if self._stopping.found is not None:
            return "stop_sequence"
        reason = REASONS.get(self._reason or "", "end_turn")
        if reason == "end_turn" and self._called:
            return "tool_use"
        if reason == "max_tokens" and self._usage is not None and self._max_tokens is not None:
            made = self._usage.completion_tokens
            return reason if made >= self._max_tokens else "model_context_window_exceeded"
        return reason

    def _counts(self) -> JSON:
        """Counts of tokens; what was known of the prompt before is counted apart, as Anthropic does.

        An answer that ended by a stop sequence has the number of its pieces, as its engine was not heard out.
        """
        asked, cached, made = self._asked, self._cached, self._made
        if self._usage is not None:
            asked, made = self._usage.prompt_tokens, self._usage.completion_tokens
            cached = min(asked, self._usage.cached)
        return {
            "input_tokens": asked - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": made,
        }


def _event(kind: str, **fields: Any) -> bytes:
    return event(msgspec.json.encode({"type": kind, **fields}), kind.encode())


def _object(text: str) -> JSON:
    try:
        value: JSON = msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.MsgspecError as exc:
        raise EngineFailed("the engine did not answer properly: a tool call is no JSON") from exc
    return value
