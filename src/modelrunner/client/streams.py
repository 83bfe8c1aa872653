"""Reads the daemon's streams of lines and of events; knows no sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from modelrunner import errors
from modelrunner.client.shape import INTEGER, TEXT, fits
from modelrunner.client.transport import TRANSIENT, shown
from modelrunner.errors import RunnerError

if TYPE_CHECKING:
    from modelrunner.wire.transfers import ProgressLine

_MAX_STRAY = 4096  # bytes of a wrong answer that are shown
PIECE = 64 * 1024  # bytes
_LARGE_PIECE = 1 << 20  # bytes; of what is written to a file


_PROGRESS = {
    "type": TEXT,
    "message?": TEXT,
    "total?": INTEGER,
    "mode?": TEXT,
    "layer?": (None, {"id?": TEXT, "size?": INTEGER, "current?": INTEGER}),
}


class Body(Protocol):
    """What is read here: as much as there is, at most so many bytes; nothing at the end."""

    def read1(self, n: int = -1, /) -> bytes:
        """Return what has arrived."""
        ...


def read_progress(body: Body) -> Iterator[ProgressLine]:
    """Read a transfer's lines up to its success.

    Raises:
        RunnerError: the transfer failed, ended without a result, or this is no progress at all.
    """
    stray = b""
    understood = succeeded = False
    for raw in lines(body):
        line = _progress_line(raw)
        if line is None:
            stray = stray or raw
            continue
        if line["type"] == "error":
            _raise_line(line)
        understood, succeeded = True, succeeded or line["type"] == "success"
        yield line
    if succeeded:
        return
    if stray and not understood:
        raise RunnerError(
            f"unexpected response from server (not valid progress data): {shown(stray, _MAX_STRAY)}"
        )
    raise RunnerError("the daemon ended the transfer without a result", detail=TRANSIENT)


def read_events(body: Body) -> Iterator[tuple[str, dict[str, object]]]:
    """Read server-sent events: what each is called (`message` when nothing is said), and its data.

    Raises:
        RunnerError: the data is no JSON object.
    """
    for name, value in read_event_texts(body):
        yield name, _object(value)


def read_event_texts(body: Body) -> Iterator[tuple[str, bytes]]:
    """Read the same with the data as it is.

    Source: HTML Living Standard, 9.2 "Server-sent events", as far as our daemon uses it.
    """
    name = "message"
    for raw in lines(body):
        field, _, value = raw.rstrip(b"\r").partition(b": ")
        if field == b"event":
            name = value.decode(errors="replace")
        elif field == b"data":
            yield name, value
        elif not raw.strip():
            name = "message"


def read_exactly(body: Body, size: int) -> Iterator[bytes]:
    """Read `size` bytes in pieces as they come.

    Raises:
        RunnerError: the stream ends before that.
    """
    left = size
    while left and (piece := body.read1(min(_LARGE_PIECE, left))):
        left -= len(piece)
        yield piece
    if left:
        raise RunnerError(
            f"the daemon broke off after {size - left} of {size} bytes", hint="the `logs` command shows why"
        )


def _object(raw: bytes) -> dict[str, object]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RunnerError(f"unexpected event from the daemon: {shown(raw, 200)}")
    return document


def lines(body: Body) -> Iterator[bytes]:
    """Split a stream into lines as soon as they are complete; the last one may lack its end."""
    rest = b""
    while piece := body.read1(PIECE):
        *complete, rest = (rest + piece).split(b"\n")
        yield from complete
    if rest:
        yield rest


def _progress_line(raw: bytes) -> ProgressLine | None:
    text = raw.decode(errors="replace").strip()
    if "&" in text and not text.startswith('{"'):
        from html import unescape  # noqa: PLC0415 - 2 ms that only older daemons cost

        text = unescape(text)  # Docker's daemon escapes lines for clients that do not ask for JSON
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not fits(line, _PROGRESS):
        return None
    layer = line.get("layer")
    known = {"size": 0, "current": 0, **layer} if isinstance(layer, dict) else {"size": 0, "current": 0}
    # It fits what is read of it; the rest is filled in.
    return cast("ProgressLine", {"message": "", "total": 0, "mode": "pull", **line, "layer": known})


def _raise_line(line: ProgressLine) -> NoReturn:
    message = str(line.get("message", "")).strip().removeprefix("Error: ")
    hint = line.get("hint")
    code = str(line.get("code", ""))
    raise errors.rebuild(code, message or "the transfer failed", str(hint) if hint else None)
