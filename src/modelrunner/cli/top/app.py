"""The full-screen view: keys, and a page that is drawn again when something comes. Alone knows Textual."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.widgets import Static

from modelrunner.cli.output import clean
from modelrunner.cli.session import Session
from modelrunner.cli.top.feed import Feed, Look
from modelrunner.cli.top.page import Given, Line, lay_out
from modelrunner.cli.top.picture import Picture, Row, rows
from modelrunner.cli.top.rates import Rates
from modelrunner.errors import RunnerError
from modelrunner.wire.configuration import ConfigureRequest
from modelrunner.wire.engines import UnloadRequest

if TYPE_CHECKING:
    from modelrunner.wire.insight import EventView

_Thing = TypeVar("_Thing")
_EVENTS = 200  # that are remembered
_OUTPUT = 1  # the file descriptor; `sys.stdout` is Textual's
_REDRAWN = 1.0  # seconds; times go on when nothing comes
_TERMINATED = 143  # as a shell reports a program that SIGTERM ended
_TOLD = 5.0  # seconds that a message stays
_STYLES = {
    "dim": "dim",
    "bold": "bold",
    "reverse": "reverse",
    "good": "ansi_green",
    "warn": "ansi_yellow",
    "mark": "ansi_cyan",
}


class Top(App[int]):
    """Models, memory, rates, queue and events, as they are now."""

    CSS = "#page { width: 100%; height: 100%; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape,ctrl+c,ctrl+d", "quit", "quit", priority=True),
        Binding("u", "unload", "unload"),
        Binding("p", "pin", "pin"),
        Binding("down,j", "move(1)", "next"),
        Binding("up,k", "move(-1)", "previous"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, session: Session) -> None:
        super().__init__(ansi_color=True)
        self._session = session
        self._default_registry = session.settings.default_registry
        self._address = session.endpoint.address.url
        self._picture = Picture(problem="asking the daemon …")
        self._rates = Rates()
        self._has_rates = True
        self._rows: list[Row] = []
        self._chosen = 0
        self._message, self._told_at = "", 0.0
        self._feed = Feed(
            session,
            on_look=self._handed_over(self._take_look),
            on_event=self._handed_over(self._take_event),
        )

    def compose(self) -> ComposeResult:
        """One page of text."""
        yield Static(id="page", markup=False)

    def on_mount(self) -> None:
        """Begin to listen; one who is told to end leaves the terminal as it was."""
        with contextlib.suppress(NotImplementedError):  # on Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, _TERMINATED)
        self._feed.start()
        self.set_interval(_REDRAWN, self._keep_up)

    def on_unmount(self) -> None:
        """Listen no more."""
        self._feed.stop()

    def on_resize(self, _event: Resize) -> None:
        """Lay everything out anew."""
        self._draw()

    def _keep_up(self) -> None:
        """Draw what time has changed, in the size that there is: the signal of a new one can be lost."""
        with contextlib.suppress(OSError):  # no terminal
            size = Size(*os.get_terminal_size(_OUTPUT))
            if size != self.size and not self.is_headless:
                self.post_message(Resize(size, size))
        self._draw()

    def action_move(self, by: int) -> None:
        """Choose the next model, or the one before."""
        self._chosen = max(0, min(self._chosen + by, len(self._rows) - 1))
        self._draw()

    def action_unload(self) -> None:
        """Unload the chosen model."""
        if self._rows:
            self._do(self._unload, self._rows[self._chosen])

    def action_pin(self) -> None:
        """Pin the chosen model, or let it go."""
        if self._rows:
            self._do(self._pin, self._rows[self._chosen])

    def _unload(self, row: Row) -> str:
        client = self._session.client(start=False)
        reply = client.unload(UnloadRequest({"all": False, "backend": "", "models": [row.id]}))
        if reply["unloaded_runners"]:
            return f"{row.model} is unloaded"
        return f"{row.model} stays: it is in use, or requests wait for it"

    def _pin(self, row: Row) -> str:
        client = self._session.client(start=False)
        client.change_configuration(ConfigureRequest({"model": row.id, "pinned": not row.pinned}))
        return f"{row.model} {'goes when it is idle' if row.pinned else 'stays in memory from now on'}"

    @work(thread=True)
    def _do(self, action: Callable[[Row], str], row: Row) -> None:
        try:
            text = action(row)
        except RunnerError as exc:
            text = clean(exc.message)
        self.call_from_thread(self._tell, text)

    def _tell(self, text: str) -> None:
        self._message, self._told_at = text, time.monotonic()
        self._draw()

    def _handed_over(self, take: Callable[[_Thing], None]) -> Callable[[_Thing], None]:
        """Take what a thread brings in the thread of the screen; what comes too late is left out."""

        def hand_over(thing: _Thing) -> None:
            if self.is_running:
                self.call_later(take, thing)

        return hand_over

    def _take_look(self, look: Look | RunnerError) -> None:
        picture = self._picture
        if isinstance(look, RunnerError):
            picture.problem = f"{look.message}; trying again"
            picture.running, picture.queue, picture.health = (), (), None
            self._rates.pause()
        else:
            picture.problem = ""
            picture.running, picture.queue, picture.health, meters, picture.version = look
            self._has_rates = meters is not None
            if meters is not None:
                picture.capacity, picture.places = meters.capacity, meters.places
                self._rates.take(time.monotonic(), meters)
        self._draw()

    def _take_event(self, event: "EventView") -> None:
        self._picture.events.append(event)
        del self._picture.events[:-_EVENTS]
        self._draw()

    def _draw(self) -> None:
        chosen = self._rows[self._chosen].id if self._rows else ""
        self._rows = rows(self._picture, datetime.now(UTC), self._default_registry)
        places = [place for place, row in enumerate(self._rows) if row.id == chosen]
        self._chosen = places[0] if places else max(0, min(self._chosen, len(self._rows) - 1))
        now = time.monotonic()
        message = self._message if now < self._told_at + _TOLD else ""
        given = Given(self._rows, self._chosen, self._address, self._default_registry, message, now)
        lines = lay_out(
            self._picture, self._rates if self._has_rates else None, given, self.size.width, self.size.height
        )
        self.query_one("#page", Static).update(_content(lines))


def _content(lines: list[Line]) -> Content:
    return Content("\n").join(
        Content.assemble(*((span.text, _STYLES[span.style]) if span.style else span.text for span in line))
        for line in lines
    )
