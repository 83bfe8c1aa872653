"""Two requests side by side: which values differ, and their texts line by line. Pure."""

import difflib
from typing import Any

from modelrunner.wire.requests import DifferentValue, DiffLine, RecordedRequest, RequestsDiff, RequestSummary

_VALUES = (
    "model",
    "model_id",
    "backend",
    "mode",
    "dialect",
    "path",
    "caller",
    "streamed",
    "status",
    "outcome",
    "error",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "tokens_per_second",
    "prompt_per_second",
    "context_used",
    "context_size",
    "first_token",
    "seconds",
    "finish_reason",
    "tool_calls",
)
_LEFT_OUT = (
    "timeline",
    "parameters",
    "messages",
    "reasoning",
    "calls",
    "media",
    "request",
    "response",
    "redacted",
    "cut",
)
_GIST = 200  # characters
_MOST_COMPARED = 20_000  # lines; of longer texts it is only said what they are


def difference(a: RecordedRequest, b: RecordedRequest) -> RequestsDiff:
    """Compare two requests."""
    return {
        "a": _summary(a),
        "b": _summary(b),
        "values": _different({n: a[n] for n in _VALUES}, {n: b[n] for n in _VALUES}),  # type: ignore[literal-required]
        "parameters": _different(a["parameters"], b["parameters"]),
        "prompt": lines(a["prompt"], b["prompt"]),
        "reasoning": lines(a["reasoning"], b["reasoning"]),
        "answer": lines(_answer(a), _answer(b)),
    }


def lines(a: str, b: str) -> list[DiffLine]:
    """Compare two texts by line; nothing when they are equal."""
    if a == b:
        return []
    left, right = a.splitlines(), b.splitlines()
    if len(left) + len(right) > _MOST_COMPARED:
        return [*(_line("removed", each) for each in left), *(_line("added", each) for each in right)]
    found: list[DiffLine] = []
    # In a long text, lines that recur often anchor nothing: otherwise 20,000 alike would take 15 seconds.
    matcher = difflib.SequenceMatcher(None, left, right)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "equal":
            found += (_line("same", each) for each in left[start:end])
        else:
            found += (_line("removed", each) for each in left[start:end])
            found += (_line("added", each) for each in right[other_start:other_end])
    return found


def _answer(request: RecordedRequest) -> str:
    calls = [f"{call['name']}({call['arguments']})" for call in request["calls"]]
    return "\n".join([request["answer"], *calls]) if calls else request["answer"]


def _line(kind: Any, text: str) -> DiffLine:
    return {"kind": kind, "text": text}


def _summary(request: RecordedRequest) -> RequestSummary:
    kept: Any = {name: value for name, value in request.items() if name not in _LEFT_OUT}
    summary: RequestSummary = kept
    summary["prompt"], summary["answer"] = request["prompt"][:_GIST], request["answer"][:_GIST]
    return summary


def _different(a: dict[str, Any], b: dict[str, Any]) -> list[DifferentValue]:
    names = [*a, *(name for name in b if name not in a)]
    return [
        {"name": name, "a": a.get(name), "b": b.get(name)} for name in names if a.get(name) != b.get(name)
    ]
