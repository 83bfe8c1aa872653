"""Progress of a transfer as lines: throttled, never holding the transfer up, in the two forms clients read.

Source: the wire format of Docker Model Runner, whose clients unescape each line before they parse it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Literal

import msgspec

from modelrunner.errors import RunnerError
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Manifest
from modelrunner.oci.transfer import Progress, Tell
from modelrunner.wire.transfers import ProgressLine

Direction = Literal["pull", "push"]

_EVERY_SECONDS = 0.1
_EVERY_BYTES = 1 << 20
_STEPS = 100  # of a large layer: on a fast line, mebibytes would be thousands of lines that nobody sees
_VERBS = {"pull": "Downloaded", "push": "Uploaded"}
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&#34;", ord("'"): "&#39;"}


class Throttle:
    """Decides which reports about a layer become lines: the first, the last, and enough between them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[Digest, tuple[float, int]] = {}

    def lets(self, progress: Progress) -> bool:
        """Whether to pass a report on now; if so it counts as said."""
        now, done = self._clock(), progress.done
        said = self._said.get(progress.blob.digest)
        due = (
            said is None
            or (done >= progress.blob.size and said[1] < done)
            or done - said[1] >= max(_EVERY_BYTES, progress.blob.size // _STEPS)
            or (now - said[0] >= _EVERY_SECONDS and done != said[1])
        )
        if due:
            self._said[progress.blob.digest] = (now, done)
        return due


async def reported(
    work: Callable[[Tell], Awaitable[None]], manifest: Manifest, direction: Direction
) -> AsyncGenerator[ProgressLine, None]:
    """Do some work that tells of its progress, and yield lines about the layers meanwhile.

    A reader who is slow misses lines, not the last one of a layer. The work ends with the generator.
    """
    throttle = Throttle()
    layers = {layer.digest for layer in manifest.layers}
    total = sum(layer.size for layer in {layer.digest: layer for layer in manifest.layers}.values())
    latest: dict[Digest, Progress] = {}
    news = asyncio.Event()

    def tell(progress: Progress) -> None:
        if progress.blob.digest in layers:
            latest[progress.blob.digest] = progress
            news.set()

    async def run() -> None:
        await work(tell)

    task = asyncio.create_task(run())
    task.add_done_callback(lambda _: news.set())
    try:
        while latest or not task.done():
            await news.wait()
            news.clear()
            for progress in [latest.pop(digest) for digest in tuple(latest)]:
                if throttle.lets(progress):
                    yield progress_line(progress, direction, total)
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen; when the reader has left, nobody else will


def progress_line(progress: Progress, direction: Direction, total: int) -> ProgressLine:
    """Write one report; `total` is in bytes, and for a push only this layer's, as clients expect."""
    blob = progress.blob
    return {
        "type": "progress",
        "message": f"{_VERBS[direction]}: {progress.done / (1 << 20):.2f} MB",
        "total": blob.size if direction == "push" else total,
        "layer": {"id": str(blob.digest), "size": blob.size, "current": progress.done},
        "mode": direction,
    }


def success_line(message: str, direction: Direction) -> ProgressLine:
    """Write the last line of a transfer that worked."""
    return {
        "type": "success",
        "message": message,
        "total": 0,
        "layer": {"size": 0, "current": 0},
        "mode": direction,
    }


def status_line(message: str, direction: Direction) -> ProgressLine:
    """Write a line that tells what has happened, while more may follow."""
    return {**success_line(message, direction), "type": "progress"}


def warning_line(message: str, direction: Direction) -> ProgressLine:
    """Write a line about something that the user should know, although the transfer goes on."""
    return {**success_line(message, direction), "type": "warning"}


def error_line(exc: RunnerError, direction: Direction) -> ProgressLine:
    """Write the last line of a transfer that did not."""
    line: ProgressLine = {
        "type": "error",
        "message": f"Error: {exc.message}",
        "total": 0,
        "layer": {"size": 0, "current": 0},
        "mode": direction,
        "code": exc.code,
    }
    if exc.hint:
        line["hint"] = exc.hint
    return line


def encode_plain(line: ProgressLine) -> bytes:
    """Write a line as JSON."""
    return msgspec.json.encode(line) + b"\n"


def encode_escaped(line: ProgressLine) -> bytes:
    """Write a line as JSON with the characters of HTML escaped, for clients that did not ask for JSON."""
    return msgspec.json.encode(line).decode().translate(_ESCAPES).encode() + b"\n"
