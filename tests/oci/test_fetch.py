import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from modelrunner.errors import RegistryError, RegistryUnreachable, TransferInterrupted
from modelrunner.oci.buffers import BUFFER
from modelrunner.oci.chunks import Piece, Span, Spans, total, united
from modelrunner.oci.digest import Digest
from modelrunner.oci.fetch import _BATCH, Lanes, _Fetch, _Part, fetch
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.pace import UNLIMITED
from modelrunner.oci.retry import RetryPolicy

CONTENT = os.urandom(40 << 20)
BLOB = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))
QUICK = RetryPolicy(first=0.001, longest=0.001)
PIECE = 1 << 18


class Source:
    """Serves ranges of CONTENT; `behave` may change a request's pieces."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int | None]] = []
        self.sent = 0
        self.ranges = True
        self.shift = 0
        self.behave: Callable[[int, AsyncIterator[bytes]], AsyncIterator[bytes]] = lambda _, pieces: pieces

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        self.asked.append((start, stop))
        number = len(self.asked)
        if not self.ranges:
            start, stop = 0, (stop if start == 0 else None)
        yield start + self.shift, self.behave(number, self._pieces(start, stop or len(CONTENT)))

    async def _pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, stop, PIECE):
            piece = CONTENT[at : min(at + PIECE, stop)]
            self.sent += len(piece)
            yield piece
            await asyncio.sleep(0)


class Landing:
    """Keeps what lands, and fails the test when a byte lands twice."""

    def __init__(self, present: Spans = ()) -> None:
        self.present = present
        self.resumed = bool(present)
        self.content = bytearray(len(CONTENT))
        for span in present:
            self.content[span.start : span.stop] = CONTENT[span.start : span.stop]

    async def put(self, offset: int, pieces: Sequence[Piece]) -> None:
        data = b"".join(pieces)
        span = Span(offset, offset + len(data))
        after = united((*self.present, span))
        assert total(after) == total(self.present) + span.size
        self.present = after
        self.content[span.start : span.stop] = data

    async def room(self, position: int) -> None:
        await asyncio.sleep(0)

    async def finish(self) -> None:
        assert CONTENT == bytes(self.content)


async def _fetch(source: Source, landing: Landing, *, stall: float = 15.0) -> list[int]:
    told: list[int] = []
    await fetch(source, BLOB, landing, lanes=Lanes(), tell=told.append, retry=QUICK, stall=stall)
    await landing.finish()
    return told


async def test_a_blob_comes_in_several_ranges_each_byte_once() -> None:
    """From two requests at once, and what is told grows."""
    source, landing = Source(), Landing()
    told = await _fetch(source, landing)

    assert len(source.asked) > 2
    assert len(CONTENT) == source.sent
    assert sorted(told) == told


async def test_only_what_is_missing_is_asked_for() -> None:
    """Between and behind what is here."""
    source, landing = Source(), Landing((Span(10, 30 << 20), Span(35 << 20, 36 << 20)))
    await _fetch(source, landing)

    assert len(CONTENT) - total((Span(10, 30 << 20), Span(35 << 20, 36 << 20))) == source.sent
    assert (0, 10) == source.asked[0]


async def test_breaks_are_mended_from_where_they_happened() -> None:
    """Each first request of many breaks off, and no byte is fetched twice."""
    source, landing = Source(), Landing()

    async def cut(number: int, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        count = 0
        async for piece in pieces:
            yield piece
            count += 1
            if number % 2 and count == 3:
                raise TransferInterrupted("cut")

    source.behave = cut
    await _fetch(source, landing)

    assert len(CONTENT) == source.sent


async def test_a_body_that_ends_early_is_gone_on_with() -> None:
    """Without an error from the connection."""
    source, landing = Source(), Landing()

    async def short(number: int, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        count = 0
        async for piece in pieces:
            if number < 4 and count == 2:
                return
            yield piece
            count += 1

    source.behave = short
    await _fetch(source, landing)

    assert len(source.asked) > 4


async def test_a_source_that_always_breaks_is_given_up() -> None:
    """After as many failures in a row as the policy allows; what landed stays."""
    source, landing = Source(), Landing()

    async def nothing(number: int, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        if number > 1:
            raise TransferInterrupted("reset")
        async for piece in pieces:
            yield piece

    source.behave = nothing
    with pytest.raises(RegistryError, match="reset, 9 times in a row"):
        await _fetch(source, landing)

    assert total(landing.present) == source.sent > 0


async def test_a_source_that_goes_away_for_a_while_is_waited_for() -> None:
    """A registry that starts again, a network that is gone for a moment: what has moved will move again."""
    source, landing = Source(), Landing()
    opened, refused = source.open, 0

    @asynccontextmanager
    async def unsteady(
        blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        nonlocal refused
        if source.sent > 1 << 20 and refused < 6:
            refused += 1
            raise RegistryUnreachable("cannot reach `http://r` (connection refused)")
        async with opened(blob, start, stop) as found:
            yield found

    source.open = unsteady  # type: ignore[method-assign]  # a source that does so
    await _fetch(source, landing)

    assert refused == 6
    assert landing.content == CONTENT


async def test_a_source_that_was_never_there_is_not_waited_for() -> None:
    """The first refusal is told as it is."""
    source, landing = Source(), Landing()

    @asynccontextmanager
    async def away(
        blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        if blob.size:
            raise RegistryUnreachable("cannot reach `http://r` (connection refused)")
        yield start, source._pieces(start, stop or 0)

    source.open = away  # type: ignore[method-assign]  # a source that does so
    with pytest.raises(RegistryUnreachable):
        await _fetch(source, landing)


async def test_a_stalled_request_is_asked_again() -> None:
    """Without waiting for the other side to give up."""
    source, landing = Source(), Landing()
    forever = asyncio.Event()

    async def stall(number: int, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            yield piece
            if number == 1:
                await forever.wait()

    source.behave = stall
    await _fetch(source, landing, stall=0.05)

    assert len(CONTENT) == source.sent


async def test_a_source_without_ranges_is_read_once_from_the_start() -> None:
    """What is here already is not written again."""
    source, landing = Source(), Landing((Span(0, 1 << 20), Span(20 << 20, 30 << 20)))
    source.ranges = False
    await _fetch(source, landing)

    assert (0, None) == source.asked[-1]
    assert 1 == source.asked.count((0, None))


async def test_a_source_that_sends_another_range_is_refused() -> None:
    """Its bytes are not written anywhere."""
    source, landing = Source(), Landing()
    source.shift = 5
    with pytest.raises(RegistryError, match="starts at byte"):
        await _fetch(source, landing)

    assert () == landing.present


async def test_cancelling_keeps_what_came() -> None:
    """Also what was not handed over yet."""
    source, landing = Source(), Landing()
    come, forever = asyncio.Event(), asyncio.Event()

    async def pause(number: int, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield await anext(pieces)
        come.set()
        await forever.wait()

    source.behave = pause
    task = asyncio.create_task(_fetch(source, landing))
    await come.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert source.sent == total(landing.present) > 0


@pytest.mark.parametrize("left", [1, 4 << 20, 2 * (_BATCH + BUFFER) - 1, 2 * (_BATCH + BUFFER), 16 << 20])
async def test_a_slow_lane_is_relieved_of_nothing_that_has_come(left: int) -> None:
    """Nearly a batch and a buffer may wait for the pace before they land."""
    slow = _Part(0, left, waited=100.0, received=1)
    fetching = _Fetch(Source(), BLOB, Landing(), Lanes(), lambda _: None, UNLIMITED, QUICK, 15.0)
    fetching.under_way = [slow]
    part = fetching._relieve()

    assert (part is None) == (left < 2 * (_BATCH + BUFFER))
    if part is not None:
        assert (part.position, part.stop) == (slow.stop, left)
        assert part.position >= _BATCH + BUFFER
