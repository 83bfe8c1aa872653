"""Sums over requests: by model, by caller, by time. SQL does the work, outside of the interpreter."""

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from modelrunner.recorder.reading import moment
from modelrunner.recorder.values import Filter
from modelrunner.recorder.words import sought
from modelrunner.wire.requests import Percentiles, RequestStatistics

_SPANS = {"minute": 60, "hour": 3600, "day": 86400}
GROUPS = ("model", "caller", "dialect", "status", *_SPANS)
# Of all tokens together, not of all requests: who writes more counts more.
RATE = (
    "sum(completion_tokens) FILTER (WHERE tokens_per_second > 0)"
    " / sum(completion_tokens / tokens_per_second) FILTER (WHERE tokens_per_second > 0)"
)
_RANKS: tuple[tuple[int, Literal["p50", "p90", "p99"]], ...] = ((50, "p50"), (90, "p90"), (99, "p99"))


def statistics(
    connection: sqlite3.Connection, wanted: Filter, by: str, names: dict[str, str]
) -> list[RequestStatistics]:
    """Sum up what fits, in groups of `GROUPS`; `names` says what models are called, by id."""
    span = _SPANS.get(by)
    group = f"CAST(at / {span} AS INTEGER) * {span}" if span else by
    if by == "model":
        group = "coalesce(nullif(model_id, ''), model)"
    source, values = _source(wanted)
    shown: dict[object, RequestStatistics] = {}
    for row in connection.execute(
        f"SELECT {group} AS grp, count(*), sum(outcome = 'failed'), sum(outcome = 'cancelled'),"
        " coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0),"
        " coalesce(sum(completion_tokens), 0),"
        f" {RATE} FROM {source} GROUP BY grp ORDER BY {'grp' if span else 'count(*) DESC, grp'}",
        values,
    ):
        rate = row[7]
        shown[row[0]] = {
            "group": _called(row[0], by, names),
            "requests": row[1],
            "failed": row[2],
            "cancelled": row[3],
            "prompt_tokens": row[4],
            "cached_tokens": row[5],
            "completion_tokens": row[6],
            "tokens_per_second": None if rate is None else round(rate, 2),
            "first_token": _nothing(),
            "seconds": _nothing(),
        }
    for found, percentiles in ranks(connection, "first_token", group, source, values):
        shown[found]["first_token"] = percentiles
    for found, percentiles in ranks(connection, "seconds", group, source, values):
        shown[found]["seconds"] = percentiles
    return list(shown.values())


def ranks(
    connection: sqlite3.Connection, column: str, group: str, source: str, values: Iterable[object]
) -> list[tuple[object, Percentiles]]:
    """The percentiles of a column in each group."""
    found: dict[object, Percentiles] = {}
    for grp, value, place, count in connection.execute(
        "SELECT grp, value, place, total FROM ("
        f" SELECT {group} AS grp, {column} AS value,"
        f" row_number() OVER (PARTITION BY {group} ORDER BY {column}) AS place,"
        f" count(*) OVER (PARTITION BY {group}) AS total FROM {source} AND {column} IS NOT NULL)"
        " WHERE place IN ((total * 50 + 99) / 100, (total * 90 + 99) / 100, (total * 99 + 99) / 100)",
        tuple(values),
    ):
        percentiles = found.setdefault(grp, _nothing())
        for percent, name in _RANKS:
            if place == (count * percent + 99) // 100:
                percentiles[name] = round(value, 6)
    return list(found.items())


def _source(wanted: Filter) -> tuple[str, list[object]]:
    """What comes after FROM, ending in a condition that more may be added to."""
    words, where, values = sought(wanted)
    if words is not None:
        where = f"requests.id IN (SELECT rowid FROM words WHERE words MATCH ?) AND {where}"
        values = [words, *values]
    return f"requests WHERE {where}", values


def _called(group: object, by: str, names: dict[str, str]) -> str:
    if by in _SPANS and isinstance(group, int | float):
        return moment(datetime.fromtimestamp(group, UTC).timestamp())
    return names.get(str(group), str(group)) if by == "model" else str(group)


def _nothing() -> Percentiles:
    return {"p50": None, "p90": None, "p99": None}
