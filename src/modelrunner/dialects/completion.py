"""What is read of the answers that engines give in OpenAI's form: whole ones, chunks of streams, and errors.

Only what a dialect passes on is read. Engines differ in what they leave out, so everything may be absent.
Source: OpenAI API reference, "Chat completions" and "Embeddings"; llama.cpp, tools/server/README.md, for
`timings` and `prompt_progress`; vLLM for `stop_reason` and `reasoning`.
"""

from typing import Any

import msgspec

from modelrunner.errors import EngineFailed

# What msgspec raises for JSON that is none: also for bytes that are no UTF-8, and for deep nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Function(msgspec.Struct, gc=False):
    """The name of a function and its arguments, as JSON in a text; a stream has either in pieces."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    """A call of a function; `index` tells the calls of one stream apart, `id` is there in the first piece."""

    index: int | None = None
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Message(msgspec.Struct):
    """A message, or what a chunk adds to it."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def thinking(self) -> str | None:
        """What the model says to itself, by whichever name."""
        return self.reasoning_content or self.reasoning


_SILENCE = Message()


class Choice(msgspec.Struct):
    """One of the answers; `delta` in a chunk, `message` in a whole one, `text` without a chat."""

    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: Any = None

    @property
    def said(self) -> Message:
        """The message, or what is added to it."""
        return self.delta or self.message or _SILENCE


class CachedTokens(msgspec.Struct, gc=False):
    """How many tokens of the prompt were known already."""

    cached_tokens: int | None = None


class ReasoningTokens(msgspec.Struct, gc=False):
    """How many tokens of the answer are thoughts."""

    reasoning_tokens: int | None = None


class Usage(msgspec.Struct):
    """Counts of tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: CachedTokens | None = None
    completion_tokens_details: ReasoningTokens | None = None

    @property
    def reasoning(self) -> int:
        """How many tokens of the answer are thoughts; 0 when the engine does not count them."""
        return (self.completion_tokens_details and self.completion_tokens_details.reasoning_tokens) or 0

    @property
    def cached(self) -> int:
        """How many tokens of the prompt were known already."""
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0


class Timings(msgspec.Struct, gc=False):
    """llama.cpp's own counts, and times in milliseconds; `prompt_n` is without the cached `cache_n`."""

    prompt_n: int = 0
    cache_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class PromptProgress(msgspec.Struct, gc=False):
    """How far the prompt has been read, in tokens; comes before the first word when it is asked for."""

    total: int = 0
    cache: int = 0
    processed: int = 0


class Completion(msgspec.Struct):
    """A whole answer, or a chunk of one."""

    id: str | None = None
    choices: list[Choice] = []
    usage: Usage | None = None
    timings: Timings | None = None
    prompt_progress: PromptProgress | None = None
    content: str | None = None  # llama.cpp's own form, in which it fills gaps
    stop: bool = False
    stop_type: str | None = None
    error: Any = None


class Embedding(msgspec.Struct):
    """One vector, as JSON: numbers are passed on as the engine wrote them."""

    index: int = 0
    embedding: msgspec.Raw = msgspec.Raw(b"[]")


class Embeddings(msgspec.Struct):
    """The vectors of some texts."""

    data: list[Embedding] = []
    usage: Usage | None = None


_completion = msgspec.json.Decoder(Completion)
_embeddings = msgspec.json.Decoder(Embeddings)


def read_completion(data: bytes) -> Completion:
    """Read a whole answer, or a chunk.

    Raises:
        EngineFailed: it is none.
    """
    try:
        return _completion.decode(data)
    except UNREADABLE as exc:
        raise EngineFailed(f"the engine did not answer properly: {exc}") from exc


def read_embeddings(data: bytes) -> Embeddings:
    """Read vectors.

    Raises:
        EngineFailed: there are none.
    """
    try:
        return _embeddings.decode(data)
    except UNREADABLE as exc:
        raise EngineFailed(f"the engine did not answer properly: {exc}") from exc
