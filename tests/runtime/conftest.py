"""What the tests of processes and sockets share."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on both loops: the daemon uses uvloop where there is one, and they differ."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a Unix socket; pytest's own are too long."""
    with tempfile.TemporaryDirectory(prefix="mr-", dir="/tmp") as path:
        yield Path(path)
