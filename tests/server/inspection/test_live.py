"""Whoever comes back to the stream of requests gets all that was missed."""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from modelrunner.recorder.database import open_to_read, open_to_write
from modelrunner.recorder.values import Filter
from modelrunner.recorder.writing import Writing
from modelrunner.server.inspection.archive import Archive
from modelrunner.server.inspection.listening import Listener
from modelrunner.server.inspection.live import follow
from modelrunner.server.inspection.recording import Recording
from tests.recorder.conftest import entry

MISSED = 2000  # exactly two readings
NEW = MISSED + 1


class Stored:
    """A file that is read at once, and a recorder that has just stored one more."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.listener = Listener()
        self.listener.offer(NEW)

    async def ask(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        return work(self.connection)

    async def settle(self) -> None:
        pass

    @contextlib.contextmanager
    def listen(self) -> Iterator[Listener]:
        yield self.listener


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    path = tmp_path / "requests.db"
    with contextlib.closing(open_to_write(path)) as connection:
        Writing(connection, limit=1 << 30, lifetime=1e9).store([entry()] * NEW)
    with contextlib.closing(open_to_read(path)) as connection:
        yield Stored(connection)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (1, range(2, NEW + 1)),
        (0, range(1, NEW + 1)),
        (None, range(NEW, NEW + 1)),
        (NEW + 7, range(NEW, NEW + 1)),
    ],
)
async def test_all_that_was_missed_comes(stored: Stored, after: int | None, expected: range) -> None:
    events = follow(cast("Recording", stored), cast("Archive", stored), Filter(), after)

    found: list[int] = []
    async with contextlib.aclosing(events):
        async for event in events:
            found += [int(number) for number in re.findall(rb"^id: (\d+)", event)]
            if found and found[-1] == NEW:
                break

    assert list(expected) == found
