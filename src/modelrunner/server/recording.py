"""The daemon's side of the recorder: takes notes of requests, hands them over, hears what became of them.

What waits is bounded by bytes; what is too much is dropped and counted, and a request never waits for any of
this. The recorder's process is started with the first request, and again when it has ended.
"""

import asyncio
import contextlib
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from modelrunner.errors import StoreError
from modelrunner.recorder.frames import LENGTH, framed, report_of
from modelrunner.recorder.redaction import rules_of
from modelrunner.recorder.values import Damaged, Figures, Filter, Forget, Noted, Notes, Order, Report, Told
from modelrunner.settings.table import Settings

_log = logging.getLogger(__name__)

_MOST_HELD = 128 << 20  # bytes
_BATCH = 256  # requests that are handed over at once
_BATCH_BYTES = 8 << 20
_UNDER_WAY = 2  # batches that the recorder has and has not reported
_GATHER = 0.25  # seconds; each hand-over has a price, which many requests share
_SETTLED_WITHIN = 5.0  # seconds
_STUCK_AFTER = 60.0  # seconds for a batch
_END_WITHIN = 5.0  # seconds for the recorder to store what it has
_AGAIN_AFTER = 1.0  # seconds between two starts
_MOST_UNREAD = 100  # requests that a listener has not taken yet
_OVERHEAD = 1024  # bytes of a note besides its bodies
_PASSED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR")


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


class Listener:
    """The numbers of requests stored since it began to listen; `lost` counts those it was too slow for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[int] = asyncio.Queue(_MOST_UNREAD)
        self.lost = 0

    def offer(self, number: int) -> None:
        """Take one, or count it as lost."""
        try:
            self._queue.put_nowait(number)
        except asyncio.QueueFull:
            self.lost += 1

    async def next(self) -> int:
        """Wait for the next one."""
        return await self._queue.get()


@dataclass(slots=True)
class _Process:
    """A recorder that runs, and the batches that it has not reported: how many requests and bytes each."""

    process: asyncio.subprocess.Process
    reading: asyncio.Task[None] | None = None
    under_way: dict[int, tuple[int, int]] = field(default_factory=dict)


class Recording:
    """Hands requests to the recorder's process. Everything here happens on the event loop."""

    def __init__(self, order: Order | None, environ: Mapping[str, str]) -> None:
        """`order` is how to record, None not at all; of `environ` the process gets what it may need."""
        self.order = order
        self._environ = {
            name: value
            for name, value in environ.items()
            if name in _PASSED or name.startswith("OTEL_") or name.lower().endswith("_proxy")
        }
        self._waiting: deque[Noted] = deque()
        self._held = 0  # bytes, also of what is under way
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._done = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._running: _Process | None = None
        self._batches = 0
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
        size = _size(noted)
        if self._closing or self.order is None or (self._held and self._held + size > _MOST_HELD):
            self.dropped += noted.keep
            return
        self._held += size
        self._taken += 1
        self._waiting.append(noted)
        if not self._news.is_set():
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
        report = await self._answer(lambda number: Forget(number, meant))
        gone = -1 if report is None or report.answer is None else report.answer[1]
        if gone < 0:
            raise StoreError(f"requests cannot be forgotten: {self.last.reason}", hint="see `dmr logs`")
        return gone

    async def found_damaged(self) -> None:
        """Have the recorder set its file aside, which is damaged."""
        await self._answer(lambda number: Damaged(number, self.last.file))

    async def figures(self) -> str:
        """The metrics of requests, as text; of none, as long as there was no request."""
        await self.settle()
        if self._running is None:
            return ""
        report = await self._answer(Figures)
        return "" if report is None else report.text

    async def _answer(self, told: Callable[[int], Told]) -> Report | None:
        """Tell the recorder something under a number; wait for what it says to that, None when it ends."""
        running = await self._started()
        number = next(self._numbers)
        future: asyncio.Future[Report | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            await _say(running, told(number))
            return await future
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
            self.dropped += len(self._waiting)
        self._closing = True
        if self._running is not None:
            await _ended(self._running)
            self._running = None
        if self.dropped:
            _log.warning("requests were not recorded count=%d", self.dropped)

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER):
                    await self._hurry.wait()
            while self._waiting:
                await self._hand_over()
            self._hurry.clear()
            self._news.clear()

    async def _hand_over(self) -> None:
        try:
            running = await self._started()
        except OSError as exc:
            _log.error("the recorder cannot be started error=%s", exc)
            self._lose(len(self._waiting), sum(map(_size, self._waiting)))
            self._waiting.clear()
            await self._settled_some()
            return
        batch: list[Noted] = []
        held = 0
        while self._waiting and len(batch) < _BATCH and held < _BATCH_BYTES:
            noted = self._waiting.popleft()
            batch.append(noted)
            held += _size(noted)
        self._batches += 1
        running.under_way[self._batches] = (len(batch), held)
        try:
            async with asyncio.timeout(_STUCK_AFTER):
                await _say(running, Notes(self._batches, batch))
                async with self._done:
                    await self._done.wait_for(lambda: len(running.under_way) < _UNDER_WAY)
        except TimeoutError:  # a rule of the user's that takes for ever, as a rule
            _log.error("the recorder does not get on, it is started anew")
            running.process.kill()
            if running.reading is not None:
                await asyncio.wait([running.reading])

    async def _started(self) -> _Process:
        if self._running is None:
            assert self.order is not None
            loop = asyncio.get_running_loop()
            await asyncio.sleep(self._start_at - loop.time())  # one that cannot live is not started for ever
            self._start_at = loop.time() + _AGAIN_AFTER
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "modelrunner.recorder.process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environ,
            )
            running = self._running = _Process(process)
            running.reading = asyncio.create_task(self._listen(running), name="recorder")
            await _say(running, self.order)
        return self._running

    async def _listen(self, running: _Process) -> None:
        """Hear the reports of a process until it ends."""
        reports = running.process.stdout
        assert reports is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                [length] = LENGTH.unpack(await reports.readexactly(LENGTH.size))
                await self._heard(running, report_of(await reports.readexactly(length)))
        if self._running is running and not self._closing:
            _log.error("the recorder ended unexpectedly, it is started again with the next request")
            self._running = None
        for number, held in running.under_way.values():
            self._lose(number, held)
        running.under_way.clear()
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)
        await self._settled_some()

    async def _heard(self, running: _Process, report: Report) -> None:
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
        number, held = running.under_way.pop(report.batch, (0, 0))
        self._held -= held
        self._settled += number
        await self._settled_some()

    def _lose(self, number: int, held: int) -> None:
        self.dropped += number
        self._held -= held
        self._settled += number

    async def _settled_some(self) -> None:
        async with self._done:
            self._done.notify_all()


def _size(noted: Noted) -> int:
    return len(noted.body) + len(noted.answer) + _OVERHEAD


async def _say(running: _Process, message: Told) -> None:
    """Write a message; a process that is gone is noticed by who reads its reports."""
    pipe = running.process.stdin
    assert pipe is not None
    with contextlib.suppress(ConnectionError):
        pipe.write(framed(message))
        await pipe.drain()


async def _ended(running: _Process) -> None:
    """End a process that has no more to do."""
    pipe = running.process.stdin
    assert pipe is not None
    pipe.close()
    with contextlib.suppress(ConnectionError):
        await pipe.wait_closed()
    try:
        async with asyncio.timeout(_END_WITHIN):
            await running.process.wait()
    except TimeoutError:
        running.process.kill()
        await running.process.wait()
    if running.reading is not None:
        await asyncio.wait([running.reading])
