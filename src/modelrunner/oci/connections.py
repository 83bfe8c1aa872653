"""HTTP connections to registries and to the hosts that they name: one exchange each, no policy.

Two rules are kept here for all callers. A host that a registry names (a realm, a redirect, an upload
location) may not lie inside the user's network unless the registry does. Waiting for the next byte has a
limit, a transfer as a whole has none.
"""

import asyncio
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from modelrunner.errors import RegistryError, RegistryUnreachable
from modelrunner.oci.buffers import Buffers
from modelrunner.oci.certificates import Certificates
from modelrunner.oci.chunks import Piece
from modelrunner.oci.endpoint import Endpoint, check_foreign, internal_refused, is_internal_address, origin
from modelrunner.oci.reply import Reply, interrupted, reason

_BUFFER = 1024 * 1024  # bytes read ahead of a slow consumer
_PIECE = 256 * 1024  # bytes written at once: small enough for a slow line to show that it moves
_LET_GO = 5.0  # seconds for a cancelled task to end
_MAX_HEADER = 32 * 1024  # bytes; signed locations are long


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds."""

    connect: float = 30.0
    answer: float = 60.0  # for an answer to begin: a registry may have to fetch what it is asked for
    stall: float = 20.0  # without a byte, of an answer that has begun or of an upload
    finish: float = 600.0  # for a registry to put a blob away once it has all of its bytes


class Upload:
    """A body that can be sent once: exactly `size` bytes of `chunks`. It keeps its source's failure."""

    def __init__(self, size: int, chunks: AsyncIterator[Piece]) -> None:
        self.size = size
        self.error: Exception | None = None
        self._chunks = chunks
        self._outside = asyncio.Event()  # of the chunks: nobody waits for the next one
        self._outside.set()
        self.is_complete = False  # whether every byte has been handed over

    async def pieces(
        self, within: Callable[[float | None], None], timeouts: Timeouts
    ) -> AsyncIterator[memoryview]:
        """The bytes, in pieces of a bounded size.

        `within` is told how many seconds the next step of the connection may take; None while the source is
        waited for.

        Raises:
            RegistryError: the source has more or fewer bytes.
        """
        sent = 0
        try:
            while chunk := await self._next(within):
                sent += len(chunk)
                self._check(sent <= self.size)
                view = memoryview(chunk)
                for start in range(0, len(view), _PIECE):
                    within(timeouts.stall)
                    yield view[start : start + _PIECE]
            self._check(sent == self.size)
        except Exception as exc:
            self.error = exc  # the HTTP library would hide it behind one of its own
            raise
        self.is_complete = True
        within(timeouts.finish)

    async def let_go(self) -> None:
        """Wait until nobody is inside the chunks, once the exchange is over: they can be closed then.

        The HTTP library reads them in a task of its own, which ends a moment after it was told to.
        """
        async with asyncio.timeout(_LET_GO):
            await self._outside.wait()

    async def _next(self, within: Callable[[float | None], None]) -> Piece:
        """The next chunk that has something in it; empty at the end."""
        within(None)
        self._outside.clear()
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
            return b""
        finally:
            self._outside.set()

    def _check(self, fits: bool) -> None:  # noqa: FBT001 - an assertion with an error of its own
        if not fits:
            raise RegistryError(f"the source of an upload has other than its {self.size} bytes")


class _InternalAddress(OSError):
    """A name that leads inside."""


class _Observer(AbstractResolver):
    """Resolves names, and remembers which of them have only ever led inside."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver
        self._inside: set[str] = set()
        self._outside: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        inside = bool(found) and all(is_internal_address(each["host"]) for each in found)
        (self._inside if inside else self._outside).add(host.lower())
        return found

    def is_internal(self, host: str) -> bool:
        """Whether every connection to a host was one to the inside; a name that changed sides is outside."""
        return host in self._inside and host not in self._outside

    async def close(self) -> None:
        await self._resolver.close()


class _Guard(AbstractResolver):
    """Resolves names that somebody else gave us, and refuses those that lead inside.

    The connection is made to the very addresses that were checked, so a second answer changes nothing.
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if any(is_internal_address(each["host"]) for each in found):
            raise _InternalAddress(host)
        return found

    async def close(self) -> None:
        await self._resolver.close()


class Connections:
    """All connections; an asynchronous context manager that closes them.

    `make_resolver` makes that which turns names into addresses.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        timeouts: Timeouts,
        certificates: Certificates | None = None,
        make_resolver: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver,
    ) -> None:
        self._timeouts = timeouts
        self._certificates = certificates or Certificates()
        self._make_resolver = make_resolver
        self._buffers = Buffers()
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._certificates.check)
        self._observer = _Observer(self._make_resolver())
        self._free = self._session(self._observer)
        self._guarded = self._session(_Guard(self._make_resolver()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._free.close()
        await self._guarded.close()

    def is_internal(self, asker: Endpoint) -> bool:
        """Whether a registry is inside the user's network: because they said so, or by its addresses."""
        return asker.internal or self._observer.is_internal(asker.host)

    async def call(
        self,
        asker: Endpoint,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Upload | None = None,
    ) -> Reply:
        """Send one request on behalf of a registry; redirects are handed back, not followed.

        Raises:
            RegistryUnreachable: no connection, or no answer.
            RegistryError: `url` leads inside, and the registry is outside.
            TransferInterrupted: an upload broke off.
        """
        if not isinstance(body, Upload):
            timeout = self._timeout(self._timeouts.answer)
            try:
                response = await self._request(asker, method, url, headers, body, timeout)
                reply = Reply(response, url, self._buffers)
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                raise _unreachable(url, asker, exc) from exc
            reply.expect_bytes_within(self._timeouts.stall)
            return reply
        return await self._upload(asker, method, url, headers, body)

    async def _upload(
        self, asker: Endpoint, method: str, url: str, headers: Mapping[str, str], body: Upload
    ) -> Reply:
        """Send a body piece by piece, each within its time: the library has no limit for sending."""
        loop = asyncio.get_running_loop()
        answered = False
        try:
            async with asyncio.timeout(self._timeouts.connect + self._timeouts.stall) as limit:

                def within(seconds: float | None) -> None:
                    # An early answer ends the waiting while the rest of the body is still being thrown away.
                    if not answered and not limit.expired():
                        limit.reschedule(None if seconds is None else loop.time() + seconds)

                pieces = body.pieces(within, self._timeouts)
                sized = {**headers, "Content-Length": str(body.size)}
                timeout = self._timeout(self._timeouts.finish)
                response = await self._request(asker, method, url, sized, pieces, timeout)
                answered = True
                return Reply(response, url, self._buffers, lambda: body.is_complete)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            if body.error is not None:
                raise body.error from exc
            raise interrupted(url, exc) from exc

    async def _request(
        self,
        asker: Endpoint,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | AsyncIterator[memoryview] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - of the library, for each step of it
    ) -> aiohttp.ClientResponse:
        proxy = _proxy_for(url)
        internal = self.is_internal(asker)
        check_foreign(url, asker, internal=internal)
        # With a proxy it is the proxy that resolves the name, and its own address may well be an inner one.
        free = internal or proxy is not None or urlsplit(url).hostname == asker.host
        session = self._free if free else self._guarded
        return await session.request(
            method,
            URL(url, encoded=True),  # a signed URL is good only as it is spelled
            headers=headers,
            data=data,
            proxy=proxy,
            ssl=await self._tls(url),
            timeout=timeout,
            allow_redirects=False,
        )

    async def _tls(self, url: str) -> ssl.SSLContext | bool:
        parts = urlsplit(url)
        if parts.scheme != "https":
            return True  # nothing to say
        return await asyncio.to_thread(self._certificates.context, parts.hostname or "", parts.port or 443)

    def _timeout(self, silence: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect, sock_read=silence)

    def _session(self, resolver: AbstractResolver) -> aiohttp.ClientSession:
        # Not `trust_env`: it would also send passwords from a .netrc file to wherever a redirect leads.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            auto_decompress=False,
            read_bufsize=_BUFFER,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
        )


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`.

    None without one, and for the hosts in `NO_PROXY`.

    Raises:
        RegistryError: it is one that we cannot speak to; it is not repeated, as it may have a password in it.
    """
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    if "://" not in proxy:
        return f"http://{proxy}"
    if not proxy.lower().startswith(("http://", "https://")):
        raise RegistryError(
            f"the proxy for `{origin(url)}` is no HTTP proxy",
            hint="set `HTTPS_PROXY` to one, or except the host with `NO_PROXY`",
        )
    return proxy


def _unreachable(url: str, asker: Endpoint, exc: Exception) -> RegistryError:
    if isinstance(getattr(exc, "os_error", None), _InternalAddress):
        return internal_refused(url, asker)
    hint = "check the name, the network and the proxy settings"
    if isinstance(exc, aiohttp.ClientSSLError):
        hint = f"if `{asker.registry}` speaks plain HTTP, name it as an insecure registry"
    return RegistryUnreachable(f"cannot reach `{origin(url)}` ({reason(exc)})", hint=hint)
