"""The memory that bodies take together."""

import asyncio

import pytest
from starlette.types import Message, Receive

from modelrunner.errors import RequestTooLarge
from modelrunner.server.connection.bodies import Held, Room, read_body


def pieces(*sizes: int) -> Receive:
    """A client that sends pieces of a body, and leaves after the last."""
    messages = [{"type": "http.request", "body": b"x" * size, "more_body": True} for size in sizes]
    messages[-1]["more_body"] = False

    async def receive() -> Message:
        await asyncio.sleep(0)
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return receive


async def test_a_body_is_held_until_the_end_of_its_request() -> None:
    """Then others have the room."""
    room = Room(100)
    with Held(room) as held:
        body = await read_body(pieces(40, 20), 60, 100, held=held)

        assert (60, 40) == (len(body or b""), room.free)
    assert 100 == room.free


async def test_a_body_that_comes_at_once_takes_no_room() -> None:
    """It waits for nobody, also when there is none left."""
    with Held(Room(0)) as held:
        assert b"xxx" == await read_body(pieces(3), 3, 100, held=held)


async def test_a_body_of_unknown_length_takes_what_it_may_have_and_gives_back_the_rest() -> None:
    """So two that have each read half never wait for each other."""
    room = Room(100)
    with Held(room) as held:
        await read_body(pieces(10, 10), 0, 80, held=held)

        assert 80 == room.free


async def test_who_finds_no_room_waits_for_it_in_line() -> None:
    """Also one that would fit, if it came after one that does not."""
    room = Room(100)
    await room.take(70)
    large = asyncio.create_task(room.take(60))
    small = asyncio.create_task(room.take(10))
    await asyncio.sleep(0)

    assert 30 == room.free
    room.give(70)
    await asyncio.gather(large, small)
    assert 30 == room.free


async def test_who_leaves_the_line_lets_others_pass() -> None:
    """And has taken nothing."""
    room = Room(100)
    await room.take(70)
    large = asyncio.create_task(room.take(60))
    small = asyncio.create_task(room.take(30))
    await asyncio.sleep(0)
    large.cancel()
    await asyncio.gather(large, small, return_exceptions=True)

    assert 0 == room.free
    room.give(70)
    assert 70 == room.free


async def test_who_leaves_as_its_turn_comes_gives_it_back() -> None:
    """Nothing is lost between the two."""
    room = Room(100)
    await room.take(70)
    waiting = asyncio.create_task(room.take(60))
    await asyncio.sleep(0)
    room.give(70)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert 100 == room.free


async def test_who_leaves_as_room_is_given_to_others_just_leaves() -> None:
    """Its place in the line is gone by then."""
    room = Room(100)
    await room.take(70)
    waiting = asyncio.create_task(room.take(60))
    await asyncio.sleep(0)
    waiting.cancel()
    room.give(70)
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert 100 == room.free


async def test_a_body_that_grows_beyond_the_limit_gives_its_room_back() -> None:
    """Its length was not told."""
    room = Room(100)
    with pytest.raises(RequestTooLarge), Held(room) as held:
        await read_body(pieces(30, 30), 0, 50, held=held)

    assert 100 == room.free
