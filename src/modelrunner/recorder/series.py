"""Requests as time series for charts: one value for each step of time."""

import sqlite3
from typing import Any

from modelrunner.recorder.reading import moment
from modelrunner.recorder.statistics import RATE, ranks

JSON = dict[str, Any]


_SUMS = ("requests", "failed", "prompt_tokens", "completion_tokens")
_SPEEDS = (
    "tokens_per_second",
    "first_token_p50",
    "first_token_p90",
    "seconds_p50",
    "seconds_p90",
    "seconds_p99",
)
_PERCENTILES = (("first_token", ("p50", "p90")), ("seconds", ("p50", "p90", "p99")))
_SOURCE = "requests WHERE at >= ? AND at < ?"


def series(
    connection: sqlite3.Connection, since: float, until: float, step: float, names: dict[str, str]
) -> JSON:
    """Columns for the steps between two moments, in seconds since the epoch; a step's name is its end."""
    count = max(1, round((until - since) / step))
    group = f"min(CAST((at - {since!r}) / {step!r} AS INTEGER), {count - 1})"
    bounds = (since, since + count * step)
    columns: JSON = {"step": step, "at": [moment(since + (n + 1) * step) for n in range(count)]}
    columns |= {name: [0] * count for name in _SUMS} | {name: [None] * count for name in _SPEEDS}
    for place, *sums, rate in connection.execute(
        f"SELECT {group} AS grp, count(*), sum(outcome = 'failed'), coalesce(sum(prompt_tokens), 0),"
        f" coalesce(sum(completion_tokens), 0), {RATE} FROM {_SOURCE} GROUP BY grp",
        bounds,
    ):
        for name, value in zip(_SUMS, sums, strict=True):
            columns[name][place] = value
        columns["tokens_per_second"][place] = None if rate is None else round(rate, 2)
    for column, wanted in _PERCENTILES:
        for found, percentiles in ranks(connection, column, group, _SOURCE, bounds):
            for name in wanted:
                columns[f"{column}_{name}"][found] = dict(percentiles)[name]
    return {**columns, "models": _models(connection, group, bounds, count, names)}


def _models(
    connection: sqlite3.Connection, group: str, bounds: tuple[float, float], count: int, names: dict[str, str]
) -> dict[str, list[int]]:
    """How many requests each model had, by its name."""
    models: dict[str, list[int]] = {}
    for place, model, total in connection.execute(
        f"SELECT {group}, coalesce(nullif(model_id, ''), model), count(*) FROM {_SOURCE} GROUP BY 1, 2",
        bounds,
    ):
        models.setdefault(names.get(model, model), [0] * count)[place] += total
    return models
