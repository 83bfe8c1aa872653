"""Finds requests in the file: pages of a list, one whole, the last of each model. It writes nothing."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from modelrunner.recorder.answering import read_answered
from modelrunner.recorder.asking import read_asked
from modelrunner.recorder.conditions import condition
from modelrunner.recorder.database import COLUMNS, pages
from modelrunner.recorder.documents import JSON, dict_of, dicts_of, list_of, read_json
from modelrunner.recorder.reading import moment
from modelrunner.recorder.shortening import media_in
from modelrunner.recorder.values import Call, Filter
from modelrunner.recorder.words import sought
from modelrunner.wire.requests import (
    RecordedCall,
    RecordedMessage,
    RecordedRequest,
    RequestsPage,
    RequestSummary,
)

_ROW = ", ".join(f"requests.{name} AS {name}" for name in ("id", *COLUMNS))
_OPENS, _CLOSES = "\u2068", "\u2069"  # "first strong isolate" and its end: no text of itself
_AT_A_TIME = 200


def page(connection: sqlite3.Connection, wanted: Filter, limit: int) -> RequestsPage:
    """The newest that fit, with where the next page begins."""
    rows = connection.execute(*_select(wanted, limit + 1)).fetchall()
    shown = [summary_of(row) for row in rows[:limit]]
    return {"requests": shown, "before": shown[-1]["id"] if len(rows) > limit else None}


def oldest_summaries(connection: sqlite3.Connection, wanted: Filter, limit: int) -> list[RequestSummary]:
    """The oldest that fit."""
    return [summary_of(row) for row in connection.execute(*_select(wanted, limit, order="ASC"))]


def oldest_first(connection: sqlite3.Connection, wanted: Filter) -> Iterator[RecordedRequest]:
    """All that fit, whole, some at a time, so that a writer in between is no obstacle."""
    after = wanted.after or 0
    while True:
        some = msgspec.structs.replace(wanted, after=after)
        select, values = _select(some, _AT_A_TIME, order="ASC")
        ids = [row["id"] for row in connection.execute(select, values)]
        for number in ids:
            found = whole(connection, number)
            if found is not None:
                yield found
        if len(ids) < _AT_A_TIME:
            return
        after = ids[-1]


def number_of(connection: sqlite3.Connection, name: str) -> int | None:
    """The number of the latest request by a name; None when there is none."""
    row = connection.execute(
        "SELECT id FROM requests WHERE request_id = ? ORDER BY id DESC LIMIT 1", (name,)
    ).fetchone()
    return None if row is None else int(row["id"])


def whole(connection: sqlite3.Connection, number: int) -> RecordedRequest | None:
    """One request with all that is known of it; None when it is not there."""
    row = connection.execute(
        f"SELECT {_ROW}, details.prompt AS all_prompt, details.answer AS all_answer, reasoning, request,"
        " response, detail FROM requests JOIN details ON details.id = requests.id WHERE requests.id = ?",
        (number,),
    ).fetchone()
    if row is None:
        return None
    detail = dict_of(read_json(row["detail"]))
    # What was nested too deeply for the recorder is so for whoever would be told of it, too.
    request = read_json(row["request"]) if detail.get("readable", True) else None
    asked = read_asked(request)
    answered = read_answered(read_json(row["response"] or "null"))
    messages: list[RecordedMessage] = []
    for said in asked.messages:
        message: RecordedMessage = {"role": said.role, "text": said.text, "media": []}
        if said.calls:
            message["tool_calls"] = [_call(call) for call in said.calls]
        messages.append(message)
    media = media_in(row["request"]) + media_in(row["response"] or "")
    _share_out(messages, request)
    summary = summary_of(row)
    summary["prompt"], summary["answer"] = row["all_prompt"], row["all_answer"]
    return {
        **summary,
        "timeline": detail["timeline"],
        "parameters": asked.parameters,
        "messages": messages,
        "reasoning": row["reasoning"],
        "calls": [_call(call) for call in answered.calls],
        "media": media,
        "request": row["request"],
        "response": row["response"],
        "redacted": int(detail["redacted"]),
        "cut": bool(detail["cut"]),
    }


def latest(connection: sqlite3.Connection, wanted: Filter, most: int) -> list[JSON]:
    """The last requests of each model that reached an engine, oldest first, as they are stored."""
    where, values = condition(msgspec.structs.replace(wanted, reached=True))
    rows = connection.execute(
        "SELECT requests.*, details.request, details.response, details.detail FROM requests"
        " JOIN details ON details.id = requests.id WHERE requests.id IN ("
        " SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY model_id ORDER BY id DESC) AS place"
        f" FROM requests WHERE {where}) WHERE place <= ?) ORDER BY requests.id",
        (*values, most),
    )
    return [dict(row) for row in rows]


def overview(connection: sqlite3.Connection) -> tuple[int, int, str | None]:
    """How many requests there are, how many bytes they take, and when the oldest came."""
    [count, oldest] = connection.execute("SELECT count(*), min(at) FROM requests").fetchone()
    total, free, size = pages(connection)
    return count, (total - free) * size, None if oldest is None else moment(oldest)


def summary_of(row: sqlite3.Row) -> RequestSummary:
    """Write a row as the API has it."""
    summary = {name: row[name] for name in ("id", *COLUMNS)}
    if "found" in row.keys():  # noqa: SIM118 - a row is no mapping
        summary["found"] = row["found"]
    return told(summary)


def told(summary: JSON) -> RequestSummary:
    """Write a summary, as it is stored, as the API has it."""
    shown = {**summary, "at": moment(summary["at"]), "streamed": bool(summary["streamed"])}
    for name in ("first_token", "seconds"):
        if shown[name] is not None:
            shown[name] = round(shown[name], 6)
    return shown  # type: ignore[return-value]  # the columns are those of the shape


def _select(wanted: Filter, limit: int, order: str = "DESC") -> tuple[str, list[object]]:
    words, where, values = sought(wanted)
    if words is None:
        return f"SELECT {_ROW} FROM requests WHERE {where} ORDER BY id {order} LIMIT ?", [*values, limit]
    bounds = ""
    if wanted.before is not None:
        bounds += " AND words.rowid < ?"
    if wanted.after is not None:
        bounds += " AND words.rowid > ?"
    ends = [end for end in (wanted.before, wanted.after) if end is not None]
    found = f"snippet(words, -1, '{_OPENS}', '{_CLOSES}', '…', 16) AS found"
    select = (
        f"SELECT {_ROW}, {found} FROM words CROSS JOIN requests ON requests.id = words.rowid"
        f" WHERE words MATCH ?{bounds} AND {where} ORDER BY words.rowid {order} LIMIT ?"
    )
    return select, [words, *ends, *values, limit]


def _call(call: Call) -> RecordedCall:
    return {"id": call.id, "name": call.name, "arguments": call.arguments}


def _share_out(messages: list[RecordedMessage], request: object) -> None:
    """Give the media of a chat, of a response, or beside a prompt to the messages that have them."""
    body = dict_of(request)
    sources: list[Any] = (
        dicts_of(body.get("messages"))
        or [each for each in list_of(body.get("input")) if isinstance(each, str | dict)]
        or [body.get("images")]
    )
    for message, source in zip(messages[-len(sources) :], sources, strict=False):
        message["media"] = media_in(msgspec.json.encode(source).decode())
