"""What the fake engine is told to do, what it reads of a request, and the words that it answers with."""

import itertools
import os
import sys
import time
from typing import NoReturn

import msgspec


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `FAKE_ENGINE` may say; the second group also an object `fake` in a request.

    `load_seconds` with `/health` at 503; `hang_at_load` for ever; `crash_at_load` is the last line on stderr;
    `restless` is the path, `/sleep` or `/wake_up`, that fails, and `hang_at` the one that never answers;
    `health_status` overrides the status of `/health`; `exit_after_seconds` counts from the start.
    With `timestamps` each word of a stream is the time, in nanoseconds of the system's monotonic clock. `raw`
    is the whole body of a stream, a character for each byte; every byte is sent by itself.
    `recite` answers with all messages, each behind its role; `context` is the most words that they, or a text
    for a vector, may have; `call` is the name of a function to call, unless a result of a call is among the
    messages. With `tokenizes` it knows llama-server's routes about tokens, of which a word is one.
    """

    load_seconds: float = 0.0
    hang_at_load: bool = False
    crash_at_load: str | None = None
    health_status: int | None = None
    exit_after_seconds: float | None = None
    ignore_sigterm: bool = False
    restless: str | None = None
    hang_at: str | None = None

    tokens: int | None = None
    tokens_per_second: float | None = None
    crash_after_tokens: int | None = None
    crash_on_request: bool = False
    hang_on_request: bool = False
    timestamps: bool = False
    raw: str | None = None
    status: int | None = None
    recite: bool = False
    context: int | None = None
    call: str | None = None
    tokenizes: bool = False


class StreamOptions(msgspec.Struct):
    """`stream_options` of OpenAI."""

    include_usage: bool = False


class Message(msgspec.Struct):
    """One of the messages of a chat."""

    role: str = ""
    content: object = None


class Body(msgspec.Struct):
    """What the fake reads of a request; the rest is ignored."""

    model: str = ""
    messages: list[Message] = []
    prompt: object = None
    input: object = None
    stream: bool = False
    max_tokens: int | None = None
    stream_options: StreamOptions | None = None
    fake: dict[str, object] | None = None


def log(words: str) -> None:
    """Say something on stderr, at once."""
    print(words, file=sys.stderr, flush=True)


def crash(words: str) -> NoReturn:
    """End as a crash does: last words, no clean-up."""
    log(words)
    os._exit(1)


def _words(body: Body) -> list[str]:
    """The words of the last user message, or of the prompt."""
    said: object = body.prompt
    for message in reversed(body.messages):
        if message.role == "user":
            said = message.content
            break
    return _text(said or "ok").split() or ["ok"]


def _text(said: object) -> str:
    if isinstance(said, list):
        parts = (part.get("text", "") if isinstance(part, dict) else part for part in said)
        return " ".join(str(part) for part in parts)
    return str(said)


def recited(body: Body) -> list[str]:
    """The words of all messages, each behind its role."""
    return " ".join(f"{message.role}:{_text(message.content)}" for message in body.messages).split()


def prompt_size(body: Body) -> int:
    """How many words, or tokens, a request has; of texts for vectors, the longest counts."""
    if body.input is None:
        return len(recited(body))
    inputs = body.input if isinstance(body.input, list) else [body.input]
    return max((len(each if isinstance(each, list) else str(each).split()) for each in inputs), default=0)


def tokens_of(path: str, body: bytes) -> dict[str, object]:
    """What llama-server's routes about tokens answer; a token is how long its word is."""
    asked = msgspec.json.decode(body, type=dict[str, object])
    if path == "/detokenize":
        return {"content": str(asked["tokens"])}
    if path == "/tokenize":
        return {"tokens": [len(word) for word in str(asked["content"]).split()]}
    words = recited(msgspec.convert(asked, Body, strict=False))
    return {"prompt": " ".join(words)} if path == "/apply-template" else {"input_tokens": len(words)}


class Generation:
    """One answer, as a sequence of words at a pace."""

    def __init__(self, name: str, path: str, body: Body, behaviour: Behaviour) -> None:
        words = recited(body) if behaviour.recite else _words(body)
        wanted = len(words) if behaviour.tokens is None else behaviour.tokens
        self.count = wanted if body.max_tokens is None else min(wanted, body.max_tokens)
        self.finish = "stop" if self.count == wanted else "length"
        self.words = tuple(itertools.islice(itertools.cycle(words), self.count))
        self.prompt_tokens = len(words)
        results = any(message.role == "tool" for message in body.messages)
        self.call = None if results else behaviour.call
        if self.call is not None:
            self.count, self.finish = 0, "tool_calls"
        self.chat = path.endswith("/chat/completions")
        self.model = body.model
        self.usage_wanted = body.stream_options is not None and body.stream_options.include_usage
        self.behaviour = behaviour
        self.done = 0
        self.name = f"{'chatcmpl' if self.chat else 'cmpl'}-{name}"

    @property
    def is_instant(self) -> bool:
        """Whether all of it can be said at once."""
        return self.behaviour.tokens_per_second is None and self.behaviour.crash_after_tokens is None

    @property
    def usage(self) -> dict[str, int]:
        """OpenAI's `usage`; a word is a token."""
        total = self.prompt_tokens + self.count
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.count,
            "total_tokens": total,
        }

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        text = " ".join(self.words)
        choice: dict[str, object] = {"index": 0, "finish_reason": self.finish}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text}
            if self.call is not None:
                function = {"name": self.call, "arguments": '{"of": 7}'}
                call = {"id": "call_7", "type": "function", "function": function}
                choice["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
        else:
            choice["text"] = text
        kind = "chat.completion" if self.chat else "text_completion"
        return self._object(kind, choices=[choice], usage=self.usage)

    def advance(self) -> None:
        """Count a token, unless this is where it was told to crash."""
        if self.behaviour.crash_after_tokens == self.done:
            crash(f"fake engine: crashed on purpose after {self.done} tokens")
        self.done += 1

    def event(self) -> bytes:
        """The server-sent event of the token that comes next."""
        text = self.words[self.done] + (" " if self.done + 1 < self.count else "")
        if self.behaviour.timestamps:
            text = f"{time.monotonic_ns()} "
        return self._event({"delta": {"content": text}} if self.chat else {"text": text})

    def first(self) -> bytes:
        """What a stream starts with, before any token."""
        return self._event({"delta": {"role": "assistant", "content": None}}) if self.chat else b""

    def last(self) -> bytes:
        """What a stream ends with."""
        empty: dict[str, object] = {"delta": {}} if self.chat else {"text": ""}
        end = b""
        if self.call is not None:
            first = {"index": 0, "id": "call_7", "type": "function", "function": {"name": self.call}}
            for piece in (
                first,
                *({"index": 0, "function": {"arguments": part}} for part in ('{"of"', ": 7}")),
            ):
                end += self._event({"delta": {"tool_calls": [piece]}})
        end += self._event(empty, finish=self.finish)
        if self.usage_wanted:
            kind = "chat.completion.chunk" if self.chat else "text_completion"
            end += b"data: %b\n\n" % self._object(kind, choices=[], usage=self.usage)
        return end + b"data: [DONE]\n\n"

    def _event(self, choice: dict[str, object], finish: str | None = None) -> bytes:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return b"data: %b\n\n" % self._object(kind, choices=[{"index": 0, "finish_reason": finish} | choice])

    def _object(self, kind: str, **more: object) -> bytes:
        return msgspec.json.encode(
            {"id": self.name, "object": kind, "created": 1_700_000_000, "model": self.model, **more}
        )
