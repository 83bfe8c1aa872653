"""HTTP of one connection: uvicorn's, with limits for headers and one write less for each answer."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from modelrunner.server.connection.cancel_scope import CONNECTION, CancelScope

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGISendEvent

_HEADER_BYTES = 64 * 1024
_UNTOLD_BYTES = 64 * 1024  # of trailers and of what is said of chunks
_SLOW_SECONDS = 30.0
_LEAST_RATE = 100  # bytes a second of a body, over `_SLOW_SECONDS`
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 44\r\nConnection: close\r\n\r\nThe body of the request did not come in time"
)
_LINGER = 5.0  # seconds for which a connection that is closed still sends


def _is_news(record: logging.LogRecord) -> bool:
    """Whether nobody has told of it: who breaks an answer off says why, and what uvicorn adds is a riddle."""
    return record.msg != "ASGI callable returned without completing response."


logging.getLogger("uvicorn.error").addFilter(_is_news)


class Protocol(HttpToolsProtocol):
    """A connection on which nothing may take for ever, nor be of any size, and which speaks HTTP/1.1 only.

    That is so of headers, of what stands between and behind the chunks of a body, and of a body that
    trickles; how large a body may be is for its route to say. Trailers are left: they come too late.

    An `Upgrade` is ignored, as a server may (RFC 9110, 7.8): Java's client sends `Upgrade: h2c` with every
    request to an address without TLS. The parser however stops at the end of such a head, and takes the body
    for another protocol; so that head goes to a new parser, without the header.
    """

    _reading_since: float | None = None
    _read = 0  # bytes received while this head was read; it is not longer, but others may be in it
    _begun = False  # whether a head began in what is being parsed
    _awaits = False  # whether a body, or a part of it, is still to come
    _came = False  # whether a piece of it was in what is being parsed
    _untold = 0  # bytes received since its last piece
    _since = 0.0  # when its pieces began to be counted
    _arrived = 0  # bytes of it since then
    _watcher: CancelScope | None = None  # of the request that is being answered
    _running: RequestResponseCycle | None = None
    _lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent has it
        """Begin with a transport that joins writes."""
        super().connection_made(HeadFirst(transport, self.loop))
        self._reading_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who watches."""
        super().connection_lost(exc)
        self._lost = True
        self.pipeline.clear()  # nobody is there to be answered
        if self._running is not None:  # its parent tells only the last one that was read
            self._running.disconnected = True
            self._running.message_event.set()
        if self._watcher is not None:
            self._watcher.client_left()

    def watch(self, watcher: CancelScope) -> None:
        """See `cancel_scope.Connection`; a task that waits costs a tenth of a short request."""
        self.flow.resume_reading()  # or the client's end would not be read
        self._watcher = watcher
        if self._lost:
            self.loop.call_soon(watcher.client_left)

    def unwatch(self, watcher: CancelScope) -> None:
        """See `cancel_scope.Connection`; the next request may have its watcher already."""
        if self._watcher is watcher:
            self._watcher = None

    def on_message_begin(self) -> None:
        """Note when the headers of a request begin."""
        self._reading_since = self.loop.time()
        self._begun = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, and leave a trailer."""
        if self._reading_since is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that they are complete, and begin with the request."""
        if self.parser.should_upgrade():
            return  # it comes again
        if self._read > _HEADER_BYTES and self._head_size() > _HEADER_BYTES:
            raise ValueError("headers too large")
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise ValueError("several hosts")  # RFC 9112, 3.2
        self._reading_since = None
        self._awaits = True
        self._since, self._arrived = self.loop.time(), 0
        self.scope["extensions"] = {CONNECTION: self}  # type: ignore[dict-item]  # what it is, we say
        super().on_headers_complete()
        if self.parser.get_http_version() == "1.0":
            self.cycle.__class__ = _UntilClose  # its parent has just made it, and nothing of it runs yet

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        """Begin to answer a request, and know which one it is."""
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Count a piece of a body."""
        self._came = True
        self._arrived += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a body."""
        if not self.parser.should_upgrade():
            self._awaits = False
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Read, and give up on headers that are too large."""
        self._unset_keepalive_if_required()
        self._begun = self._came = False
        self._read += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._reading_since is None:
            self._read = 0
        elif self._begun:
            self._read = self._head_size()  # what came before it belongs to others
        elif self._read > _HEADER_BYTES:
            self.transport.close()
        self._untold = 0 if self._came or not self._awaits else self._untold + len(data)
        if self._untold > _UNTOLD_BYTES:
            self.transport.close()

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as exc:
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as its parent has it
                self.parser.feed_data(head)
                data = memoryview(data)[exc.args[0] :]
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("no proxy")
        first = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        lines = (b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
        return b"%b%b\r\n" % (first, b"".join(lines))

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    def reads_headers_since(self, moment: float) -> bool:
        """Whether it waits for the end of headers that began before a moment of the loop's clock."""
        return self._reading_since is not None and self._reading_since <= moment

    def check_pace(self) -> None:
        """Break a request off whose body does not come, or trickles; to be called now and then.

        What waits because we do not read, have not asked for the body yet, or answer another request, is not
        slow.
        """
        now = self.loop.time()
        if not self._awaits or self.pipeline or self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._since, self._arrived = now, 0
        elif now - self._since >= _SLOW_SECONDS:
            if self._arrived >= _SLOW_SECONDS * _LEAST_RATE:
                self._since, self._arrived = now, 0
                return
            self.logger.warning("request broken off reason=its body does not come")
            if self.cycle.response_started:
                self.transport.close()
            else:
                self.transport.write(_TOO_SLOW)
                self.transport.close()


class _UntilClose(RequestResponseCycle):
    """An answer in HTTP/1.0, which knows no chunks: where no length is said, it ends with the connection.

    uvicorn sends chunks then. To it the length is told as that of each piece, just before.
    """

    _has_length = True

    async def send(self, message: "ASGISendEvent") -> None:
        """Send a head or a piece."""
        if message["type"] == "http.response.start":
            if all(name.lower() != b"content-length" for name, _ in message.get("headers", ())):
                self.chunked_encoding, self._has_length = False, False
        elif message["type"] == "http.response.body" and not self._has_length:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class HeadFirst(asyncio.Transport):
    """A transport that keeps the head of an answer back until its first piece, and sends both at once.

    uvicorn writes them apart, and on a fast path a second write, with the waking of its reader, is felt. A
    head that nothing follows is sent when the loop comes round.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep for a moment."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data[:5] == b"HTTP/":
            self._head = bytes(data)
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Send what was kept, and close; a client that does not take it is cut off after a while."""
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(_LINGER, self._transport.abort)

    def abort(self) -> None:
        """Close at once."""
        self._head = b""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Leave what the client sends where it is."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let somebody else handle the connection."""
        self._transport.set_protocol(protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # as asyncio has it
        """Tell about the socket below."""
        return self._transport.get_extra_info(name, default)
