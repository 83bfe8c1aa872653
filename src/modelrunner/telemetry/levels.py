"""How grave a line of a log is, and what else it says of itself. Pure.

The daemon's lines say it as `level=…`; engines each have a way of their own, and many lines say nothing.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator

from modelrunner.telemetry.tail import STAMP, Record
from modelrunner.wire.daemon import LogLine

LEVELS = ("debug", "info", "warning", "error")
_OURS = re.compile(rb"level=([A-Z]+) logger=(\S+) msg=(.*)", re.DOTALL)
_KEY = re.compile(rb"(\S+?)/([0-9a-f]{12})/(\w+) (.*)", re.DOTALL)  # who an engine's line is about
# llama.cpp: `0.01.234.567 W srv …`; Python: `WARNING 01-02 03:04:05 …`, `INFO:     …`, `[2026-…] ERROR …`
_LETTER = re.compile(rb"\d+\.\d\d\.\d{3}\.\d{3} ([DIWE]) ")
_WORD = re.compile(rb"\b(DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b")
_LOOKED_AT = 80  # bytes, in which a level stands if there is one
_TROUBLE = re.compile(
    rb"\b(?:error|failed|exception|traceback|abort(?:ed)?|segmentation fault)\b", re.IGNORECASE
)
_NAMES = {
    b"D": "debug",
    b"I": "info",
    b"W": "warning",
    b"E": "error",
    b"DEBUG": "debug",
    b"INFO": "info",
    b"WARN": "warning",
    b"WARNING": "warning",
    b"ERROR": "error",
    b"CRITICAL": "error",
    b"FATAL": "error",
}


def _text(record: Record) -> bytes:
    match = STAMP.match(record.line)
    return (record.line[match.end() :] if match else record.line).rstrip(b"\n")


def level_of(record: Record, before: str) -> str:
    """Tell how grave a line is; `before` is the level of the line before it in the same file."""
    text = _text(record)
    if not record.source:
        match = _OURS.match(text)
        return before if match is None else _NAMES.get(match[1], "info")
    about = _KEY.match(text)
    said = (about[4] if about else text)[:_LOOKED_AT]
    found = _LETTER.match(said) or _WORD.search(said)
    if found is not None:
        return _NAMES[found[1]]
    return "error" if _TROUBLE.search(said) else "info"


class Grading:
    """Gives each line its level, in the order in which the lines come."""

    def __init__(self, least: str = LEVELS[0]) -> None:
        """What is less grave than `least` is left out."""
        self._least = LEVELS.index(least)
        self._before: dict[str, str] = {}

    def graded(self, records: Iterable[Record]) -> Iterator[tuple[Record, str]]:
        """Give those that are grave enough, with their levels."""
        for record in records:
            level = level_of(record, self._before.get(record.source, "info"))
            self._before[record.source] = level
            if LEVELS.index(level) >= self._least:
                yield record, level


def as_log_line(record: Record, level: str, called: Callable[[str], str]) -> LogLine:
    """Take a line apart; `called` says what a model is called, by its short id."""
    at = STAMP.match(record.line)
    text = _text(record)
    line: LogLine = {
        "at": "" if at is None else at[0][1:-2].decode(),
        "source": "engine" if record.source else "service",
        "level": level,  # type: ignore[typeddict-item]  # it is one of LEVELS
        "text": "",
    }
    if not record.source and (ours := _OURS.match(text)):
        line["logger"] = ours[2].decode("utf-8", "replace")
        line["text"] = _unquoted(ours[3])
        return line
    about = _KEY.match(text) if record.source else None
    if about is not None:
        line["backend"] = about[1].decode("utf-8", "replace")
        line["model"] = called(about[2].decode())
        text = about[4]
    line["text"] = text.decode("utf-8", "replace")
    return line


def _unquoted(quoted: bytes) -> str:
    text = quoted.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, str) else text
