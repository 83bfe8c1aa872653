"""Asks for answers in OpenAI's form, from our daemon or another server, and reads them as they come."""

import json
from collections.abc import Generator, Iterator, Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict

from modelrunner.client.streams import Body, lines
from modelrunner.client.transport import ACCEPT, Transport, document_error, shown
from modelrunner.errors import EngineFailed


class Usage(NamedTuple):
    """Tokens of one exchange."""

    prompt: int
    completion: int
    total: int


class CallPart(NamedTuple):
    """A part of a call of a function: which call of the answer it is, from 0, and what it adds to that."""

    place: int
    name: str = ""
    arguments: str = ""
    id: str = ""


class Piece(NamedTuple):
    """A part of a streamed answer; usually only one field is filled.

    `finish` is why the answer ended, `speed` what the engine says it made, in tokens per second.
    """

    content: str = ""
    reasoning: str = ""
    notice: str = ""
    usage: Usage | None = None
    calls: tuple[CallPart, ...] = ()
    finish: str = ""
    speed: float = 0.0


class Message(TypedDict):
    """One message of a chat; the last two are there when functions are called."""

    role: str
    content: str | list[dict[str, object]]
    tool_calls: NotRequired[list[dict[str, object]]]
    tool_call_id: NotRequired[str]


def ask(transport: Transport, path: str, request: Mapping[str, object]) -> Generator[Piece, None, None]:
    """Send a request for a chat to a route, and yield the answer; closing this ends it.

    Raises:
        EngineFailed: the stream ended before the answer did.
    """
    accept = {"Accept": f"text/event-stream, {ACCEPT}"}
    with transport.open("POST", path, body={**request, "stream": True}, headers=accept) as response:
        yield from read_answer(response)


def valid(text: str) -> str:
    """Replace what no encoding takes: halves of characters, in JSON or for bytes that were no text."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_answer(body: Body) -> Iterator[Piece]:
    """Read an answer: server-sent events, or one JSON document, after any number of plain lines."""
    finished = begun = False
    document = b""
    for raw in lines(body):
        text = raw.strip()
        if document or text.startswith(b"{"):
            document += raw + b"\n"
        elif text.startswith(b"data:"):
            begun = True
            data = text.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            piece, ended = _chunk(data)
            finished = finished or ended
            yield piece
        elif text.startswith(b"error:"):
            _chunk(text.removeprefix(b"error:").strip())
        elif text and not begun and not text.startswith((b":", b"event:")):
            yield Piece(notice=text.decode(errors="replace"))
    if document:
        yield _chunk(document)[0]
    elif not finished:
        raise EngineFailed(
            "the answer was cut off: the stream ended early", hint="the `logs` command shows why"
        )


def _chunk(data: bytes) -> tuple[Piece, bool]:
    """Read one event, or a whole answer; the second value tells whether the answer is complete.

    Source: OpenAI API reference, "The chat completion chunk object"; `reasoning_content` and `timings` as
    llama.cpp has them.
    """
    try:
        event = json.loads(data)
        if event.get("error"):
            raise document_error(event, 500)
        choice = (event.get("choices") or [{}])[0]
        delta = choice.get("delta") or choice.get("message") or {}
        counted = event.get("usage")
        usage = counted and Usage(
            *(int(counted.get(f"{key}_tokens") or 0) for key in ("prompt", "completion", "total"))
        )
        reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
        content = delta.get("content") or ""
        finish = choice.get("finish_reason")
        timings = event.get("timings")
        piece = Piece(
            content=valid("" + content),  # text, or TypeError
            reasoning=valid("" + reasoning),
            usage=usage or None,
            calls=_calls(delta["tool_calls"]) if delta.get("tool_calls") else (),
            finish=str(finish or ""),
            speed=float(timings.get("predicted_per_second") or 0) if timings else 0.0,
        )
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as exc:
        raise EngineFailed(f"the answer cannot be read: {shown(data, 200)}") from exc
    return piece, finish is not None


def _calls(parts: list[dict[str, Any]]) -> tuple[CallPart, ...]:
    found = []
    for place, part in enumerate(parts):
        function = part.get("function") or {}
        texts = (function.get("name"), function.get("arguments"), part.get("id"))
        found.append(CallPart(int(part.get("index", place)), *(valid("" + (text or "")) for text in texts)))
    return tuple(found)
