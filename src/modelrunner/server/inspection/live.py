"""Requests as they are recorded, as server-sent events: in our form, and in Docker Model Runner's."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

import msgspec

from modelrunner.recorder.searching import latest, oldest_summaries
from modelrunner.recorder.values import Filter
from modelrunner.server.inspection.archive import Archive
from modelrunner.server.inspection.listening import Listener
from modelrunner.server.inspection.recorded_form import groups
from modelrunner.server.inspection.recording import Recording

_KEEP_ALIVE = 15.0  # seconds; proxies close connections on which nothing comes for a minute
STILL_HERE = b": still here\n\n"
_AT_A_TIME = 1000
_LAST = 10  # requests of each model, as in the reference


async def follow(
    recording: Recording, archive: Archive, wanted: Filter, after: int | None
) -> AsyncGenerator[bytes, None]:
    """Yield each request as it is recorded; first those after a number, for a client that comes back."""
    await recording.settle()
    with recording.listen() as listener:
        yield STILL_HERE
        seen = 0
        while after is not None:
            missed = msgspec.structs.replace(wanted, after=after)
            some = await archive.ask(partial(oldest_summaries, wanted=missed, limit=_AT_A_TIME))
            for summary in some:
                seen = summary["id"]
                yield _event(seen, summary)
            after = seen if len(some) == _AT_A_TIME else None
        async for found in _each(listener):
            if isinstance(found, bytes):
                yield found
            elif found > seen:
                for summary in await archive.ask(
                    partial(oldest_summaries, wanted=_only(wanted, found), limit=1)
                ):
                    yield _event(found, summary)


async def follow_as_reference(
    recording: Recording, archive: Archive, wanted: Filter, *, existing: bool
) -> AsyncGenerator[bytes, None]:
    """Yield requests in the reference's form: those that there are, if wanted, and then each that comes."""
    await recording.settle()
    with recording.listen() as listener:
        seen = 0
        if existing:
            for row in await archive.ask(lambda it: latest(it, wanted, _LAST)):
                seen = row["id"]
                yield _named(b"existing_request", groups([row]))
        yield b'event: connected\ndata: {"status": "connected"}\n\n'
        async for found in _each(listener):
            if isinstance(found, bytes):
                if found is STILL_HERE:
                    yield found
            elif found > seen:
                for row in await archive.ask(partial(latest, wanted=_only(wanted, found), most=1)):
                    yield _named(b"new_request", groups([row], named=True))


def _only(wanted: Filter, number: int) -> Filter:
    """Only one request, if it fits."""
    return msgspec.structs.replace(wanted, ids=(number,))


async def _each(listener: Listener) -> AsyncGenerator[int | bytes, None]:
    """Yield what is recorded, and what there is to say in between: that some were lost, or nothing came."""
    lost = 0
    while True:
        found = await _next(listener.next)
        if listener.lost > lost:
            yield b'event: lost\ndata: {"lost": %d}\n\n' % (listener.lost - lost)
            lost = listener.lost
        yield STILL_HERE if found is None else found


async def _next(take: Callable[[], Awaitable[int]]) -> int | None:
    try:
        async with asyncio.timeout(_KEEP_ALIVE):
            return await take()
    except TimeoutError:
        return None


def _event(number: int, summary: object) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (number, msgspec.json.encode(summary))


def _named(name: bytes, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(data))
