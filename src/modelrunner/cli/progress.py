"""Long work made visible: docker's bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from modelrunner.cli.output import can_draw, clean, note
from modelrunner.units import format_bytes

if TYPE_CHECKING:
    from modelrunner.wire.transfers import ProgressLine

_REDRAW = 0.1  # seconds between two drawings
_SPEAK = 1.0  # seconds between two plain lines; a log wants to be read
_STATUS_WIDTH = 13
_BAR = 50
_WORDS = {
    "pull": ("Downloading", "Pull complete"),
    "push": ("Uploading", "Push complete"),
    "hash": ("Hashing", "Hashed"),
    "export": ("Exporting", "Exported"),
    "load": ("Loading", "Loaded"),
    "verify": ("Checking", "Checked"),
}
_DONE = {mode: complete for mode, (_, complete) in _WORDS.items()} | {
    "pull": "Downloaded",
    "push": "Uploaded",
}

Clock = Callable[[], float]


class Meter(Protocol):
    """Shows how far each layer is. `done`, `size` and `total` are in bytes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, layer: str, done: int, size: int, total: int) -> None:
        """Take note of a layer's progress; `total` is of all layers, 0 when unknown."""
        ...

    def say(self, text: str) -> None:
        """Print a sentence about what happens now."""
        ...


class Bars:
    """One line for each layer, drawn again and again in place."""

    def __init__(self, mode: str, stream: TextIO, clock: Clock = time.monotonic) -> None:
        self._words = _WORDS[mode]
        self._stream = stream
        self._clock = clock
        self._layers: dict[str, tuple[int, int]] = {}
        self._drawn = 0
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._layers:
            self._draw()

    def show(self, layer: str, done: int, size: int, total: int) -> None:  # noqa: ARG002 - bars need no total
        """Take note, and draw unless it was done a moment ago."""
        self._layers[layer] = (done, size)
        if self._clock() >= self._next:
            self._draw()
            self._next = self._clock() + _REDRAW

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._erase()
        self._stream.write(f"{clean(text)}\n")
        self._draw()

    def _draw(self) -> None:
        columns, rows = _size(self._stream)
        lines = [
            render_bar(layer, done, size, self._words, columns)
            for layer, (done, size) in self._layers.items()
        ]
        self._erase()
        shown = lines[-(rows - 1) :]  # what has scrolled away cannot be drawn again
        self._stream.write("".join(f"{line}\n" for line in shown))
        self._stream.flush()
        self._drawn = len(shown)

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0


class Lines:
    """A line a second, for logs and pipes: how much of everything is there."""

    def __init__(self, mode: str, stream: TextIO, clock: Clock = time.monotonic) -> None:
        self._word = _DONE[mode]
        self._stream = stream
        self._clock = clock
        self._layers: dict[str, tuple[int, int]] = {}
        self._next = 0.0
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def show(self, layer: str, done: int, size: int, total: int) -> None:
        """Take note, and print a line when it is time or everything is there."""
        self._layers[layer] = (done, size)
        present = sum(done for done, _ in self._layers.values())
        whole = max(total, sum(size for _, size in self._layers.values()))
        if self._clock() >= self._next or present == whole:
            self._next = self._clock() + _SPEAK
            text = f"{self._word} {format_bytes(present)} of {format_bytes(whole)}"
            if text != self._last:
                self.say(text)
            self._last = text

    def say(self, text: str) -> None:
        """Print a line."""
        self._stream.write(f"{clean(text)}\n")
        self._stream.flush()


def meter(mode: str, plain: TextIO) -> Meter:
    """Choose bars on a stderr that is a terminal, else lines on `plain`; `mode` is one of `_WORDS`."""
    return Bars(mode, sys.stderr) if can_draw(sys.stderr) else Lines(mode, plain)


def follow(lines: Iterable[ProgressLine], mode: str, plain: TextIO) -> str:
    """Show a transfer to its end; returns the sentence of its success."""
    success = ""
    with meter(mode, plain) as shown:
        for line in lines:
            layer, message = line["layer"], line["message"]
            if line["type"] == "success":
                success = message
            elif line["type"] == "warning":
                shown.say(f"Warning: {message}")
            elif "id" in layer:
                shown.show(layer["id"], layer["current"], layer["size"], line["total"])
            elif message:
                shown.say(message)
    return clean(success)


def announce_retry(what: str) -> Callable[[int, float], None]:
    """Make the function that tells of another try of a `download` or `push`."""
    from modelrunner.client.api import RETRY_DELAYS

    def tell(attempt: int, delay: float) -> None:
        note(f"\nRetrying {what} (attempt {attempt}/{len(RETRY_DELAYS)}) in {delay:.0f}s...")

    return tell


def render_bar(layer: str, done: int, size: int, words: tuple[str, str], columns: int) -> str:
    """Lay out one layer's line within `columns` characters.

    Source: docker's `pull`: the id, what happens, a bar, the counters.
    """
    doing, complete = words
    name = clean(layer).rpartition(":")[2][:12]
    if done >= size > 0:
        return f"{name}: {complete}"
    status = doing if done else "Waiting"
    head = f"{name}: {status:<{_STATUS_WIDTH}} "
    counters = f" {format_bytes(done)}/{format_bytes(size)}"
    width = min(_BAR, columns - len(head) - len(counters) - 3)
    if width < 5 or size <= 0:
        return f"{head}{counters.strip()}"[: columns - 1]
    filled = width * done // size
    arrow = "=" * (filled - 1) + ">" if filled else ""
    return f"{head}[{arrow:<{width}}]{counters}"


def _size(stream: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24
