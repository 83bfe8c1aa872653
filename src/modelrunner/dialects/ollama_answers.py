"""An engine's answers in Ollama's form: lines of JSON, or one object, with counts and times at the end."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from modelrunner.dialects.base import JSON as JSON_TYPE
from modelrunner.dialects.base import NDJSON, Timing
from modelrunner.dialects.clock import CLOCK, Clock
from modelrunner.dialects.completion import (
    Choice,
    Completion,
    Timings,
    ToolCall,
    Usage,
    read_completion,
    read_embeddings,
)
from modelrunner.dialects.ollama import JSON, MOST_REMEMBERED, remember
from modelrunner.dialects.vectors import of_length_one
from modelrunner.errors import EngineFailed

_NANOSECONDS = 1e9
_MOST_ARGUMENTS = 16 << 20  # characters of all calls of one answer


class ToolCalls:
    """Calls put together from the pieces of a stream: Ollama's clients expect each one whole."""

    def __init__(self) -> None:
        # By index: the id, and the pieces of name and arguments.
        self._calls: dict[int, tuple[str, list[str], list[str]]] = {}
        self._size = 0

    def add(self, pieces: Sequence[ToolCall]) -> None:
        """Take pieces.

        Raises:
            EngineFailed: there is no end of them.
        """
        for place, piece in enumerate(pieces):
            index = place if piece.index is None else piece.index
            _, name, arguments = self._calls.setdefault(index, (piece.id or "", [], []))
            name.append(piece.function.name or "")
            arguments.append(piece.function.arguments or "")
            self._size += len(arguments[-1]) + 1
        if self._size > _MOST_ARGUMENTS:
            raise EngineFailed("the engine did not answer properly: a tool call without end")

    def take(self, *, cut: bool) -> list[JSON]:
        """Give all calls in their order, once; of an answer that was `cut` short the last may be missing.

        Raises:
            EngineFailed: arguments that are no JSON object.
        """
        calls: list[JSON] = []
        for index, (call_id, names, pieces) in sorted(self._calls.items()):
            try:
                arguments = msgspec.json.decode("".join(pieces) or "{}", type=dict[str, Any])
            except msgspec.MsgspecError as exc:
                if cut:
                    continue
                raise EngineFailed("the engine did not answer properly: a tool call is no JSON") from exc
            function = {"index": index, "name": "".join(names), "arguments": arguments}
            calls.append(({"id": call_id} if call_id else {}) | {"function": function})
        self._calls.clear()
        return calls


class Talk:
    """What chat and generate have in common: a `Translator` whose words are put into lines by a subclass."""

    finished = False

    def __init__(self, model: str, *, streams: bool, clock: Clock = CLOCK) -> None:
        self.media_type = NDJSON if streams else JSON_TYPE
        self._model = model
        self._streams = streams
        self._clock = clock
        self._timing = Timing(0.0, 0.0, clock.steady())
        self._first: float | None = None  # when the first word came
        self._reason = "stop"
        self._usage: Usage | None = None
        self._timings: Timings | None = None
        self._calls = ToolCalls()
        self.notes: JSON = {}  # what the last line says besides

    def begin(self, timing: Timing) -> None:
        """See `Translator`."""
        self._timing = timing

    def whole(self, body: bytes) -> bytes:
        """See `Translator`."""
        logprobs: list[Any] = []
        said = self._said(read_completion(body), logprobs)
        return msgspec.json.encode(self._line(*said, logprobs) | self._last()) + b"\n"

    def chunk(self, chunk: Completion) -> bytes:
        """See `Translator`."""
        logprobs: list[Any] = []
        text, thought, calls = self._said(chunk, logprobs)
        if not (text or thought or calls):
            return b""
        return msgspec.json.encode(self._line(text, thought, calls, logprobs) | {"done": False}) + b"\n"

    def end(self) -> bytes:
        """See `Translator`."""
        return msgspec.json.encode(self._line("", "", [], []) | self._last()) + b"\n"

    def _said(self, answer: Completion, logprobs: list[Any]) -> tuple[str, str, list[JSON]]:
        """What is said and thought, and which calls are complete; counts and reasons are noted."""
        self._usage = answer.usage or self._usage
        self._timings = answer.timings or self._timings
        if answer.stop:
            self._reason = "length" if answer.stop_type == "limit" else "stop"
        if not answer.choices:
            return self._heard(answer.content or "", "", [])
        choice = answer.choices[0]
        message = choice.said
        if message.tool_calls:
            self._calls.add(message.tool_calls)
        logprobs += _logprobs(choice)
        calls: list[JSON] = []
        if choice.finish_reason is not None:
            self._reason = "length" if choice.finish_reason == "length" else "stop"
            calls = self._calls.take(cut=self._reason == "length")
        text = choice.text if choice.text is not None else message.content
        return self._heard(text or "", message.thinking or "", calls)

    def _heard(self, text: str, thought: str, calls: list[JSON]) -> tuple[str, str, list[JSON]]:
        if self._first is None and (text or thought or calls):
            self._first = self._clock.steady()
        return text, thought, calls

    def _line(self, text: str, thought: str, calls: list[JSON], logprobs: list[Any]) -> JSON:
        raise NotImplementedError

    def _head(self) -> JSON:
        return {"model": self._model, "created_at": self._clock.timestamp()}

    def _last(self) -> JSON:
        """How it ended, what it took in tokens, and for how long, in nanoseconds."""
        now, timing = self._clock.steady(), self._timing
        first = now if self._first is None else self._first
        prompt, answer = first - timing.since, now - first
        asked, made = 0, 0
        if self._usage is not None:
            asked, made = self._usage.prompt_tokens, self._usage.completion_tokens
        if self._timings is not None:
            prompt, answer = self._timings.prompt_ms / 1e3, self._timings.predicted_ms / 1e3
            asked = asked or self._timings.prompt_n + self._timings.cache_n
            made = made or self._timings.predicted_n
        total = timing.queued + timing.loading + now - timing.since
        return {
            "done": True,
            "done_reason": self._reason,
            "total_duration": _nanoseconds(total),
            "load_duration": _nanoseconds(timing.loading),
            "prompt_eval_count": asked,
            "prompt_eval_duration": _nanoseconds(prompt),
            "eval_count": made,
            "eval_duration": _nanoseconds(answer),
            **self.notes,
        }


class Chat(Talk):
    """The answer of `/api/chat`."""

    def _line(self, text: str, thought: str, calls: list[JSON], logprobs: list[Any]) -> JSON:
        message: JSON = {"role": "assistant", "content": text}
        if thought:
            message["thinking"] = thought
        if calls:
            message["tool_calls"] = calls
        return {**self._head(), "message": message, **({"logprobs": logprobs} if logprobs else {})}


class Generate(Talk):
    """The answer of `/api/generate`. With `asked`, the whole conversation is given back as `context`."""

    def __init__(
        self, model: str, *, streams: bool, asked: Sequence[JSON] | None = None, clock: Clock = CLOCK
    ) -> None:
        super().__init__(model, streams=streams, clock=clock)
        self._asked = asked
        self._words: list[str] = []
        self._size = 0

    def _line(self, text: str, thought: str, calls: list[JSON], logprobs: list[Any]) -> JSON:
        if self._asked is not None and text:
            self._words.append(text)
            self._size += len(text)
            if self._size > MOST_REMEMBERED:
                self._asked = None
                self._words.clear()
        line = {**self._head(), "response": text}
        if thought:
            line["thinking"] = thought
        if calls:
            line["tool_calls"] = calls
        return {**line, **({"logprobs": logprobs} if logprobs else {})}

    def _last(self) -> JSON:
        last = super()._last()
        if self._asked is not None:
            answer = {"role": "assistant", "content": "".join(self._words)}
            context = remember([*self._asked, answer])
            if context is not None:
                last["context"] = context
        return last


class Embed:
    """The answer of `/api/embed`: `dimensions` are the first of each vector, as long as one again.

    `notes` are told too, which are ours: texts that were cut, a context that is smaller than was asked for.
    """

    def __init__(self, model: str, dimensions: int | None = None, clock: Clock = CLOCK) -> None:
        self._model = model
        self._dimensions = dimensions
        self.notes: dict[str, Any] = {}
        self._clock = clock
        self._timing = Timing(0.0, 0.0, clock.steady())

    def begin(self, timing: Timing) -> None:
        """Note how the request has fared so far."""
        self._timing = timing

    def whole(self, body: bytes) -> bytes:
        """Turn the engine's answer."""
        answer = read_embeddings(body)
        vectors = [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
        now, timing = self._clock.steady(), self._timing
        reply = {
            "model": self._model,
            "embeddings": [shortened(vector, self._dimensions) for vector in vectors],
            "total_duration": _nanoseconds(timing.queued + timing.loading + now - timing.since),
            "load_duration": _nanoseconds(timing.loading),
            "prompt_eval_count": answer.usage.prompt_tokens if answer.usage else 0,
        }
        return msgspec.json.encode({**reply, **self.notes}) + b"\n"


class OldEmbed(Embed):
    """The answer of `/api/embeddings`: the one vector."""

    def whole(self, body: bytes) -> bytes:
        """Turn the engine's answer."""
        data = read_embeddings(body).data
        return msgspec.json.encode({"embedding": data[0].embedding if data else []}) + b"\n"


def shortened(vector: msgspec.Raw, dimensions: int | None) -> msgspec.Raw | list[float]:
    """Take the first numbers of a vector, and make it as long as one again; None takes all as they are.

    Raises:
        EngineFailed: it is no vector.
    """
    if dimensions is None:
        return vector
    try:
        numbers = msgspec.json.decode(vector, type=list[float])[:dimensions]
    except msgspec.MsgspecError as exc:
        raise EngineFailed(f"the engine did not answer properly: {exc}") from exc
    return of_length_one(numbers)


def loaded(model: str, kind: Callable[..., Talk], *, unloads: bool, clock: Clock = CLOCK) -> bytes:
    """Answer a request that asks nothing: its model was loaded, or is to go."""
    line = kind(model, streams=False, clock=clock)
    reason = "unload" if unloads else "load"
    ending = {"done": True, "done_reason": reason}
    return msgspec.json.encode(line._line("", "", [], []) | ending) + b"\n"  # noqa: SLF001 - of this module


def _logprobs(choice: Choice) -> list[Any]:
    """OpenAI's log probabilities, whose items are Ollama's too."""
    found = choice.logprobs.get("content") if isinstance(choice.logprobs, dict) else None
    return found if isinstance(found, list) else []


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * _NANOSECONDS))
