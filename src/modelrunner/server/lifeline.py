"""Ends a request when its client has left, or when the daemon stops; nothing else watches for either."""

import asyncio
import contextlib
from enum import Enum, auto
from types import TracebackType
from typing import Self

from starlette.types import Receive

from modelrunner.errors import ShuttingDown


class Ending(Enum):
    """Why a request was ended before its time."""

    CLIENT_LEFT = auto()
    SHUTTING_DOWN = auto()


class Lifeline:
    """A block that is cancelled when the client goes, and then left quietly.

        with Lifeline(receive, group) as lifeline:
            ...

    The body must be read before; or in the block, with None for `receive`, and `watch` called after it.
    When the daemon ends its group instead, the block is left with ShuttingDown.
    """

    __slots__ = ("_group", "_receive", "_task", "_watch", "ending")

    def __init__(self, receive: Receive | None, group: "Group") -> None:
        self._receive = receive
        self._group = group
        self._task: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.ending: Ending | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._receive is not None:
            self.watch(self._receive)
        self._group.add(self)
        return self

    def watch(self, receive: Receive) -> None:
        """Notice from now on when the client goes."""
        self._watch = asyncio.create_task(_until_gone(receive))
        self._watch.add_done_callback(self._gone)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.release()
        if self.ending is None or not isinstance(exc, asyncio.CancelledError):
            return False
        assert self._task is not None
        self._task.uncancel()
        if self.ending is Ending.SHUTTING_DOWN:
            raise ShuttingDown("the daemon is shutting down") from None
        return True

    def release(self) -> None:
        """Stop watching; the answer is complete but for its last piece, after which receive() ends anyway."""
        if self._watch is not None:
            self._watch.remove_done_callback(self._gone)
            self._watch.cancel()
            self._watch = None
        self._group.discard(self)

    def end(self, ending: Ending) -> None:
        """Cancel the block."""
        if self.ending is None and self._task is not None:
            self.ending = ending
            self._task.cancel()

    def _gone(self, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled() and watch.exception() is None:
            self.end(Ending.CLIENT_LEFT)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Group:
    """The requests that are ended together when the daemon stops."""

    def __init__(self) -> None:
        self._lifelines: set[Lifeline] = set()
        self._ended = False

    def add(self, lifeline: Lifeline) -> None:
        """Take a request in; one that comes after the end is ended at once."""
        self._lifelines.add(lifeline)
        if self._ended:
            lifeline.end(Ending.SHUTTING_DOWN)

    def discard(self, lifeline: Lifeline) -> None:
        """Let a request go."""
        self._lifelines.discard(lifeline)

    def end(self) -> None:
        """End every request, now and from now on."""
        self._ended = True
        for lifeline in tuple(self._lifelines):
            with contextlib.suppress(RuntimeError):
                lifeline.end(Ending.SHUTTING_DOWN)
