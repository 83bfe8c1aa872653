"""The log of a response's events."""

import asyncio

from modelrunner.server.inference.event_log import EventLog, split

EVENTS = [b"data: %d\n\n" % number for number in range(5)]


async def test_a_reader_gets_what_was_and_what_comes() -> None:
    """Each event once, from where it begins to the end."""
    log = EventLog()
    log.write(EVENTS[0] + EVENTS[1])
    read: list[bytes] = []

    async def follow(after: int) -> None:
        read.extend([piece async for piece in log.read(after)])

    reader = asyncio.create_task(follow(0))
    await asyncio.sleep(0)
    for event in EVENTS[2:]:
        log.write(event)
        await asyncio.sleep(0)
    log.close()
    await reader

    assert b"".join(EVENTS[1:]) == b"".join(read)


async def test_a_reader_that_comes_late_gets_all_at_once() -> None:
    """Or nothing, when it has had all."""
    log = EventLog()
    log.write(b"".join(EVENTS))
    log.close()

    assert [b"".join(EVENTS)] == [piece async for piece in log.read(-1)]
    assert [] == [piece async for piece in log.read(4)]
    assert [] == [piece async for piece in log.read(900)]


def test_events_are_taken_apart() -> None:
    """None is lost or made up."""
    assert EVENTS == split(b"".join(EVENTS))
    assert [] == split(b"")
