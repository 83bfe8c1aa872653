"""One HTTP request and its answer over a socket of one's own; the parsing is a C library's.

The standard library's client takes 12 ms to import (mail, TLS, calendars), of the 60 that a command may take.
Redirects, proxies and connections that are kept are not for a daemon that is asked once.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import httptools

if TYPE_CHECKING:
    import socket

_PIECE = 64 * 1024  # bytes read at once
_MOST_HEADERS = 256 * 1024  # bytes
# Python looks for signals between two calls of the system. One that comes after that look and before the call
# (or to another thread) does not end the call, so none may take longer than this.
_LONGEST_CALL = 0.5  # seconds

_Done = TypeVar("_Done")


class NoHttp(Exception):
    """What came is no HTTP, or only a part of an answer."""


class Response:
    """An answer whose body is read as it comes."""

    def __init__(self, connection: "Connection") -> None:
        """Read until the head is complete.

        Raises:
            NoHttp: it is no answer.
            OSError: the connection broke.
        """
        self.status = 0
        self.reason = ""
        self.headers: Mapping[str, str] = {}
        self._connection = connection
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._found: dict[str, str] = {}
        self._head_bytes = 0
        self._words = b""
        self._has_head = False
        self._complete = False
        while not self._has_head:
            if not self._receive():
                raise ConnectionResetError("closed without an answer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def read(self, limit: int = -1) -> bytes:
        """Read the whole body, or its first `limit` bytes."""
        parts: list[bytes] = []
        left = limit
        while left != 0 and (part := self.read1(left)):
            parts.append(part)
            left -= len(part) if limit >= 0 else 0
        return b"".join(parts)

    def read1(self, limit: int = -1) -> bytes:
        """Read what there is, at most `limit` bytes; nothing at the end.

        Raises:
            NoHttp: the body ended before it was complete.
            OSError: the connection broke.
        """
        while not self._pieces and not self._complete:
            if not self._receive():
                if self._has_end:
                    raise NoHttp("it broke off before the answer was complete")
                self._complete = True  # a body without an announced end is as long as the connection
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        if 0 <= limit < len(piece):
            self._pieces.appendleft(piece[limit:])
            piece = piece[:limit]
        return piece

    @property
    def _has_end(self) -> bool:
        """Whether the body says how long it is."""
        return "content-length" in self._found or "transfer-encoding" in self._found

    def _receive(self) -> bool:
        """Take what has come; False when nothing more will."""
        data = self._connection.receive()
        if not data:
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            raise NoHttp("it is another protocol") from exc
        except httptools.HttpParserCallbackError as exc:
            # The library wraps whatever came up in a callback: ours, and Ctrl-C, which comes anywhere.
            raise exc.__context__ or exc from None
        except httptools.HttpParserError as exc:
            if not self._complete:
                raise NoHttp(f"it is no HTTP ({exc})") from exc
        return True

    # What the parser calls

    def on_status(self, text: bytes) -> None:
        """Take the words beside the status, perhaps in parts."""
        self._words += text

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _MOST_HEADERS:
            raise NoHttp("its headers are too long")
        self._found[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take note of the head; one that only says to go on is none."""
        self.status = self._parser.get_status_code()
        self.reason = self._words.decode("latin-1")
        self.headers = _Headers(self._found)
        self._has_head = self.status >= 200

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Take note of the end."""
        if self._has_head:
            self._complete = True
        else:
            self._found, self._words = {}, b""


class Connection:
    """A socket, waited for in calls that are short enough for Ctrl-C to be seen soon, whenever it comes."""

    def __init__(self, opened: "socket.socket") -> None:
        """The socket's timeout is from now on that of each piece which is sent or received."""
        self._socket = opened
        patience = opened.gettimeout()
        self._patience = float("inf") if patience is None else patience
        opened.settimeout(min(self._patience, _LONGEST_CALL))

    def receive(self) -> bytes:
        """Wait for the next bytes; none at the end."""
        return self._waiting(lambda: self._socket.recv(_PIECE))

    def send(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            view = view[self._waiting(partial(self._socket.send, view)) :]

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _waiting(self, call: Callable[[], _Done]) -> _Done:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return call()
            except TimeoutError as exc:
                if exc.errno is not None or time.monotonic() >= deadline:  # a number: TCP gave up, not we
                    raise


class _Headers(dict[str, str]):
    """Headers by their names in any case."""

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # headers are text
        """Return a header's value."""
        return super().get(name.lower(), default)


def exchange(
    opened: "socket.socket",
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes] | None,
) -> Response:
    """Send a request and read the head of its answer; the socket's timeout is that of each piece of both.

    A body in pieces is sent in chunks unless its length is among the headers.

    Raises:
        NoHttp: what came is no answer.
        OSError: the connection broke.
    """
    sent = dict(headers)
    if isinstance(body, bytes):
        sent["Content-Length"] = str(len(body))
    elif body is not None and "Content-Length" not in sent:
        sent["Transfer-Encoding"] = "chunked"
    elif body is None and method not in {"GET", "DELETE"}:
        sent["Content-Length"] = "0"
    lines = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in sent.items())
    head = f"{method} {_one_line(target)} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace")
    connection = Connection(opened)
    try:
        _send(connection, head, body, chunked="Transfer-Encoding" in sent)
    except (BrokenPipeError, ConnectionResetError):
        # An upload may be refused half-way; the answer that says why is waiting to be read.
        return Response(connection)
    return Response(connection)


def _send(
    connection: Connection, head: bytes, body: bytes | Iterable[bytes] | None, *, chunked: bool
) -> None:
    if body is None or isinstance(body, bytes):
        connection.send(head + (body or b""))
        return
    connection.send(head)
    for piece in body:
        if piece:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        connection.send(b"0\r\n\r\n")


def _one_line(text: str) -> str:
    """Keep a text from becoming a header of its own."""
    return text.replace("\r", " ").replace("\n", " ")
