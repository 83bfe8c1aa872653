"""Two requests side by side: which values differ, and their texts line by line. Pure."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal

from modelrunner.recorder.database import COLUMNS
from modelrunner.wire.requests import DifferentValue, DiffLine, RecordedRequest, RequestsDiff, RequestSummary

# Of the values that are stored in columns, those that say nothing by being different, and the two long texts.
_NOT_COMPARED = frozenset(
    {"request_id", "at", "method", "user_agent", "address", "replay_of", "prompt", "answer"}
)
_COMPARED = frozenset(COLUMNS) - _NOT_COMPARED
_SUMMARY = frozenset({"id", *COLUMNS})
_GIST = 200  # characters
_MOST_COMPARED = 20_000  # lines; of longer texts it is only said what they are


def difference(a: RecordedRequest, b: RecordedRequest) -> RequestsDiff:
    """Compare two requests."""
    return {
        "a": _summary(a),
        "b": _summary(b),
        "values": _different(_values(a), _values(b)),
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


def _values(request: RecordedRequest) -> dict[str, object]:
    return {name: value for name, value in request.items() if name in _COMPARED}


def _answer(request: RecordedRequest) -> str:
    calls = [f"{call['name']}({call['arguments']})" for call in request["calls"]]
    return "\n".join([request["answer"], *calls]) if calls else request["answer"]


def _line(kind: Literal["same", "removed", "added"], text: str) -> DiffLine:
    return {"kind": kind, "text": text}


def _summary(request: RecordedRequest) -> RequestSummary:
    kept: Any = {name: value for name, value in request.items() if name in _SUMMARY}
    summary: RequestSummary = kept
    summary["prompt"], summary["answer"] = request["prompt"][:_GIST], request["answer"][:_GIST]
    return summary


def _different(a: Mapping[str, object], b: Mapping[str, object]) -> list[DifferentValue]:
    names = [*a, *(name for name in b if name not in a)]
    return [
        {"name": name, "a": a.get(name), "b": b.get(name)} for name in names if a.get(name) != b.get(name)
    ]
