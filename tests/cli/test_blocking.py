"""An asynchronous stream in ordinary code."""

from collections.abc import AsyncGenerator
from contextlib import closing

from modelrunner.cli.blocking import walk


async def test_nothing_runs_before_it_is_asked() -> None:
    """Making a walk inside of an event loop starts none."""
    walk(_counting([]))


async def _counting(closed: list[str]) -> AsyncGenerator[bytes, None]:
    try:
        for number in range(3):
            yield b"%d" % number
    finally:
        closed.append("closed")


def test_every_piece_is_yielded() -> None:
    """In order, and the stream is closed at its end."""
    closed: list[str] = []

    assert list(walk(_counting(closed))) == [b"0", b"1", b"2"]
    assert closed == ["closed"]


def test_closing_early_closes_the_stream() -> None:
    """In its own loop, so that it can let go of what it holds."""
    closed: list[str] = []
    with closing(walk(_counting(closed))) as pieces:
        next(pieces)

    assert closed == ["closed"]
