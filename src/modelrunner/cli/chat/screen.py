"""An answer on a terminal while it is written: Markdown, thoughts that fold, and what it is at."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NamedTuple, NoReturn, Protocol, Self

from modelrunner.cli.cells import fitting, wrap
from modelrunner.cli.chat.asking import Calling
from modelrunner.cli.chat.markdown import Renderer, mended, split
from modelrunner.cli.chat.statistics import Watch, seconds
from modelrunner.cli.chat.thoughts import Thoughts
from modelrunner.cli.output import clean, emit, harmless
from modelrunner.client import Piece

_DIM, _THOUGHT, _PLAIN = "\x1b[2m", "\x1b[2;3m", "\x1b[0m"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK = 0.1  # seconds
_WINDOW = 4  # lines of thoughts that are seen while they are folded
_PATIENT = 0.3  # seconds before a spinner says that something goes on
_TAIL = 2000  # characters of thoughts in which those are
_ENDS = (signal.SIGINT, signal.SIGTERM)
_SUSPEND = getattr(signal, "SIGTSTP", None)  # Windows has none
_WIDEST = 100  # columns of thoughts


class Place(Protocol):
    """Where lines go; `region` has both."""

    def replace(self, lines: Sequence[str]) -> None:
        """Show these lines instead of those before."""
        ...

    def settle(self, count: int) -> None:
        """Let go of the first lines."""
        ...

    def close(self) -> None:
        """Go to a new line."""
        ...


class Look(NamedTuple):
    """How an answer is shown. `hint` tells how thoughts are unfolded; `width` is asked before each change."""

    width: Callable[[], int]
    live: bool = True
    thoughts: Thoughts = Thoughts.SHOW
    hint: str = ""


class Screen:
    """Shows one answer. Used as a context, so that what was shown is whole at the end, whatever ends it."""

    def __init__(
        self, place: Place, look: Look, watch: Watch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`watch` has seen each piece before it comes here."""
        self._place = place
        self._look = look
        self._clock = clock
        self._renderer = Renderer()
        self._watch = watch
        self._text: list[str] = []
        self._rest = ""  # of the answer, from the block on that may still change
        self._thinking = ""
        self._thinking_since = 0.0
        self._lines: list[str] = []  # that show what may still change
        self._dirty = False
        self._not_before = 0.0
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="screen", daemon=True)
        self._drawing = False
        self._interrupted = 0
        self._handlers: dict[int, Any] = {}  # as `signal.signal` gives them back

    def __enter__(self) -> Self:
        if self._look.live:
            emit(_HIDE_CURSOR)
            self._handlers = {number: signal.signal(number, self._interrupt) for number in _ENDS}
            if _SUSPEND is not None:
                self._handlers[_SUSPEND] = signal.signal(_SUSPEND, self._suspend)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._look.live:
            self._ticker.join()
            for number in self._handlers:
                signal.signal(number, signal.SIG_IGN)
        try:
            self._place.replace(self._section(self._look.width()))
            self._place.close()
        finally:
            if self._look.live:
                emit(_SHOW_CURSOR)
                for number, handler in self._handlers.items():
                    signal.signal(number, handler)

    @staticmethod
    def warm() -> None:
        """Render something that nobody sees: what is used for the first time is slow."""
        Renderer().lines("**a** `b`\n\n- c\n\n```python\nd = 1\n```", 80)

    def show(self, pieces: Iterable[Piece | Calling]) -> str:
        """Show the pieces as they come; returns the answer's text."""
        for piece in pieces:
            with self._whole():
                if isinstance(piece, Calling):
                    self._tell(piece.told)
                else:
                    self._take(piece)
        return "".join(self._text)

    def _take(self, piece: Piece) -> None:
        if piece.notice:
            self._tell(piece.notice)
        if piece.reasoning:
            if not self._thinking:
                self._end_section()
                self._thinking_since = self._clock()
            self._thinking += harmless(piece.reasoning)
        if piece.content:
            if self._thinking:
                self._end_section()
            self._text.append(piece.content)
            self._rest += harmless(piece.content)
        self._dirty = True
        if self._clock() >= self._not_before:
            self._draw()

    def _tell(self, text: str) -> None:
        """Set a line of what happens beside the answer, dim, between its parts."""
        self._end_section()
        self._settle([_dim([clean(text)], self._look.width()), ""])

    def _draw(self) -> None:
        begun = self._clock()
        width = self._look.width()
        settled: list[str] = []
        if self._thinking:
            self._lines = self._thinking_lines(width)
        else:
            blocks = split(self._rest)
            settled = [line for block in blocks.finished for line in self._block(block, width)]
            self._lines = self._renderer.lines(mended(blocks.rest), width) if blocks.rest.strip() else []
            self._rest = blocks.rest
        self._place.replace([*settled, *self._lines, *self._status(width)])
        self._place.settle(len(settled))
        self._dirty = False
        now = self._clock()
        self._not_before = now + 3 * (now - begun)  # a long block must not take all the time there is

    def _block(self, text: str, width: int) -> list[str]:
        lines = self._renderer.lines(text, width)
        return [*lines, ""] if lines else []

    def _thinking_lines(self, width: int) -> list[str]:
        if self._look.thoughts is Thoughts.HIDE:
            return []
        folds = self._look.thoughts is Thoughts.FOLD
        text = self._thinking.strip()
        if folds and len(text) > _TAIL:
            text = text[text.find(" ", len(text) - _TAIL) + 1 :]
        lines = wrap(text, min(width, _WIDEST))
        if folds:
            lines = lines[-_WINDOW:]
        return [f"{_THOUGHT}{line}{_PLAIN}" if line else "" for line in lines]

    def _end_section(self) -> None:
        """Make final what the answer, or a thought, has come to; another part of it follows."""
        lines = self._section(self._look.width())
        self._settle([*lines, ""] if lines else [])
        self._thinking = self._rest = ""

    def _section(self, width: int) -> list[str]:
        """Lay out in its final form what may still change."""
        if not self._thinking:
            return self._renderer.lines(self._rest, width) if self._rest.strip() else []
        if self._look.thoughts is not Thoughts.FOLD:
            return self._thinking_lines(width)
        took = seconds(self._clock() - self._thinking_since)
        return [_dim([f"Thought for {took}", *([self._look.hint] if self._look.hint else [])], width)]

    def _settle(self, lines: Sequence[str]) -> None:
        self._place.replace([*lines, ""])
        self._place.settle(len(lines))
        self._lines = []

    def _status(self, width: int) -> list[str]:
        """The line at the end that says what goes on; none on an output that cannot take it back."""
        watch = self._watch
        if not self._look.live or (watch.elapsed < _PATIENT and not watch.pieces):
            return []
        spinner = _SPINNER[int(watch.elapsed / _TICK) % len(_SPINNER)]
        facts = [f"{spinner} {self._activity()}"]
        if watch.rate:
            facts += [f"{watch.pieces:,} tokens", f"{watch.rate:.0f} tokens/s"]
        return [*([""] if self._lines else []), _dim([*facts, "ctrl-c stops"], width)]

    def _activity(self) -> str:
        if self._thinking:
            return f"thinking {seconds(self._clock() - self._thinking_since)}"
        return "writing" if self._rest or self._text else f"waiting {seconds(self._watch.elapsed)}"

    def _tick(self) -> None:
        """Draw what was left out for want of time, and turn the spinner."""
        while not self._over.wait(_TICK):
            with self._lock:
                if self._dirty and self._clock() >= self._not_before:
                    self._draw()
                else:
                    self._place.replace([*self._lines, *self._status(self._look.width())])

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Hold a Ctrl-C back until what is written is written as a whole."""
        with self._lock:
            self._drawing = True
            try:
                yield
            finally:
                self._drawing = False
        if self._interrupted:
            _end(self._interrupted)

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        if self._drawing:
            self._interrupted = number
        else:
            _end(number)

    def _suspend(self, number: int, _frame: FrameType | None) -> None:
        """Stop as any program does at Ctrl-Z, and go on below of what came in between."""
        with self._lock:
            self._place.replace(self._lines)
            self._place.close()
            emit(_SHOW_CURSOR)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, self._suspend)
        emit(_HIDE_CURSOR)


def _end(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _dim(facts: Sequence[str], width: int) -> str:
    return f"{_DIM}{fitting(facts, width)}{_PLAIN}"
