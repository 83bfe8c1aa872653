"""Brings what the daemon says to the screen, by threads that go on when the daemon comes back."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from modelrunner.cli.session import Session
from modelrunner.cli.top.meters import Meters, read
from modelrunner.errors import RunnerError

if TYPE_CHECKING:
    from modelrunner.client import Client
    from modelrunner.wire.daemon import HealthReply
    from modelrunner.wire.engines import RunningModel
    from modelrunner.wire.insight import EventView, WaitingRequest

_Thing = TypeVar("_Thing")
_REMEMBERED = 2000  # events
_EVERY = 1.0  # seconds between two looks
_AGAIN = 1.0  # seconds before the next try
_PATIENCE = 10.0  # seconds for an answer that is no stream


class Look(NamedTuple):
    """One look at everything that is asked for; `meters` is None where they are turned off."""

    running: "list[RunningModel]"
    queue: "list[WaitingRequest]"
    health: "HealthReply"
    meters: Meters | None
    version: str


class Feed:
    """The threads; they end with the program. What they bring is handed over in their own thread."""

    def __init__(
        self,
        session: Session,
        *,
        on_look: Callable[[Look | RunnerError], None],
        on_event: Callable[["EventView"], None],
    ) -> None:
        self._session = session
        self._on_look = on_look
        self._on_event = on_event
        self._over = threading.Event()
        self._seen: dict[tuple[int, str], None] = {}  # events that were brought

    def start(self) -> None:
        """Begin."""
        for work in (self._look, self._events):
            threading.Thread(target=self._again_and_again, args=(work,), name="feed", daemon=True).start()

    def stop(self) -> None:
        """Bring nothing more."""
        self._over.set()

    def _again_and_again(self, work: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                work()
            except RunnerError as exc:
                if work == self._look:
                    self._bring(self._on_look, exc)
            self._over.wait(_AGAIN)

    def _look(self) -> None:
        client = self._session.client(start=False, patience=_PATIENCE)
        while not self._over.is_set():
            self._bring(self._on_look, look_once(client))
            self._over.wait(_EVERY)

    def _events(self) -> None:
        client = self._session.client(start=False)
        with closing(client.follow_events({}, lambda _: None)) as events:
            for event in events:
                key = (event["id"], event["at"])  # a daemon that was started again counts anew
                if key not in self._seen:
                    self._seen[key] = None
                    self._bring(self._on_event, event)
                while len(self._seen) > _REMEMBERED:
                    del self._seen[next(iter(self._seen))]

    def _bring(self, hand_over: Callable[[_Thing], None], thing: _Thing) -> None:
        if not self._over.is_set():
            hand_over(thing)


def look_once(client: "Client") -> Look:
    """Ask for everything.

    Raises:
        RunnerError: nobody answers, or not as a daemon.
    """
    observer = client.observer
    text = observer.metrics()
    meters = None if text is None else read(text)
    return Look(client.running(), observer.queue(), observer.health(), meters, client.version())
