"""What an answer says, in whichever dialect it was given: text, thoughts, calls, and its counts.

Source: as for `folding`; llama.cpp, tools/server/README.md, for `timings`.
"""

from typing import Any

from modelrunner.recorder.asking import calls_of
from modelrunner.recorder.documents import JSON, count_of, dict_of, dicts_of, number_of, read_json, text_of
from modelrunner.recorder.values import Answered, Call, Counts

_NANO = 1e9
_TIMINGS = b'"timings":'


def read_answered(document: Any) -> Answered:
    """Read a whole answer; nothing is expected of it."""
    body = dict_of(document)
    answered = Answered(error=_error(body))
    if isinstance(body.get("choices"), list):
        _openai(body, answered)
    elif isinstance(body.get("output"), list):
        _responses(body, answered)
    elif body.get("type") == "message":
        _anthropic(body, answered)
    elif "message" in body or "response" in body:
        _ollama(body, answered)
    elif isinstance(body.get("text"), str):  # a transcript
        answered.text = body["text"]
    answered.counts = counts_of(body, answered.counts.finish_reason)
    return answered


def times_in(words: bytes, counts: Counts) -> None:
    """Add what an engine's last words say of its times, in JSON that may have been cut at its beginning."""
    start = words.rfind(_TIMINGS)
    if start < 0:
        return
    text = words[start + len(_TIMINGS) :]
    timings = read_json(text[: text.find(b"}") + 1])
    if isinstance(timings, dict):
        _engine_times({}, timings, counts)


def counts_of(body: JSON, finish: str | None) -> Counts:
    """Read the counts, by whichever names."""
    usage, timings = dict_of(body.get("usage")), dict_of(body.get("timings"))
    cached = dict_of(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    thought = dict_of(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    counts = Counts(
        prompt_tokens=_first(usage.get("prompt_tokens"), usage.get("input_tokens")),
        cached_tokens=_first(cached.get("cached_tokens"), usage.get("cache_read_input_tokens")),
        completion_tokens=_first(usage.get("completion_tokens"), usage.get("output_tokens")),
        reasoning_tokens=count_of(thought.get("reasoning_tokens")),
        finish_reason=finish,
    )
    _engine_times(body, timings, counts)
    # Anthropic counts what was read from the cache apart.
    if counts.prompt_tokens is not None and "cache_read_input_tokens" in usage:
        counts.prompt_tokens += counts.cached_tokens or 0
    return counts


def _engine_times(body: JSON, timings: JSON, counts: Counts) -> None:
    """llama.cpp's `timings`, or Ollama's durations."""
    if timings:
        read, written = count_of(timings.get("prompt_n")), count_of(timings.get("predicted_n"))
        if counts.prompt_tokens is None and read is not None:
            counts.prompt_tokens = read + (count_of(timings.get("cache_n")) or 0)
        if counts.completion_tokens is None:
            counts.completion_tokens = written
        if counts.cached_tokens is None:
            counts.cached_tokens = count_of(timings.get("cache_n"))
        counts.prompt_seconds = _scaled(timings.get("prompt_ms"), 1e3)
        counts.prompt_per_second = _rounded(timings.get("prompt_per_second"))
        counts.tokens_per_second = _rounded(timings.get("predicted_per_second"))
    elif "eval_count" in body or "prompt_eval_count" in body:
        counts.prompt_tokens = count_of(body.get("prompt_eval_count"))
        counts.completion_tokens = count_of(body.get("eval_count"))
        counts.prompt_seconds = _scaled(body.get("prompt_eval_duration"), _NANO)
        counts.prompt_per_second = _rate(counts.prompt_tokens, counts.prompt_seconds)
        counts.tokens_per_second = _rate(counts.completion_tokens, _scaled(body.get("eval_duration"), _NANO))


def _openai(body: JSON, answered: Answered) -> None:
    choices = dicts_of(body["choices"])
    texts, thoughts = [], []
    for choice in choices:
        message = dict_of(choice.get("message"))
        texts.append(
            text_of(message.get("content")) or text_of(message.get("refusal")) or text_of(choice.get("text"))
        )
        thoughts.append(text_of(message.get("reasoning_content")) or text_of(message.get("reasoning")))
        answered.calls += calls_of(message)
    answered.text, answered.reasoning = _paragraphs(texts), _paragraphs(thoughts)
    if choices:
        answered.counts.finish_reason = text_of(choices[0].get("finish_reason")) or None


def _responses(body: JSON, answered: Answered) -> None:
    texts, thoughts = [], []
    for item in dicts_of(body["output"]):
        kind = item.get("type")
        parts = [text_of(part.get("text", part.get("refusal"))) for part in dicts_of(item.get("content"))]
        if kind == "message":
            texts += parts
        elif kind == "reasoning":
            thoughts += parts
        elif kind == "function_call":
            answered.calls.append(
                Call(text_of(item.get("call_id")), text_of(item.get("name")), text_of(item.get("arguments")))
            )
    answered.text, answered.reasoning = _paragraphs(texts), _paragraphs(thoughts)
    reason = text_of(dict_of(body.get("incomplete_details")).get("reason"))
    answered.counts.finish_reason = reason or text_of(body.get("status")) or None


def _anthropic(body: JSON, answered: Answered) -> None:
    blocks = dicts_of(body.get("content"))
    answered.text = _paragraphs([text_of(block.get("text")) for block in blocks])
    answered.reasoning = _paragraphs([text_of(block.get("thinking")) for block in blocks])
    answered.calls = calls_of(body)
    answered.counts.finish_reason = text_of(body.get("stop_reason")) or None


def _ollama(body: JSON, answered: Answered) -> None:
    message = dict_of(body.get("message"))
    answered.text = text_of(message.get("content")) or text_of(body.get("response"))
    answered.reasoning = text_of(message.get("thinking")) or text_of(body.get("thinking"))
    answered.calls = calls_of(message)
    answered.counts.finish_reason = text_of(body.get("done_reason")) or None


def _error(body: JSON) -> str | None:
    error = body.get("error")
    return (text_of(error) or text_of(dict_of(error).get("message")) or None) if error else None


def _paragraphs(texts: list[str]) -> str:
    return "\n\n".join(text for text in texts if text)


def _first(*values: Any) -> int | None:
    for value in values:
        count = count_of(value)
        if count is not None:
            return count
    return None


def _scaled(value: Any, by: float) -> float | None:
    number = number_of(value)
    return None if number is None else number / by


def _rounded(value: Any) -> float | None:
    number = number_of(value)
    return None if number is None else round(number, 2)


def _rate(count: int | None, seconds: float | None) -> float | None:
    return round(count / seconds, 2) if count and seconds else None
