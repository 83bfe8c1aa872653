"""Ends a request when its client has left or reads no more, at its deadline, or when the daemon stops."""

import asyncio
import contextlib
import logging
from enum import Enum, auto
from types import TracebackType
from typing import Protocol, Self

from starlette.types import Receive

from modelrunner.errors import DeadlineExceeded, ShuttingDown

_log = logging.getLogger(__name__)
_STALL = 30.0  # seconds


class Ending(Enum):
    """Why a request was ended before its time."""

    CLIENT_LEFT = auto()
    CLIENT_STALLED = auto()
    DEADLINE = auto()
    SHUTTING_DOWN = auto()


class Connection(Protocol):
    """Who knows whether a client is still there, and tells the one who watches."""

    def watch(self, watcher: "CancelScope") -> None:
        """Call its `client_left`, at once or later, when the client goes."""
        ...

    def unwatch(self, watcher: "CancelScope") -> None:
        """Tell it nothing any more."""
        ...


CONNECTION = "modelrunner.connection"  # among the extensions of ASGI that a scope has


class CancelScope:
    """A block that is cancelled when the client goes, and then left quietly.

        with CancelScope(receive, group) as cancel_scope:
            ...

    The body must be read before; or in the block, with None for `receive`, and `watch` called after it.
    It is also left quietly when the client does not take what it is sent: `sends` is counted up before and
    after each piece. When the daemon ends its group, or the time that was given is over, the block is left
    with ShuttingDown or DeadlineExceeded.
    """

    __slots__ = (
        "_connection",
        "_deadline",
        "_group",
        "_receive",
        "_task",
        "_watch",
        "ending",
        "seen",
        "sends",
    )

    def __init__(self, receive: Receive | None, group: "Group") -> None:
        self._receive = receive
        self._group = group
        self._task: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.ending: Ending | None = None
        self.sends = 0  # odd while a piece is on its way
        self.seen = 0  # what `sends` was when the group looked last

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._receive is not None:
            self.watch(self._receive)
        self._group.add(self)
        return self

    def watch(self, receive: Receive, connection: Connection | None = None) -> None:
        """Notice from now on when the client goes: from its connection, else by a task that waits for it."""
        if connection is not None:
            self._connection = connection
            connection.watch(self)
            return
        self._watch = asyncio.create_task(_until_gone(receive))
        self._watch.add_done_callback(self._gone)

    def within(self, seconds: float | None) -> None:
        """End the block when it takes longer; None is for ever."""
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(seconds, self.end, Ending.DEADLINE)

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
        if self.ending is Ending.DEADLINE:
            raise DeadlineExceeded(
                "the request took longer than its deadline",
                hint="give it more time with the header X-Request-Timeout or with DMR_REQUEST_TIMEOUT",
            ) from None
        return True

    def release(self) -> None:
        """Stop watching: the answer is complete, or the block is left."""
        if self._watch is not None:
            self._watch.remove_done_callback(self._gone)
            self._watch.cancel()
            self._watch = None
        if self._connection is not None:
            self._connection.unwatch(self)
            self._connection = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._group.discard(self)

    def end(self, ending: Ending) -> None:
        """Cancel the block."""
        if self.ending is None and self._task is not None:
            self.ending = ending
            self._task.cancel()

    def client_left(self) -> None:
        """Cancel the block, unless nobody watches any more."""
        if self._connection is not None:
            self.end(Ending.CLIENT_LEFT)

    def _gone(self, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled() and watch.exception() is None:
            self.end(Ending.CLIENT_LEFT)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Group:
    """The requests that are ended together when the daemon stops."""

    def __init__(self, *, stall: float = _STALL) -> None:
        """`stall` is for how long (in seconds, up to twice that) a piece may be on its way to a client."""
        self._cancel_scopes: set[CancelScope] = set()
        self._ended = False
        self._stall = stall
        self._look: asyncio.TimerHandle | None = None

    def add(self, cancel_scope: CancelScope) -> None:
        """Take a request in; one that comes after the end is ended at once."""
        self._cancel_scopes.add(cancel_scope)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(self._stall, self._look_around)
        if self._ended:
            cancel_scope.end(Ending.SHUTTING_DOWN)

    def discard(self, cancel_scope: CancelScope) -> None:
        """Let a request go."""
        self._cancel_scopes.discard(cancel_scope)

    def _look_around(self) -> None:
        """End whose client has not taken a piece since the last look; look again while somebody is here."""
        self._look = None
        for cancel_scope in tuple(self._cancel_scopes):
            if cancel_scope.sends % 2 and cancel_scope.sends == cancel_scope.seen:
                _log.warning("answer broken off reason=the client does not read it")
                cancel_scope.end(Ending.CLIENT_STALLED)
            cancel_scope.seen = cancel_scope.sends
        if self._cancel_scopes:
            self._look = asyncio.get_running_loop().call_later(self._stall, self._look_around)

    def end(self) -> None:
        """End every request, now and from now on."""
        self._ended = True
        for cancel_scope in tuple(self._cancel_scopes):
            with contextlib.suppress(RuntimeError):
                cancel_scope.end(Ending.SHUTTING_DOWN)
