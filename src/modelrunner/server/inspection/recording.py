"""The daemon's side of the recorder: takes notes of requests, hands them over, hears what became of them.

What waits is bounded by bytes; what is too much is dropped and counted, and a request never waits for any of
this. The recorder's process is started with the first request, and again when it has ended.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count

from modelrunner.errors import StoreError
from modelrunner.recorder.frames import Batch
from modelrunner.recorder.redaction import rules_of
from modelrunner.recorder.values import Damaged, Figures, Filter, Forget, Noted, Order, Report, Store, Told
from modelrunner.server.inspection.listening import Listener
from modelrunner.server.inspection.recorder_process import RecorderProcess
from modelrunner.settings.table import Settings

_log = logging.getLogger(__name__)

_MOST_HELD = 128 << 20  # bytes
_BATCH = (
    64 << 10
)  # bytes; as much goes to another process at once, and memory that is larger is new each time
_GATHER = 0.25  # seconds; each hand-over has a price, which many requests share
_SETTLED_WITHIN = 5.0  # seconds
_FIGURES_WITHIN = 3.0  # seconds; whoever collects metrics does not wait for long
_STUCK_AFTER = 60.0  # seconds for what was handed over
_END_WITHIN = 5.0  # seconds for the recorder to store what it has
_AGAIN_AFTER = 1.0  # seconds between two starts
_OVERHEAD = 1024  # bytes of a note besides its bodies


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


class Recording:
    """Hands requests to the recorder's process. Everything here happens on the event loop."""

    def __init__(self, order: Order | None, environ: Mapping[str, str]) -> None:
        """`order` is how to record, None not at all; of `environ` the process gets what it may need."""
        self.order = order
        self._environ = environ
        self._batch = Batch()
        self._full: deque[Batch] = deque()
        self._held = 0  # bytes, also of what is under way
        self._awake = False  # whether what is taken is about to be handed over
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._done = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._running: RecorderProcess | None = None
        self._batches = 0
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
        return self._taken - self._settled

    def take(self, noted: Noted) -> None:
        """Take a request; it is dropped when too much waits already."""
        size = len(noted.body) + len(noted.answer) + _OVERHEAD
        if self._closing or self.order is None or (self._held and self._held + size > _MOST_HELD):
            self.dropped += noted.keep
            return
        batch = self._batch
        try:
            batch.add(noted, size)
        except UnicodeEncodeError:
            self.dropped += noted.keep
            return
        self._held += size
        self._taken += 1
        if batch.held > _BATCH:
            self._full.append(batch)
            self._batch = Batch()
        if not self._awake:
            self._awake = True
            self._news.set()
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="recording")

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
        self._hurry.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_WITHIN):
                    await self.settle()
            self._closing = True
            self._task.cancel()
            await asyncio.wait([self._task])
            self._lose_waiting()
        self._closing = True
        if self._running is not None:
            await self._running.end()
            self._running = None
        if self.dropped:
            _log.warning("requests were not recorded count=%d", self.dropped)

    async def _run(self) -> None:
        """Hand over what was taken; it is stored when no more comes, or somebody waits for it."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._awake:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GATHER):
                        await self._hurry.wait()
                is_awaited = self._hurry.is_set()
                self._hurry.clear()
                await self._hand_over()
                if is_awaited or not self._waits():
                    await self._have_stored()
                self._awake = self._waits()

    def _waits(self) -> bool:
        return bool(self._batch.count or self._full)

    async def _hand_over(self) -> None:
        while self._waits():
            try:
                running = await self._started()
            except OSError as exc:
                _log.error("the recorder cannot be started error=%s", exc)
                self._lose_waiting()
                await self._settled_some()
                return
            if not self._full:
                self._full.append(self._batch)
                self._batch = Batch()
            batch = self._full.popleft()
            self._batches += 1
            running.under_way[self._batches] = (batch.count, batch.held)
            if running.has_ended:
                self._lose_under_way(running)
            async with self._getting_on(running):
                await running.write(batch.framed(self._batches))

    async def _have_stored(self) -> None:
        running = self._running
        if running is not None and running.under_way:
            async with self._getting_on(running):
                await running.say(Store())
                async with self._done:
                    await self._done.wait_for(lambda: not running.under_way)

    @asynccontextmanager
    async def _getting_on(self, running: RecorderProcess) -> AsyncIterator[None]:
        """Give a process time for something; when that is not enough, end it."""
        try:
            async with asyncio.timeout(_STUCK_AFTER):
                yield
        except TimeoutError:  # a rule of the user's that takes for ever, as a rule
            _log.error("the recorder does not get on, it is started anew")
            await running.kill()

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
        for batch in (*self._full, self._batch):
            self._lose(batch.count, batch.held)
        self._full.clear()
        self._batch = Batch()

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
