"""An answer of a registry, or of a host that it named: its head, and its body as it arrives."""

import os
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import aiohttp

from modelrunner.errors import TransferInterrupted
from modelrunner.oci.buffers import BUFFER, Buffers
from modelrunner.oci.chunks import Piece
from modelrunner.oci.endpoint import origin
from modelrunner.oci.receiver import Receiver


class Reply:
    """An answer whose body has not been read yet."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        url: str,
        buffers: Buffers,
        is_sent: Callable[[], bool] = lambda: True,
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.url = url
        self._response = response
        self._buffers = buffers
        self._is_sent = is_sent
        self._broken = False
        self._patience: float | None = None  # seconds

    def header_values(self, name: str) -> list[str]:
        """Every value of a header that may be repeated."""
        return self._response.headers.getall(name, [])

    async def read(self, limit: int) -> bytes:
        """Read the body, up to `limit` bytes and one more, which shows that it is too long.

        Raises:
            TransferInterrupted: the connection broke or stalled.
        """
        body = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    break
        return bytes(body[: limit + 1])

    async def chunks(self) -> AsyncGenerator[Piece, None]:
        """The body as it arrives.

        Raises:
            TransferInterrupted: the connection broke or stalled.
        """
        content = self._response.content
        try:
            here = await self._what_is_here()
            receiver = self._take_over(sum(map(len, here)))
            for chunk in here:
                yield chunk
            if receiver is not None:
                while piece := await receiver.read(self._patience):
                    yield piece
                return
            # Not `iter_any`, which copies all that has arrived into one piece; nor `iter_chunks`, which never
            # ends where an answer has no body.
            while not content.at_eof():
                chunk, _ = await content.readchunk()
                if chunk:
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            self._broken = True
            raise interrupted(self.url, exc) from exc

    async def _what_is_here(self) -> list[bytes]:
        """Those bytes of a long body that the library has: all of them, as this waits for nothing."""
        content, here, count = self._response.content, [], 0
        while self._is_long and content.exception() is None and count < content.total_bytes:
            chunk, _ = await content.readchunk()
            here.append(chunk)
            count += len(chunk)
        return here

    def _take_over(self, received: int) -> Receiver | None:
        """Receive the rest of a long body ourselves, if there is enough of it; see `receiver.py`."""
        connection, content = self._response.connection, self._response.content
        left = (self._response.content_length or 0) - received
        if not self._is_long or left < BUFFER or connection is None or content.exception() is not None:
            return None
        transport, protocol = connection.transport, connection.protocol
        if transport is None or transport.is_closing() or protocol is None:
            return None
        protocol.read_timeout = None
        protocol.start_timeout()
        return Receiver(transport, protocol, left, content.feed_eof, self._buffers)

    @property
    def _is_long(self) -> bool:
        """Whether it has a length, and is worth buffers of its own."""
        chunked = "Transfer-Encoding" in self.headers
        return not chunked and (self._response.content_length or 0) >= BUFFER

    def expect_bytes_within(self, seconds: float) -> None:
        """From now on, count so many seconds without a byte as a broken connection."""
        self._patience = seconds
        connection = self._response.connection  # None once all has arrived
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = seconds
            connection.protocol.start_timeout()

    def close(self) -> None:
        """Give the connection back, or close it when there is more to come on it, or should have."""
        if self._broken or not self._is_sent():
            self._response.close()
        else:
            self._response.release()


def interrupted(url: str, exc: Exception) -> TransferInterrupted:
    """The error for a connection that broke."""
    return TransferInterrupted(
        f"the connection to `{origin(url)}` broke off ({reason(exc)})", hint="try again"
    )


def reason(exc: Exception) -> str:
    """Say in a few words what happened; never with the URL, which may be a signed one."""
    if isinstance(exc, TimeoutError):
        return "nothing came in time"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | ssl.CertificateError):
        return "its certificate is not valid"
    if isinstance(exc, aiohttp.ClientSSLError):
        return "no secure connection is possible"
    if isinstance(exc, aiohttp.InvalidURL):
        return "that is no host"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "no such host"
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"the proxy answers with status {exc.status}"
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return "the proxy cannot be reached"
    number = exc.errno if isinstance(exc, OSError) else None
    return os.strerror(number).lower() if number else "the connection was closed"
