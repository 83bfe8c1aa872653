"""The daemon's side of the recorder: takes notes of requests, hands them over, hears what became of them.

What waits is bounded by bytes; what is too much loses its answer, or is dropped and counted, and a request
never waits for any of this. The recorder's process is started with the first request, and again when it has
ended.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import NamedTuple

from starlette.types import Scope

from modelrunner.errors import StoreError
from modelrunner.recorder.frames import can_be_written, framed
from modelrunner.recorder.noting import may_be_kept
from modelrunner.recorder.redaction import rules_of
from modelrunner.recorder.values import (
    Circumstances,
    Damaged,
    Figures,
    Filter,
    Forget,
    Notes,
    Order,
    Report,
    Store,
    Told,
)
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.inference.note import Note
from modelrunner.server.inspection.listening import Listener
from modelrunner.server.inspection.recorder_process import RecorderProcess
from modelrunner.settings.table import Settings

_log = logging.getLogger(__name__)

_MOST_HELD = 128 << 20  # bytes
_BATCH = 64 << 10  # bytes; as much goes to another process at once, and more memory is new each time
_PAUSE = 0.02  # seconds; of what ended within, much is still in the processor's cache
_GATHER = 0.25  # seconds; each hand-over has a price, which many requests share
_WATCHED_WAIT = 1.0  # seconds of a burst; less than anybody notices who watches so many requests
_LONGEST_WAIT = 10.0  # seconds of a burst that nobody watches
_MANY = 64 << 20  # bytes; so much is stored even while more comes
_SETTLED_WITHIN = 5.0  # seconds
_FIGURES_WITHIN = 3.0  # seconds; whoever collects metrics does not wait for long
_STUCK_AFTER = 60.0  # seconds without a report, while there is something to do
_END_WITHIN = 5.0  # seconds for the recorder to store what it has
_AGAIN_AFTER = 1.0  # seconds between two starts
_LOOK_EVERY = 60.0  # seconds in which nothing came; something that was recorded may have become too old
_OVERHEAD = 1024  # bytes of a note besides its bodies, about
_UNKNOWN = Circumstances()
_UNTOLD = Circumstances(record=False)  # nobody can say whether it may be recorded


def order_of(settings: Settings) -> Order | None:
    """How to record; None when nobody wants to know anything of requests.

    Raises:
        InvalidRequest: a rule for what is replaced cannot be used.
    """
    if not settings.requests and settings.disable_metrics and settings.otel_endpoint is None:
        return None
    return Order(
        path=str(settings.requests_path) if settings.requests else None,
        limit=settings.requests,
        lifetime=settings.requests_lifetime,
        rules=rules_of(settings.redact, settings.redact_file),
        exports=settings.otel_endpoint is not None,
    )


class _Batch(NamedTuple):
    """A message with so many requests."""

    number: int
    requests: int
    message: bytearray


class Recording:
    """Hands requests to the recorder's process. Everything here happens on the event loop."""

    def __init__(
        self,
        order: Order | None,
        environ: Mapping[str, str],
        circumstances: Callable[[Key], Circumstances] = lambda _: _UNKNOWN,
    ) -> None:
        """`order` is how to record, None not at all; of `environ` the process gets what it may need.

        `circumstances` says how an instance is run.
        """
        self.order = order
        self._circumstances = circumstances
        self._environ = environ
        self._notes: list[Note] = []
        self._due = False  # whether they are about to be written down
        self._full: deque[_Batch] = deque()
        self._held = 0  # bytes, also of what is under way
        self._awake = False  # whether what is taken is about to be handed over
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._done = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._patience: asyncio.Timeout | None = None  # with the recorder's process, when it is waited for
        self._running: RecorderProcess | None = None
        self._batches = 0
        self._stored_at = 0.0  # on the loop's clock; or when it was begun to wait for more
        self._starting = asyncio.Lock()
        self._start_at = 0.0  # on the loop's clock; not before
        self._taken = self._settled = 0  # requests
        self._asked: dict[int, asyncio.Future[Report | None]] = {}
        self._numbers = count(1)
        self._listeners: set[Listener] = set()
        self._closing = False
        self.dropped = 0
        self.last = Report()
        self.on_new_file: Callable[[], None] = lambda: None

    @property
    def stores(self) -> bool:
        """Whether requests are kept at all."""
        return self.order is not None and self.order.path is not None

    @property
    def waiting(self) -> int:
        """How many requests are on their way to the file."""
        return self._taken - self._settled + len(self._notes)

    def begin(self, scope: Scope) -> Note | None:
        """See `note.Taker`."""
        if self.order is None:
            return None
        client = scope.get("client")
        return Note(  # in the order of its fields: names would cost as much again
            time.time(),
            time.monotonic(),
            scope["method"],
            scope["path"],
            client[0] if client else "",
            scope["headers"],
        )

    def take(self, note: Note) -> None:
        """See `note.Taker`; what is to be done with it waits for others, for a moment."""
        self._notes.append(note)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_PAUSE, self._write_down)

    def _write_down(self) -> None:
        """Make messages of what was taken, so that what it was made of can be let go.

        For many at once, since code that has just run runs much faster. Where there is no room for an answer,
        the request is told of without; what is too much even so is dropped.
        """
        self._due = False
        notes, self._notes = self._notes, []
        some: list[Note] = []
        size = 0
        for note in notes:
            assert note.body is not None, "there is nothing to tell of it"
            answer = sum(map(len, note.pieces)) if note.cut else note.size
            more = len(note.body) + answer + _OVERHEAD
            held = self._held + size
            if held + more > _MOST_HELD and note.pieces:  # as when many clients stalled, which end together
                more -= answer
                note.pieces, note.cut = [], True
            if self._closing or (held and held + more > _MOST_HELD):
                self._drop(note)
                continue
            some.append(note)
            size += more
            if size > _BATCH:
                self._pack(some)
                some, size = [], 0
        if some:
            self._pack(some)
        if self._full and not self._awake:
            self._awake = True
            self._news.set()
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="recording")

    def _pack(self, notes: list[Note]) -> None:
        """Make one message of some notes."""
        places: dict[Key | None, int] = {}
        circumstances: list[Circumstances] = []
        for note in notes:
            key = note.key
            place = places.get(key)
            if place is None:
                place = places[key] = len(circumstances)
                circumstances.append(self._circumstances_of(key))
            note.who, note.key = place, None
            self.dropped += circumstances[place] is _UNTOLD
        number = self._batches + 1
        try:
            message = framed(Notes(number, circumstances, notes))
        except UnicodeEncodeError:
            for note in [each for each in notes if not can_be_written(each)]:
                notes.remove(note)
                self.dropped += may_be_kept(note, circumstances[note.who])
            message = framed(Notes(number, circumstances, notes))
        self._batches = number
        self._held += len(message)
        self._taken += len(notes)
        self._full.append(_Batch(number, len(notes), message))

    def _drop(self, note: Note) -> None:
        circumstances = self._circumstances_of(note.key)
        self.dropped += circumstances is _UNTOLD or may_be_kept(note, circumstances)

    def _circumstances_of(self, key: Key | None) -> Circumstances:
        if key is None:
            return _UNKNOWN
        try:
            return self._circumstances(key)
        except Exception:  # noqa: BLE001 - of anybody's engine, which is asked; it costs no other note
            _log.exception("requests are not recorded model=%s engine=%s", key.model, key.engine)
            return _UNTOLD

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Hear of each request that is stored, for as long as the block lasts."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def settle(self) -> None:
        """Wait until all that was taken is stored or lost; not for ever, when the disk is slow."""
        self._write_down()
        target = self._taken
        if self._settled >= target:
            return
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLED_WITHIN), self._done:
                await self._done.wait_for(lambda: self._settled >= target)

    async def forget(self, meant: Filter) -> int:
        """Forget what is meant; says how many those were.

        Raises:
            StoreError: the file cannot be written.
        """
        await self.settle()
        report = await self._answer(lambda number: Forget(number, meant), within=_STUCK_AFTER)
        gone = -1 if report is None or report.answer is None else report.answer[1]
        if gone < 0:
            reason = self.last.reason or "the recorder does not answer"
            raise StoreError(f"requests cannot be forgotten: {reason}", hint="see `dmr logs`")
        return gone

    async def found_damaged(self) -> None:
        """Have the recorder set its file aside, which is damaged."""
        await self._answer(lambda number: Damaged(number, self.last.file), within=_SETTLED_WITHIN)

    async def figures(self) -> str:
        """The metrics of requests, as text; of none, as long as there was no request."""
        await self.settle()
        if self._running is None:
            return ""
        report = await self._answer(Figures, within=_FIGURES_WITHIN)
        return "" if report is None else report.text

    async def _answer(self, told: Callable[[int], Told], *, within: float) -> Report | None:
        """Tell the recorder something under a number; wait for what it says to that, for some seconds.

        None when it ends, or says nothing: it may have been stopped.
        """
        number = next(self._numbers)
        future: asyncio.Future[Report | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            running = await self._started()
            async with asyncio.timeout(within):
                await running.say(told(number))
                return await future
        except (TimeoutError, OSError):
            return None
        finally:
            del self._asked[number]

    async def close(self) -> None:
        """Hand over what waits, and end the recorder when it has stored that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_WITHIN):
                await self.settle()
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._lose_waiting()
        if self._running is not None:
            await self._running.end()
            self._running = None
        self._write_down()  # what came too late is counted
        if self.dropped:
            _log.warning("requests were not recorded count=%d", self.dropped)

    async def _run(self) -> None:
        """Hand over what was taken; it is stored when no more comes, or somebody waits for it."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._news.wait()
            if not self._news.is_set():
                await self._have_trimmed()
                continue
            self._news.clear()
            self._stored_at = loop.time()
            while self._awake:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GATHER):
                        await self._hurry.wait()
                is_awaited = self._hurry.is_set()
                self._hurry.clear()
                is_quiet = not self._due  # none came since notes were written down the last time
                await self._hand_over()
                if is_awaited or (is_quiet and not self._waits()) or self._is_time(loop.time()):
                    await self._have_stored()
                    self._stored_at = loop.time()
                self._awake = self._waits() or not is_quiet

    def _waits(self) -> bool:
        return bool(self._notes or self._full)

    def _is_time(self, now: float) -> bool:
        """Whether what is at the recorder is to be stored, although more comes."""
        longest = _WATCHED_WAIT if self._listeners else _LONGEST_WAIT
        return self._held > _MANY or now - self._stored_at >= longest

    async def _hand_over(self) -> None:
        self._write_down()
        while self._full:
            try:
                running = await self._started()
            except OSError as exc:
                _log.error("the recorder cannot be started error=%s", exc)
                self._lose_waiting()
                await self._settled_some()
                return
            batch = self._full.popleft()
            running.under_way[batch.number] = (batch.requests, len(batch.message))
            if running.has_ended:
                self._lose_under_way(running)
            async with self._getting_on(running):
                await running.write(batch.message)

    async def _have_stored(self) -> None:
        running = self._running
        if running is not None and running.under_way:
            async with self._getting_on(running):
                await running.say(Store())
                async with self._done:
                    await self._done.wait_for(lambda: not running.under_way)

    async def _have_trimmed(self) -> None:
        if self._running is not None and not self._running.has_ended:
            await self._running.say(Store())

    @asynccontextmanager
    async def _getting_on(self, running: RecorderProcess) -> AsyncIterator[None]:
        """Give a process time for something, anew with each report; when that is not enough, end it."""
        try:
            async with asyncio.timeout(_STUCK_AFTER) as self._patience:
                yield
        except TimeoutError:  # a rule of the user's that takes for ever, as a rule
            _log.error("the recorder does not get on, it is started anew")
            await running.kill()
        finally:
            self._patience = None

    async def _started(self) -> RecorderProcess:
        async with self._starting:  # those who want it at once share it
            if self._running is None or self._running.has_ended:
                self._running = await self._start()
            return self._running

    async def _start(self) -> RecorderProcess:
        assert self.order is not None
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._start_at - loop.time())  # one that cannot live is not started for ever
        self._start_at = loop.time() + _AGAIN_AFTER
        running = await RecorderProcess.start(self._environ, exports=self.order.exports)
        running.reading = asyncio.create_task(self._listen(running), name="recorder")
        await running.say(self.order)
        return running

    async def _listen(self, running: RecorderProcess) -> None:
        """Hear the reports of a process until it ends."""
        async for report in running.reports():
            await self._heard(running, report)
        if self._running is running and not self._closing:
            _log.error("the recorder ended unexpectedly, it is started again with the next request")
            self._running = None
        self._lose_under_way(running)
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)
        await self._settled_some()

    async def _heard(self, running: RecorderProcess, report: Report) -> None:
        if report.file != self.last.file:
            self.on_new_file()
        self.last = report
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + _STUCK_AFTER)
        for level, text in report.log:
            _log.log(logging.getLevelName(level.upper()), "%s", text)
        if report.answer is not None:
            future = self._asked.get(report.answer[0])
            if future is not None and not future.done():
                future.set_result(report)
        self.dropped += report.lost
        for listener in self._listeners:
            for stored in report.stored:
                listener.offer(stored)
        for batch in [each for each in running.under_way if each <= report.batch]:
            number, held = running.under_way.pop(batch)
            self._held -= held
            self._settled += number
        await self._settled_some()

    def _lose_waiting(self) -> None:
        for batch in self._full:
            self._lose(batch.requests, len(batch.message))
        self._full.clear()

    def _lose_under_way(self, running: RecorderProcess) -> None:
        for number, held in running.under_way.values():
            self._lose(number, held)
        running.under_way.clear()

    def _lose(self, number: int, held: int) -> None:
        self.dropped += number
        self._held -= held
        self._settled += number

    async def _settled_some(self) -> None:
        async with self._done:
            self._done.notify_all()
