"""Makes of what the data path noted what is stored: read, put together, shortened, redacted, counted."""

import hashlib
import re
from datetime import UTC, datetime
from email.parser import BytesParser
from typing import Any

import msgspec

from modelrunner.dialects.forms import is_form
from modelrunner.recorder.answering import read_answered, times_in
from modelrunner.recorder.asking import as_text, dialect_of, gist, read_asked
from modelrunner.recorder.documents import JSON, clean, dict_of, read_json, repeats_a_name
from modelrunner.recorder.folding import folded
from modelrunner.recorder.redaction import Rules
from modelrunner.recorder.shortening import Shortened, is_plain, medium, redacted, shortened, unread
from modelrunner.recorder.values import Answered, Entry, Instance, Noted

_GIST = 200  # characters
_PRODUCT = re.compile(r"[\w.+-]+(?:/Python|/JS)?")
_MOST_TEXT = 64 << 20  # bytes of a request or a response that are kept
_LONGEST = 500  # characters of a header
_LONGEST_NUMBER = 18
_STREAMS = (b"text/event-stream", b"application/x-ndjson")
_NOBODY = Instance("", "", "", "", None, "{}")
_NOT_WHOLE = ("text/", "application/x-ndjson")  # what may be a stream, of which not all is read
_TEXTS = ("application/json", *_NOT_WHOLE)


def read_noted(noted: Noted, rules: Rules, salt: bytes) -> Entry:
    """Read a request and its answer. `salt` is for the marks that stand for API keys."""
    dialect = dialect_of(noted.path)
    instance = noted.instance or _NOBODY
    in_pieces = noted.answer_type.startswith(_STREAMS)
    is_whole = not is_form(noted.request_type)
    asked_for, request, cut_request = _kept(
        noted.body, _request(noted), rules, is_whole=is_whole, is_asked=True
    )
    asked = read_asked(asked_for.value)
    document = _answer(dialect, noted)
    is_whole = not _text(noted.answer_type).startswith(_NOT_WHOLE)
    answered_with, response, cut_response = _kept(
        noted.answer, document, rules, is_whole=is_whole, is_asked=False
    )
    answered = read_answered(answered_with.value)
    times_in(noted.engine, answered.counts)
    first = _first_token(noted, answered)
    error, more = redacted(noted.error or answered.error or "", rules)
    redactions = asked_for.redacted + answered_with.redacted + more
    prompt = as_text(asked.messages)
    summary = {
        **_who(noted, instance, dialect, salt, redacted(_text(noted.user_agent), rules)[0]),
        **_what(noted, instance, answered, first),
        "streamed": in_pieces,
        "error": error or None,
        "prompt": gist(asked.messages, _GIST),
        "answer": (answered.text or answered.reasoning or _called(answered))[:_GIST],
        "model": noted.model or str(dict_of(asked_for.value).get("model") or "")[:_GIST],
    }
    return Entry(
        summary=summary,
        prompt=prompt,
        answer=answered.text,
        reasoning=answered.reasoning,
        request=request,
        response=response if noted.answer else None,
        detail={
            "timeline": _timeline(noted, first),
            "redacted": redactions,
            "cut": noted.cut or cut_request or cut_response,
            "readable": asked_for.value is not None,
            "config": instance.config,
            "reached": noted.asked is not None,
        },
        messages=asked.messages,
        calls=answered.calls,
        parameters=asked.parameters,
        trace=_text(noted.trace),
    )


def _who(noted: Noted, instance: Instance, dialect: str, salt: bytes, agent: str) -> JSON:
    product = _PRODUCT.match(agent)
    caller = product[0] if product else "unknown"
    if noted.key:
        mark = hashlib.blake2b(noted.key, key=salt, digest_size=4).hexdigest()
        caller = f"{caller} key:{mark}"
    return {
        "request_id": _text(noted.request_id),
        "at": noted.at,
        "model_id": instance.model_id,
        "backend": instance.backend,
        "mode": instance.mode,
        "dialect": dialect,
        "method": noted.method,
        "path": clean(noted.path)[:500],
        "caller": caller,
        "user_agent": agent,
        "address": noted.address,
        "replay_of": _number(noted.replay_of),
    }


def _what(noted: Noted, instance: Instance, answered: Answered, first: float | None) -> JSON:
    counts = answered.counts
    rate = counts.tokens_per_second
    if rate is None and _in_pieces(noted) and counts.completion_tokens and first and noted.last:
        took = noted.last - first
        rate = round(counts.completion_tokens / took, 2) if took > 0 else None
    used = [count for count in (counts.prompt_tokens, counts.completion_tokens) if count is not None]
    return {
        "status": noted.status,
        "outcome": "failed" if noted.outcome == "ok" and answered.error else noted.outcome,
        "prompt_tokens": counts.prompt_tokens,
        "cached_tokens": counts.cached_tokens,
        "completion_tokens": counts.completion_tokens,
        "reasoning_tokens": counts.reasoning_tokens,
        "tokens_per_second": rate,
        "prompt_per_second": counts.prompt_per_second,
        "context_used": sum(used) if used else None,
        "context_size": instance.context_size,
        "first_token": first,
        "seconds": noted.seconds,
        "finish_reason": counts.finish_reason,
        "tool_calls": len(answered.calls),
    }


def _first_token(noted: Noted, answered: Answered) -> float | None:
    """When the first token came; None when none did, as when no engine was asked.

    It is no earlier than where the engine says that the prompt ended: the first piece of a stream may only
    announce it, and a whole answer comes at once.
    """
    asked, first, last, read = noted.asked, noted.first, noted.last, answered.counts.prompt_seconds
    if asked is None or first is None or last is None:
        return None
    if not _in_pieces(noted):
        return None if read is None else min(last, asked + read)
    is_over_early = noted.outcome != "ok" or answered.error
    if is_over_early and not (answered.text or answered.reasoning or answered.calls):
        return None
    return first if read is None else max(first, min(last, asked + read))


def _timeline(noted: Noted, first: float | None) -> JSON:
    """Cut the time into phases, which add up to it: what comes before the queue is waited for, too."""
    asked, last = noted.asked, noted.last
    prompt = tokens = None
    over = asked if asked is not None else min(noted.queued, noted.seconds)
    timeline: JSON = {"queued": max(0.0, over - noted.loading), "loading": noted.loading}
    if asked is not None and last is not None:
        if first is not None:
            prompt = first - asked
        tokens = last - (asked if first is None else first)
        over = last
    return {**timeline, "prompt": prompt, "tokens": tokens, "end": max(0.0, noted.seconds - over)}


def _in_pieces(noted: Noted) -> bool:
    return noted.answer_type.startswith(_STREAMS)


def _called(answered: Answered) -> str:
    return ", ".join(f"{call.name}({call.arguments})" for call in answered.calls)


def _request(noted: Noted) -> Any:
    kind = _text(noted.request_type)
    if is_form(noted.request_type):
        return _form(kind, noted.body)
    return read_json(noted.body)


def _form(content_type: str, body: bytes) -> JSON:
    """Read a form; of a file only what stands for it."""
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    fields: JSON = {}
    for part in BytesParser().parsebytes(head + body).walk():
        name = part.get_param("name", header="content-disposition")
        if part.is_multipart() or not isinstance(name, str):
            continue
        data = part.get_payload(decode=True)
        data = data if isinstance(data, bytes) else b""
        if part.get_filename() is not None:
            fields[name] = medium(data, part.get_content_type())
        else:
            fields[name] = data.decode("utf-8", "replace")
    return fields


def _answer(dialect: str, noted: Noted) -> Any:
    """Read an answer; what is neither JSON nor a stream of it is a text, or a medium."""
    answer = noted.answer
    if not answer:
        return None
    kind = _text(noted.answer_type)
    found = folded(dialect, kind, answer)
    if found is not None:
        return found
    kind = kind.partition(";")[0].strip()
    if not kind or kind.startswith(_TEXTS):
        text = answer.decode("utf-8", "replace")
        return None if text.lstrip("\ufeff \r\n\t").startswith(("{", "[")) else text  # JSON that is broken
    return medium(answer, kind)


def _kept(
    raw: bytes, document: Any, rules: Rules, *, is_whole: bool, is_asked: bool
) -> tuple[Shortened, str, bool]:
    """What is kept of a document, and of its bytes: those themselves, unless something in it is changed.

    That is so only of what was read as a whole: of a stream, or a form, not all of it is in the document.
    """
    text = raw.decode("utf-8", "replace")
    is_json = is_whole and isinstance(document, dict | list) and text.startswith(("{", "["))
    if is_json and is_plain(text, rules):
        return Shortened(document), *_limited(text)
    found = shortened(document, rules, keeps_numbers=is_asked)
    if found.value is None:
        text, found = unread(text, rules)
    elif isinstance(found.value, str):
        text = found.value
    elif found.changed or not is_json or repeats_a_name(text):
        text = _encoded(found.value)
    return found, *_limited(text)


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _limited(text: str) -> tuple[str, bool]:
    text = clean(text)
    return (text, False) if len(text) <= _MOST_TEXT else (text[:_MOST_TEXT], True)


def _text(header: bytes | None) -> str:
    return "" if header is None else header[:_LONGEST].decode("latin-1")


def _number(header: bytes | None) -> int | None:
    return int(header) if header and header.isdigit() and len(header) <= _LONGEST_NUMBER else None


def moment(at: float) -> str:
    """Print seconds since the epoch as a moment in UTC."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
