"""A streamed answer, put together to what it would have been as a whole, in its own dialect.

Source: OpenAI API reference, "Streaming"; Anthropic API reference, "Streaming messages"; Ollama, docs/api.md.
"""

from collections.abc import Iterable
from typing import Any

from modelrunner.dialects.sse import Parser
from modelrunner.errors import EngineFailed
from modelrunner.recorder.asking import ANTHROPIC, OLLAMA, RESPONSES
from modelrunner.recorder.documents import JSON, count_of, dict_of, dicts_of, list_of, read_json, text_of

_MOST_EVENT = 256 << 20  # bytes; a whole response is in one of them
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_DONE = b"[DONE]"
_ITEMS = {  # the kinds of items of a response that come in pieces
    "response.output_text.delta": "message",
    "response.refusal.delta": "message",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.function_call_arguments.delta": "function_call",
}


def folded(dialect: str, media_type: str, body: bytes) -> Any:
    """Read an answer, of a stream all of it in one; None when it is no JSON at all."""
    if media_type.startswith("text/event-stream"):
        events = [event for data in _events(body) if isinstance(event := read_json(data), dict)]
        if not events:
            return None
        if dialect == ANTHROPIC:
            return _anthropic(events)
        return _responses(events) if dialect == RESPONSES else _openai(events)
    if media_type.startswith("application/x-ndjson"):
        lines = [line for each in body.splitlines() if isinstance(line := read_json(each), dict)]
        return _ollama(lines) if dialect == OLLAMA and lines else (lines or None)
    return read_json(body)


def _events(body: bytes) -> list[bytes]:
    parser = Parser(_MOST_EVENT)
    try:
        found = parser.feed(body) + parser.end()
    except EngineFailed:
        return []
    return [data for data in found if data != _DONE]


def _openai(chunks: list[JSON]) -> JSON:
    """Chat or not; every choice, its tools too, which come in pieces."""
    error = next((chunk["error"] for chunk in chunks if chunk.get("error")), None)
    base: JSON = {}
    choices: dict[int, JSON] = {}
    chats = False
    for chunk in chunks:
        base |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for piece in dicts_of(chunk.get("choices")):
            choice = choices.setdefault(count_of(piece.get("index")) or 0, {"finish_reason": None})
            choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
            if isinstance(piece.get("delta"), dict):
                chats = True
                _add(choice.setdefault("message", {"role": "assistant", "content": ""}), piece["delta"])
            elif isinstance(piece.get("text"), str):
                choice.setdefault("text", []).append(piece["text"])
    for choice in choices.values():
        if "text" in choice:
            choice["text"] = "".join(choice["text"])
        for name, value in choice.get("message", {}).items():
            if name in _TEXTS and isinstance(value, list):
                choice["message"][name] = "".join(value)
        _join_calls(choice.get("message", {}))
    whole = {**base, "object": "chat.completion" if chats else "text_completion"}
    if choices:
        whole["choices"] = [{"index": index, **choices[index]} for index in sorted(choices)]
    return {**whole, "error": error} if error is not None else whole


def _add(message: JSON, delta: JSON) -> None:
    for name in _TEXTS:
        piece = delta.get(name)
        if isinstance(piece, str) and piece:
            held = message.get(name)
            if not isinstance(held, list):
                held = message[name] = [held] if held else []
            held.append(piece)
    if text_of(delta.get("role")):
        message["role"] = delta["role"]
    for piece in dicts_of(delta.get("tool_calls")):
        calls = message.setdefault("tool_calls", {})
        index = count_of(piece.get("index"))
        call = calls.setdefault(
            len(calls) if index is None else index,
            {"id": "", "type": "function", "function": {"name": "", "arguments": []}},
        )
        function = dict_of(piece.get("function"))
        call["id"] = text_of(piece.get("id")) or call["id"]
        call["function"]["name"] = text_of(function.get("name")) or call["function"]["name"]
        call["function"]["arguments"].append(text_of(function.get("arguments")))


def _join_calls(message: JSON) -> None:
    calls = message.get("tool_calls")
    if isinstance(calls, dict):
        for call in calls.values():
            call["function"]["arguments"] = "".join(call["function"]["arguments"])
        message["tool_calls"] = [calls[index] for index in sorted(calls)]


def _ollama(lines: list[JSON]) -> JSON:
    whole = dict(lines[-1])
    error = next((line["error"] for line in lines if line.get("error")), None)
    said = [dict_of(line.get("message")) for line in lines]
    if any(said):
        message: JSON = {"role": "assistant", "content": _joined(said, "content")}
        if thinking := _joined(said, "thinking"):
            message["thinking"] = thinking
        if calls := [call for each in said for call in list_of(each.get("tool_calls"))]:
            message["tool_calls"] = calls
        whole["message"] = message
    for name in ("response", "thinking"):
        if any(name in line for line in lines):
            whole[name] = _joined(lines, name)
    return {**whole, "error": error} if error is not None else whole


def _joined(parts: Iterable[JSON], name: str) -> str:
    return "".join(text_of(part.get(name)) for part in parts)


def _anthropic(events: list[JSON]) -> JSON:
    whole: JSON = {"type": "message", "role": "assistant"}
    blocks: dict[int, JSON] = {}
    pieces: dict[int, list[str]] = {}
    for event in events:
        kind, index = event.get("type"), count_of(event.get("index")) or 0
        if kind == "message_start":
            whole |= dict_of(event.get("message"))
        elif kind == "content_block_start":
            blocks[index] = dict(dict_of(event.get("content_block")))
        elif kind == "content_block_delta":
            delta = dict_of(event.get("delta"))
            text = delta.get("text", delta.get("thinking", delta.get("partial_json")))
            pieces.setdefault(index, []).append(text_of(text))
        elif kind == "message_delta":
            whole |= dict_of(event.get("delta"))
            whole["usage"] = {**dict_of(whole.get("usage")), **dict_of(event.get("usage"))}
        elif kind == "error":
            whole["error"] = event.get("error")
    for index, block in blocks.items():
        text = "".join(pieces.get(index, ()))
        if block.get("type") == "tool_use":
            given = read_json(text)  # nothing when it is broken off
            block["input"] = given if given is not None else text or block.get("input")
        else:
            block["thinking" if block.get("type") == "thinking" else "text"] = text
    whole["content"] = [blocks[index] for index in sorted(blocks)]
    return whole


def _responses(events: list[JSON]) -> JSON:
    """The last event that has the response; of one that was broken off, what had come of its items."""
    whole: JSON = {}
    items: dict[int, JSON] = {}
    pieces: dict[int, list[str]] = {}  # of items that are not done
    for event in events:
        kind, index = text_of(event.get("type")), count_of(event.get("output_index")) or 0
        if isinstance(event.get("response"), dict):
            whole = event["response"]
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            items[index] = dict(dict_of(event.get("item")))
            pieces.pop(index, None)
        elif kind in _ITEMS:
            items.setdefault(index, {"type": _ITEMS[kind]})
            pieces.setdefault(index, []).append(text_of(event.get("delta")))
        elif kind == "error":
            whole = {**whole, "error": {"code": event.get("code"), "message": event.get("message")}}
    if whole.get("status") in {"completed", "failed", "incomplete", "cancelled"}:
        return whole
    for index, said in pieces.items():
        if items[index].get("type") == "function_call":
            items[index]["arguments"] = "".join(said)
        else:
            part = "reasoning_text" if items[index].get("type") == "reasoning" else "output_text"
            items[index]["content"] = [{"type": part, "text": "".join(said)}]
    return {**whole, "output": [items[index] for index in sorted(items)]}
