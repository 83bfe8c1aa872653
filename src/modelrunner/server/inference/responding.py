"""Responses as they are made: kept when they end, whoever waits for them, and those that nobody waits for."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from modelrunner.dialects.base import Question, Timing
from modelrunner.dialects.openai import OpenAI
from modelrunner.dialects.responses_answers import JSON, Answering
from modelrunner.errors import (
    Busy,
    DeadlineExceeded,
    InvalidRequest,
    ResponseNotFound,
    RunnerError,
    ShuttingDown,
    unforeseen,
)
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.runtime.scheduling.request_queue import Terms
from modelrunner.server.inference.answer import Answer, Writer
from modelrunner.server.inference.event_log import EventLog
from modelrunner.server.inference.note import Note, Taker
from modelrunner.server.inference.relay import ask
from modelrunner.server.inference.response_store import Kept, ResponseStore
from modelrunner.server.library.catalogue import Catalogue

_log = logging.getLogger(__name__)
_MOST_IN_BACKGROUND = 256
_DROPPED = b"x-context-dropped"


class Telling(OpenAI):
    """How a stream of events tells of an error: in events of its own, of which the last has the response."""

    name_header: bytes | None = None

    def __init__(self, making: "Making") -> None:
        self._making = making

    def late_error(self, exc: RunnerError) -> bytes:
        """Write `error` and `response.failed`, and keep what there is."""
        return self._making.fail(exc)


class Making:
    """One response on its way, to be kept in `store` unless that is None."""

    def __init__(self, answering: Answering, items: list[JSON], store: ResponseStore | None) -> None:
        """`items` are what it was asked."""
        self.answering = answering
        self.items = items
        self.log: EventLog | None = None  # of what is made in the background, as a stream
        self.notes: tuple[tuple[bytes, bytes], ...] = ()
        self._store = store
        self._answer: Answer | None = None

    @contextmanager
    def attend(self, answer: Answer) -> Iterator[Writer]:
        """Take the answer down on its way to a client; one that leaves is no reason to forget it."""
        self._answer = answer
        answer.speak(Telling(self))
        try:
            yield self
        except asyncio.CancelledError:
            self.break_off("cancelled")
            raise

    async def write(self, piece: bytes, media_type: bytes) -> None:
        """See `Writer`."""
        if self.log is not None:
            self.log.write(piece)
        if self._answer is not None:
            await self._answer.write(piece, media_type)

    async def end(self, piece: bytes, media_type: bytes) -> None:
        """See `Writer`; who has the whole answer can be sure that it is kept."""
        if self._store is not None:
            await self._store.save(self._kept(self.answering.response, piece))
        if self.log is not None:
            self.log.write(piece)
        if self._answer is not None:
            await self._answer.end(piece, media_type)

    def drop(self, count: int) -> None:
        """Note that so many messages of the conversation were left out."""
        self.answering.dropped += count
        if self._answer is not None:
            others = (note for note in self._answer.notes if note[0] != _DROPPED)
            self._answer.notes = (*others, (_DROPPED, b"%d" % self.answering.dropped))

    def fail(self, exc: RunnerError) -> bytes:
        """End with an error, and return what a stream has to say about it."""
        events = self.answering.fail(exc)
        self._keep(self.answering.response, events)
        return events

    def break_off(self, status: str) -> None:
        """Keep what there is; it has this status unless it is complete."""
        answering = self.answering
        if answering.ended:
            self._keep(answering.response, b"")
        else:
            self._keep(answering.broken_off(status), answering.cancel())

    def _keep(self, response: JSON, events: bytes) -> None:
        if self._store is not None:
            self._store.save_soon(self._kept(response, events))
        if self.log is not None:
            self.log.write(events)

    def _kept(self, response: JSON, last: bytes) -> Kept:
        return Kept(self.items, response, b"" if self.log is None else self.log.data + last)


@dataclass(slots=True)
class _Job:
    """A response that is made in the background."""

    making: Making
    note: Note | None = None
    timing: Timing | None = None
    task: asyncio.Task[None] | None = None
    shutting_down: bool = False


@dataclass(slots=True)
class Responding:
    """All responses of the daemon: those that are kept, and those that are made in the background."""

    pool: Pool[Instance]
    catalogue: Catalogue
    store: ResponseStore
    taker: Taker
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _closed: bool = False

    async def begin(
        self,
        making: Making,
        key: Key,
        question: Question,
        terms: Terms,
        *,
        deadline: float | None,
        note: Note | None = None,
    ) -> JSON:
        """Make a response in the background, within `deadline` (in seconds); return it as it is now.

        The note ends with it.

        Raises:
            Busy: so many are being made that it has to wait elsewhere.
            ShuttingDown: the daemon is about to end.
            StoreError: it cannot be kept.
        """
        if self._is_closed():
            raise ShuttingDown("the daemon is shutting down")
        if len(self._jobs) >= _MOST_IN_BACKGROUND:
            raise Busy(f"{_MOST_IN_BACKGROUND} responses are being made in the background")
        response = making.answering.response
        if making.log is not None:
            making.log.write(making.answering.announce())
        job = self._jobs[response["id"]] = _Job(making, note)
        try:
            await self.store.save(Kept(making.items, response))
        except BaseException:
            del self._jobs[response["id"]]
            raise
        job.task = asyncio.create_task(self._run(job, key, question, terms, deadline), name=response["id"])
        job.task.add_done_callback(lambda task: self._done(job, task))
        if self._is_closed():  # meanwhile
            job.shutting_down = True
            job.task.cancel()
        return response

    async def find(self, name: str) -> Kept:
        """Look a response up, as it is now.

        Raises:
            ResponseNotFound: there is none.
        """
        job = self._jobs.get(name)
        if job is not None:
            return Kept(job.making.items, job.making.answering.response)
        kept = await self.store.find(name)
        if kept is None:
            raise _not_found(name)
        return kept

    async def events(self, name: str, after: int) -> AsyncGenerator[bytes, None]:
        """Give the events of a response in the background behind number `after`, those to come too.

        Raises:
            ResponseNotFound: there is none.
            InvalidRequest: it was not made as a stream.
        """
        job = self._jobs.get(name)
        if job is not None and job.making.log is not None:
            return job.making.log.read(after)
        await self.find(name)
        log = EventLog()
        log.write(await self.store.events(name))
        log.close()
        if not log.data:
            raise InvalidRequest(
                f"the response has no events: `{name[:100]}`",
                hint="make it with `background` and `stream`, or retrieve it without `stream`",
            )
        return log.read(after)

    async def cancel(self, name: str) -> JSON:
        """End a response in the background; one that has ended stays as it is.

        Raises:
            ResponseNotFound: there is none.
            InvalidRequest: it was not made in the background.
        """
        job = self._jobs.get(name)
        if job is not None and job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])
        response = (await self.find(name)).response
        if not response["background"]:
            raise InvalidRequest(
                f"not a background response: `{name[:100]}`", hint="to cancel it, close its connection"
            )
        return response

    async def delete(self, name: str) -> None:
        """Forget a response; one in the background is ended.

        Raises:
            ResponseNotFound: there is none.
        """
        if name in self._jobs:
            await self.cancel(name)
        if not await self.store.delete(name):
            raise _not_found(name)

    async def close(self) -> None:
        """End what is made in the background; it is kept as failed."""
        self._closed = True
        tasks = []
        for job in self._jobs.values():
            job.shutting_down = True
            if job.task is not None:
                job.task.cancel()
                tasks.append(job.task)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_closed(self) -> bool:
        """Ask anew each time; it may come about during any wait."""
        return self._closed

    async def _run(
        self, job: _Job, key: Key, question: Question, terms: Terms, deadline: float | None
    ) -> None:
        making = job.making
        try:
            async with asyncio.timeout(deadline), self.pool.lease(key, terms) as lease:
                timing = job.timing = Timing(lease.queued, lease.loading, time.monotonic())
                await ask(lease.running, question, timing, making, job.note)
        except asyncio.CancelledError:
            _break_off(job)
        except TimeoutError:
            making.fail(DeadlineExceeded("the response took longer than its deadline"))
        except RunnerError as exc:
            making.fail(exc)
        except Exception as exc:  # noqa: BLE001 - the top of a task; it is logged and told
            _log.exception("response failed response=%s", making.answering.response["id"])
            making.fail(unforeseen(exc))

    def _done(self, job: _Job, task: asyncio.Task[None]) -> None:
        del self._jobs[job.making.answering.response["id"]]
        if task.cancelled():  # before it began
            _break_off(job)
        if job.making.log is not None:
            job.making.log.close()
        if job.note is not None:
            response, timing = job.making.answering.response, job.timing
            job.note.end_later(
                response["id"],
                msgspec.json.encode(response),
                None if timing is None else (timing.queued, timing.loading, timing.since),
                is_cancelled=not job.making.answering.ended,
            )
            self.taker.take(job.note)


def _break_off(job: _Job) -> None:
    if job.shutting_down and not job.making.answering.ended:
        job.making.fail(ShuttingDown("the daemon was stopped before the response was complete"))
    else:
        job.making.break_off("cancelled")


def _not_found(name: str) -> ResponseNotFound:
    return ResponseNotFound(
        f"Response not found: `{name[:100]}`", hint="it was not stored, was deleted, or its lifetime is over"
    )
