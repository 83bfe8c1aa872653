"""An engine's answer as a response: an object that grows item by item, and the events that tell of it.

Thoughts, text and a refusal are open one at a time; calls are open until the end, as engines may send the
pieces of several in turns. Every event has the next `sequence_number`, from 0 on.
Source: OpenAI API reference, "Responses" and "Streaming events".
"""

import secrets
import time
from typing import Any

import msgspec

from modelrunner.dialects.base import EVENT_STREAM, Timing
from modelrunner.dialects.base import JSON as JSON_TYPE
from modelrunner.dialects.completion import Choice, Completion, ToolCall, Usage, read_completion
from modelrunner.dialects.sse import event
from modelrunner.errors import EngineFailed, RunnerError

JSON = dict[str, Any]
_DELTA = (
    b"event: response.%b.delta\n"
    b'data: {"type":"response.%b.delta","sequence_number":%d,'
    b'"item_id":"%b","output_index":%d,%b"delta":%b}\n\n'
)
_IN_PART = b'"content_index":0,'
_IN_TEXT = b'"content_index":0,"logprobs":%b,'
_MOST_COLLECTED = 64 << 20  # characters of an answer
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class _Open:
    """An item that is not complete. `text` has the pieces of its content, or the arguments of a call."""

    __slots__ = ("index", "item", "kind", "logprobs", "name", "text")

    def __init__(self, kind: str, index: int, item: JSON) -> None:
        self.kind = kind
        self.index = index
        self.item = item
        self.name = item["id"].encode()
        self.text: list[str] = []
        self.logprobs: list[Any] = []

    def part(self, text: str) -> JSON:
        """The content of the item as one part."""
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        if self.kind == "reasoning_text":
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "annotations": [], "logprobs": self.logprobs, "text": text}

    def whole(self, status: str) -> JSON:
        """The item with what there is of it."""
        text = "".join(self.text)
        if self.kind == "function_call":
            return {**self.item, "status": status, "arguments": text}
        return {**self.item, "status": status, "content": [self.part(text)]}


class Answering:
    """The `Translator` of the Responses API, and what it has of the response at any time."""

    def __init__(self, beginning: JSON, *, streams: bool) -> None:
        """`beginning` is the response before it is answered; without `streams`, it is given as a whole."""
        self._streams = streams
        self.media_type = EVENT_STREAM if streams else JSON_TYPE
        self.finished = False
        self.ended = False
        self.dropped = 0  # messages of the conversation that did not fit
        self._response = beginning
        self._next = 0
        self._begun = False
        self._announced = False
        self._size = 0
        self._done: dict[int, JSON] = {}  # complete items by their index
        self._saying: _Open | None = None
        self._calls: dict[int, _Open] = {}  # by the engine's index
        self._nameless: dict[int, ToolCall] = {}
        self._count = 0  # items so far
        self._reason: str | None = None
        self._usage: Usage | None = None

    @property
    def response(self) -> JSON:
        """The response with what there is of it."""
        if self.ended:
            return self._response
        items = {**self._done}
        for each in self._opened():
            items[each.index] = each.whole("in_progress")
        return self._written(items)

    def announce(self) -> bytes:
        """Tell of a response that waits for its turn."""
        self._announced = True
        return self._event("response.created", response=self._response) + self._event(
            "response.queued", response=self._response
        )

    def begin(self, timing: Timing) -> None:  # noqa: ARG002 - of no interest to this API
        """See `Translator`."""
        self._response["status"] = "in_progress"

    def whole(self, body: bytes) -> bytes:
        """See `Translator`."""
        return self.chunk(read_completion(body)) + self.end()

    def chunk(self, chunk: Completion) -> bytes:
        """See `Translator`."""
        self._usage = chunk.usage or self._usage
        out = b"" if self._begun else self._start()
        if not chunk.choices:
            return out
        choice = chunk.choices[0]
        said = choice.said
        if said.thinking:
            out += self._say("reasoning_text", said.thinking, None)
        if said.content:
            out += self._say("output_text", said.content, choice)
        if said.refusal:
            out += self._say("refusal", said.refusal, None)
        for piece in said.tool_calls or ():
            out += self._piece(piece)
        self._reason = choice.finish_reason or self._reason
        return out

    def end(self) -> bytes:
        """See `Translator`."""
        reason = _REASONS.get(self._reason or "")
        self._response["incomplete_details"] = {"reason": reason} if reason else None
        return self._finish("incomplete" if reason else "completed")

    def fail(self, exc: RunnerError) -> bytes:
        """End with an error; what was answered before stays."""
        fault = "server_error" if exc.openai_type == "server_error" else "invalid_prompt"
        self._response["error"] = {"code": fault, "message": exc.message}
        out = b"" if self._begun else self._start()
        out += self._event("error", code=exc.code, message=exc.message, param=None)
        return out + self._finish("failed")

    def cancel(self) -> bytes:
        """Tell that nothing more comes, because somebody wanted it so."""
        return self._event("error", code="cancelled", message="the response was cancelled", param=None)

    def broken_off(self, status: str) -> JSON:
        """Write the response as it is when nothing more comes; what was answered before stays."""
        items = {**self._done, **{each.index: each.whole("incomplete") for each in self._opened()}}
        return {**self._written(items), "status": status, "usage": self._counts()}

    def _start(self) -> bytes:
        self._begun = True
        self._response["status"] = "in_progress"
        created = b"" if self._announced else self._event("response.created", response=self._response)
        return created + self._event("response.in_progress", response=self._response)

    def _say(self, kind: str, text: str, choice: Choice | None) -> bytes:
        out = b""
        saying = self._saying
        if saying is None or saying.kind != kind:
            out = self._close("completed")
            saying = self._saying = self._open_said(kind)
            part = saying.part("")
            out += self._added(saying) + self._in_part("response.content_part.added", saying, part=part)
        self._keep(saying, text)
        if not self._streams:
            if choice is not None and choice.logprobs:
                saying.logprobs += _logprobs(choice)
            return b""
        place = _IN_PART
        if kind == "output_text":
            logprobs = _logprobs(choice)
            saying.logprobs += logprobs
            place = _IN_TEXT % (msgspec.json.encode(logprobs) if logprobs else b"[]")
        return out + self._delta(kind.encode(), saying, place, text)

    def _open_said(self, kind: str) -> _Open:
        if kind == "reasoning_text":
            item: JSON = {"id": _name("rs"), "type": "reasoning", "summary": []}
        else:
            item = {"id": _name("msg"), "type": "message", "role": "assistant"}
        return self._opening(kind, item)

    def _opening(self, kind: str, item: JSON) -> _Open:
        opened = _Open(kind, self._count, item)
        self._count += 1
        return opened

    def _piece(self, piece: ToolCall) -> bytes:
        """Take a piece of a call; its item is opened as soon as the name of its function is known."""
        index = piece.index
        if index is None:
            index = len(self._calls) + len(self._nameless) - (0 if piece.id or piece.function.name else 1)
        call = self._calls.get(index)
        out = b""
        if call is None:
            before = self._nameless.pop(index, None)
            if before is not None:
                piece.id = before.id or piece.id
                piece.function.arguments = (before.function.arguments or "") + (
                    piece.function.arguments or ""
                )
            if not piece.function.name:
                self._nameless[index] = piece
                return b""
            item = {
                "id": _name("fc"),
                "type": "function_call",
                "call_id": piece.id or _name("call"),
                "name": piece.function.name,
                "arguments": "",
            }
            out = self._close("completed")
            call = self._calls[index] = self._opening("function_call", item)
            out += self._added(call)
        if piece.function.arguments:
            self._keep(call, piece.function.arguments)
            if self._streams:
                out += self._delta(b"function_call_arguments", call, b"", piece.function.arguments)
        return out

    def _keep(self, opened: _Open, text: str) -> None:
        self._size += len(text)
        if self._size > _MOST_COLLECTED:
            raise EngineFailed("the engine did not answer properly: an answer without end")
        opened.text.append(text)

    def _opened(self) -> list[_Open]:
        saying = [self._saying] if self._saying is not None else []
        return sorted([*saying, *self._calls.values()], key=lambda each: each.index)

    def _close(self, status: str) -> bytes:
        """Complete what is being said."""
        if self._saying is None:
            return b""
        saying, self._saying = self._saying, None
        return self._closed(saying, status)

    def _closed(self, opened: _Open, status: str) -> bytes:
        item = self._done[opened.index] = opened.whole(status)
        if not self._streams:
            return b""
        place = {"item_id": item["id"], "output_index": opened.index}
        if opened.kind == "function_call":
            out = self._event(
                "response.function_call_arguments.done",
                **place,
                name=item["name"],
                arguments=item["arguments"],
            )
        else:
            [part] = item["content"]
            field = "refusal" if opened.kind == "refusal" else "text"
            more = {"logprobs": opened.logprobs} if opened.kind == "output_text" else {}
            out = self._in_part(f"response.{opened.kind}.done", opened, **{field: part[field]}, **more)
            out += self._in_part("response.content_part.done", opened, part=part)
        return out + self._event("response.output_item.done", output_index=opened.index, item=item)

    def _finish(self, status: str) -> bytes:
        out = b"" if self._begun else self._start()
        for each in self._opened():
            out += self._closed(each, "completed" if status == "completed" else "incomplete")
        self._saying = None
        self._calls.clear()
        response = self._response = self._written(self._done)
        response["status"] = status
        response["completed_at"] = int(time.time()) if status == "completed" else None
        response["usage"] = self._counts()
        self.ended = True
        if self._streams:
            return out + self._event(f"response.{status}", response=response)
        return msgspec.json.encode(response) + b"\n"

    def _written(self, items: dict[int, JSON]) -> JSON:
        output = [items[index] for index in sorted(items)]
        text = "".join(
            part.get("text", "") for item in output if item["type"] == "message" for part in item["content"]
        )
        return {**self._response, "output": output, "output_text": text}

    def _counts(self) -> JSON | None:
        """Counts of tokens; `dropped_messages` is ours, and there when something was left out."""
        usage = self._usage
        if usage is None:
            return None
        counts: JSON = {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
        return {**counts, "dropped_messages": self.dropped} if self.dropped else counts

    def _added(self, opened: _Open) -> bytes:
        item = {**opened.item, "status": "in_progress"}
        if opened.kind != "function_call":
            item["content"] = []
        return self._event("response.output_item.added", output_index=opened.index, item=item)

    def _in_part(self, kind: str, opened: _Open, **fields: Any) -> bytes:
        place = {"item_id": opened.item["id"], "output_index": opened.index, "content_index": 0}
        return self._event(kind, **place, **fields)

    def _delta(self, kind: bytes, opened: _Open, place: bytes, text: str) -> bytes:
        number, self._next = self._next, self._next + 1
        return _DELTA % (kind, kind, number, opened.name, opened.index, place, msgspec.json.encode(text))

    def _event(self, kind: str, **fields: Any) -> bytes:
        if not self._streams:
            return b""
        number, self._next = self._next, self._next + 1
        return event(msgspec.json.encode({"type": kind, "sequence_number": number, **fields}), kind.encode())


def _logprobs(choice: Choice | None) -> list[Any]:
    given = choice.logprobs if choice is not None else None
    found = given.get("content") if isinstance(given, dict) else None
    return found if isinstance(found, list) else []


def _name(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"
