"""Recorded requests for people: a table, one whole, two compared, sums. Pure."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from modelrunner.cli.names import display_name
from modelrunner.cli.output import clean, harmless, table
from modelrunner.units import format_bytes
from modelrunner.wire.requests import (
    DifferentValue,
    DiffLine,
    RecordedRequest,
    RecorderView,
    RequestsDiff,
    RequestStatistics,
    RequestSummary,
)

_Side = Literal["a", "b"]
_WIDEST = 48  # characters of a prompt in a table
_SIGNS = {"same": " ", "removed": "-", "added": "+"}
_TIMES = frozenset({"seconds", "first_token"})
_SPEEDS = frozenset({"tokens_per_second", "prompt_per_second"})
_CONTEXT = 3  # lines that are shown around what is different


def listing(requests: list[RequestSummary], registry: str) -> str:
    """A table of requests, the newest first."""
    header = ("ID", "TIME", "MODEL", "API", "STATUS", "TOKENS", "TOK/S", "FIRST", "TOOK", "PROMPT")
    rows = []
    for each in requests:
        model = _model(each["model"], registry)
        rows.append((
            str(each["id"]),
            _at(each["at"]),
            model,
            each["dialect"],
            _status(each),
            _tokens(each),
            _number(each["tokens_per_second"]),
            _seconds(each["first_token"]),
            _seconds(each["seconds"]),
            _gist(each.get("found") or each["prompt"]),
        ))  # fmt: skip
    return table(header, rows)


def brief(each: RequestSummary) -> str:
    """One line, as it is followed."""
    parts = (
        _at(each["at"]),
        f"#{each['id']}",
        each["model"] or "-",
        each["path"],
        _status(each),
        f"{_tokens(each)} tokens",
        _seconds(each["seconds"]),
        _gist(each["prompt"]),
    )
    return clean("  ".join(parts))


def whole(found: RecordedRequest) -> str:
    """All that a person wants to see of one."""
    return "\n".join(_whole(found)) + "\n"


def _whole(found: RecordedRequest) -> Iterator[str]:
    yield clean(f"Request {found['id']} ({found['request_id']})")
    facts = (
        ("Time", _at(found["at"])),
        ("Model", found["model"] or "-"),
        ("Engine", found["backend"] or "-"),
        ("Route", f"{found['method']} {found['path']}"),
        ("Caller", f"{found['caller']} {found['address']}".strip()),
        ("Status", _status(found)),
        ("Error", found["error"] or ""),
        ("Tokens", _tokens(found) + _of_those(found)),
        ("Context", _context(found)),
        ("Speed", _speed(found)),
        ("Finished", found["finish_reason"] or ""),
        ("Replay of", str(found["replay_of"] or "")),
        ("Redacted", str(found["redacted"] or "")),
        ("Parameters", ", ".join(_parameter(*each) for each in found["parameters"].items())),
        ("Timeline", timeline(found)),
    )
    for name, value in facts:
        if value:
            yield harmless(f"  {name:<11} {value}").replace("\n", f"\n{' ' * 14}")
    for message in found["messages"]:
        yield from _part(message["role"], message["text"])
        for medium in message["media"]:
            yield clean(f"  [{medium['type']}, {format_bytes(medium['size'])}, {medium['digest'][:19]}]")
        for call in message.get("tool_calls", ()):
            yield clean(f"  {call['name']}({call['arguments']})")
    yield from _part("thoughts", found["reasoning"])
    yield from _part("answer", found["answer"])
    for call in found["calls"]:
        yield clean(f"  calls {call['name']}({call['arguments']})")


def timeline(found: RecordedRequest) -> str:
    """The phases one after the other, with how long each took."""
    phases = found["timeline"]
    named = (
        ("queued", phases["queued"]),
        ("loading", phases["loading"]),
        ("prompt", phases["prompt"]),
        ("tokens", phases["tokens"]),
        ("end", phases["end"]),
    )
    return " > ".join(f"{name} {_seconds(value)}" for name, value in named if value)


def difference(found: RequestsDiff) -> str:
    """What two have that is not the same."""
    a, b = found["a"]["id"], found["b"]["id"]
    lines = [f"Request {a} and {b}"]
    for title, values, shown in (
        ("", found["values"], _measured),
        ("Parameters", found["parameters"], _plain),
    ):
        if values and title:
            lines.append(f"\n{title}")
        lines += [clean(f"  {each['name']:<20} {shown(each, 'a')} -> {shown(each, 'b')}") for each in values]
    for title in ("prompt", "reasoning", "answer"):
        compared: list[DiffLine] = found[title]  # type: ignore[literal-required]  # one of the shape's keys
        if compared:
            lines += [f"\n{title.capitalize()}", *_hunks(compared)]
    if len(lines) == 1:
        lines.append("  the same")
    return "\n".join(lines) + "\n"


def _hunks(compared: list[DiffLine]) -> Iterator[str]:
    """What is different, with a few lines around it."""
    near: set[int] = set()
    for number, line in enumerate(compared):
        if line["kind"] != "same":
            near.update(range(number - _CONTEXT, number + _CONTEXT + 1))
    before = -1
    for number, line in enumerate(compared):
        if number in near:
            if number != before + 1:
                yield "  ..."
            yield f"{_SIGNS[line['kind']]} {clean(line['text'])}"
            before = number


def sums(found: list[RequestStatistics], by: str) -> str:
    """A table of sums."""
    header = (
        by.upper(),
        "REQUESTS",
        "FAILED",
        "TOKENS IN",
        "TOKENS OUT",
        "TOK/S",
        "FIRST P50",
        "TOOK P50",
        "P99",
    )
    rows = [
        (
            each["group"] or "-",
            str(each["requests"]),
            str(each["failed"]),
            str(each["prompt_tokens"]),
            str(each["completion_tokens"]),
            _number(each["tokens_per_second"]),
            _seconds(each["first_token"]["p50"]),
            _seconds(each["seconds"]["p50"]),
            _seconds(each["seconds"]["p99"]),
        )
        for each in found
    ]
    return table(header, rows)


def state(found: RecorderView) -> str:
    """What is kept, and what was lost."""
    said = {"off": "off", "ok": "on", "failing": f"failing: {found['reason']}"}[found["state"]]
    lines = [
        f"Recorder:  {said}",
        f"Requests:  {found['requests']}, {format_bytes(found['size'])} of {format_bytes(found['limit'])}",
        f"Oldest:    {_at(found['oldest']) if found['oldest'] else '-'}",
        f"Dropped:   {found['dropped']} since the daemon's start",
        f"Redacted:  {', '.join(dict.fromkeys(found['rules'])) or 'nothing'}",
    ]
    return "".join(f"{clean(line)}\n" for line in lines)


def _parameter(name: str, value: object) -> str:
    """As it stands in a request, cut short."""
    return f"{name}={json.dumps(value, ensure_ascii=False):.60}"


def _part(role: str, text: str) -> Iterator[str]:
    if text:
        yield f"\n--- {clean(role)}"
        yield harmless(text)


def _status(each: RequestSummary) -> str:
    return str(each["status"]) if each["outcome"] != "cancelled" else f"{each['status'] or '-'} left"


def _tokens(each: RequestSummary) -> str:
    return f"{_count(each['prompt_tokens'])}>{_count(each['completion_tokens'])}"


def _of_those(each: RequestSummary) -> str:
    parts = [
        f"{count} {name}"
        for count, name in ((each["cached_tokens"], "cached"), (each["reasoning_tokens"], "thinking"))
        if count
    ]
    return f" (of those {', '.join(parts)})" if parts else ""


def _context(each: RequestSummary) -> str:
    if each["context_used"] is None or not each["context_size"]:
        return ""
    share = 100 * each["context_used"] / each["context_size"]
    return f"{each['context_used']} of {each['context_size']} ({share:.0f}%)"


def _speed(each: RequestSummary) -> str:
    if each["tokens_per_second"] is None:
        return ""
    prompt = "" if each["prompt_per_second"] is None else f", prompt {each['prompt_per_second']:.0f}"
    return f"{each['tokens_per_second']:.1f} tokens/s{prompt}"


def _model(name: str, registry: str) -> str:
    return display_name(name, registry) if name else "-"


def _gist(text: str) -> str:
    line = " ".join(text.replace("\u2068", "").replace("\u2069", "").split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"


def _at(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _count(count: int | None) -> str:
    return "-" if count is None else str(count)


def _number(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _measured(each: DifferentValue, side: _Side) -> str:
    """One of two values, with its unit where it has one."""
    value, name = each[side], each["name"]
    if isinstance(value, int | float) and name in _TIMES:
        return _seconds(value)
    if isinstance(value, int | float) and name in _SPEEDS:
        return f"{value:.1f} tokens/s"
    return _plain(each, side)


def _plain(each: DifferentValue, side: _Side) -> str:
    return "-" if each[side] is None else f"{each[side]}"[:80]
