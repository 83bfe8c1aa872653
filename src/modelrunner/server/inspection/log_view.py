"""The log as a client wants it: from a level upwards, the last so many lines, as text or as events."""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from modelrunner.server.inspection.live import STILL_HERE
from modelrunner.telemetry.levels import LEVELS, Grading, as_log_line
from modelrunner.telemetry.logs import Logs
from modelrunner.telemetry.tail import Record

_KEEP_ALIVE = 15.0  # seconds; proxies close connections on which nothing comes for a minute
_Graded = list[tuple[Record, str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the log somebody wants; `model` is a short id, `last` how many lines of what there is."""

    follow: bool
    engines: bool
    model: str | None = None
    level: str = LEVELS[0]
    last: int | None = None


async def as_text(logs: Logs, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    """Yield lines as they stand in the files."""
    async with aclosing(_graded(logs, wanted)) as batches:
        async for batch in batches:
            if batch:
                yield b"".join([record.line for record, _ in batch])


async def as_events(logs: Logs, wanted: Wanted, called: Callable[[str], str]) -> AsyncGenerator[bytes, None]:
    """Yield lines as server-sent events; `called` says what a model is called, by its short id."""
    async with aclosing(_graded(logs, wanted)) as batches:
        async for batch in batches:
            lines = [as_log_line(record, level, called) for record, level in batch]
            yield b"".join([b"data: %b\n\n" % msgspec.json.encode(line) for line in lines]) or STILL_HERE


async def _graded(logs: Logs, wanted: Wanted) -> AsyncGenerator[_Graded, None]:
    """Yield lines with their levels; nothing now and then, to show that somebody is still here."""
    grading = Grading(wanted.level)
    held: deque[tuple[Record, str]] | None = None if wanted.last is None else deque(maxlen=wanted.last)
    records = logs.records(
        follow=wanted.follow, engines=wanted.engines, model=wanted.model, heartbeat=_KEEP_ALIVE
    )
    async with aclosing(records) as batches:
        async for batch in batches:
            found = list(grading.graded(batch))
            if held is None:
                if found or not batch:
                    yield found
            elif batch:
                held.extend(found)
            else:
                yield list(held)
                held = None
