"""The edge: which hosts and origins may ask, what browsers are told, and the last resort for errors.

It is plain ASGI, and its decisions are remembered by the raw header bytes, because every request passes here.
Source: DNS rebinding against local servers (CVE-2024-28224 and its kin) is why the Host header is checked.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelrunner.errors import Forbidden, InvalidRequest

Headers = tuple[tuple[bytes, bytes], ...]
Fail = Callable[[Exception, Scope, Send], Awaitable[None]]

# Names by which containers reach the daemon of their host.
_CONTAINER_NAMES = ("model-runner.docker.internal", "host.docker.internal")
_LOOPBACK_ORIGINS = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_MOST_REMEMBERED = 1024
# For what is no page: should a browser take it for one all the same, nothing in it runs or is framed.
_NO_PAGE = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
)


class Guard:
    """Admits requests by their Host and Origin."""

    def __init__(self, *, bound: str | None, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        """Allow loopback, the address that is `bound` (None for a Unix socket), and what was configured.

        Behind a wildcard address any IP address is a name of this machine; an address cannot be rebound.
        """
        self._names = {name.lower() for name in (*_CONTAINER_NAMES, *hosts)}
        self._any_host = "*" in self._names
        self._any_address = bound is not None and _is_wildcard(bound)
        if bound is not None:
            self._names.add(bound.lower())
        loopback = (f"{scheme}://{host}:*" for host in _LOOPBACK_ORIGINS for scheme in ("http", "https"))
        self._origins = {origin.lower().rstrip("/") for origin in (*origins, *loopback)}
        self._remembered: dict[tuple[bytes | None, bytes | None], Headers | Forbidden] = {}

    def judge(self, host: bytes | None, origin: bytes | None, http_version: str = "1.1") -> Headers:
        """Decide about the raw headers Host and Origin; return what the answer needs for CORS.

        Raises:
            Forbidden: one of them is not allowed.
            InvalidRequest: HTTP/1.1 without a Host.
        """
        if host is None and http_version != "1.0":
            raise InvalidRequest("the request has no Host header")
        verdict = self._remembered.get((host, origin))
        if verdict is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            verdict = self._remembered[host, origin] = self._decide(host, origin)
        if isinstance(verdict, Forbidden):
            raise Forbidden(verdict.message, hint=verdict.hint)
        return verdict

    def _decide(self, host: bytes | None, origin: bytes | None) -> Headers | Forbidden:
        if host is not None and not self._is_host(_host_name(_text(host))):
            return Forbidden(
                f"Host not allowed: `{_text(host)[:200]}`",
                hint="add the name to DMR_ALLOWED_HOSTS to reach the daemon by it",
            )
        if origin is None:
            return ()
        if not self._is_origin(_text(origin).lower(), _text(host or b"").lower()):
            return Forbidden("Origin not allowed", hint="add the origin to DMR_ORIGINS to let its pages ask")
        return ((b"access-control-allow-origin", origin), (b"vary", b"Origin"))

    def _is_host(self, name: str) -> bool:
        if self._any_host or name in self._names or name == "localhost" or name.endswith(".localhost"):
            return True
        address = _address(name)
        return address is not None and (self._any_address or address.is_loopback)

    def _is_origin(self, origin: str, host: str) -> bool:
        scheme, separator, place = origin.partition("://")
        if "*" in self._origins or origin in self._origins:
            return True
        if separator and scheme in {"http", "https"} and place == host:
            return True  # the daemon's own pages; the Host was checked before
        return f"{scheme}://{_without_port(place)}:*" in self._origins


class Edge:
    """Wraps the routes that are no data path: admits, answers preflights, adds CORS, catches what is left."""

    def __init__(self, app: ASGIApp, guard: Guard, fail: Fail) -> None:
        self._app = app
        self._guard = guard
        self._fail = fail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        begun = False
        extra: Headers = ()

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = list(message.get("headers", ()))
                said = {name.lower() for name, _ in headers}
                message["headers"] = [*headers, *(each for each in _NO_PAGE if each[0] not in said), *extra]
            await send(message)

        try:
            headers = dict(scope["headers"])
            extra = self._guard.judge(headers.get(b"host"), headers.get(b"origin"), scope["http_version"])
            if extra and scope["method"] == "OPTIONS":
                await preflight(scope, send, extra)
            else:
                await self._app(scope, receive, with_headers)
        except Exception as exc:
            if begun:
                raise  # the server ends the connection, which is all that can be said now
            await self._fail(exc, scope, with_headers)


async def preflight(scope: Scope, send: Send, allowed: Headers) -> None:
    """Answer a browser that asks beforehand: every method, and the headers that it wants to send."""
    asked = next((v for n, v in scope["headers"] if n == b"access-control-request-headers"), b"*")
    headers = [
        *allowed,
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", asked),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


def _without_port(place: str) -> str:
    head, colon, port = place.rpartition(":")
    return head if colon and port.isdigit() else place


def _host_name(host: str) -> str:
    return _without_port(host.strip().lower()).rstrip(".").strip("[]")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_wildcard(bound: str) -> bool:
    address = _address(bound.strip("[]"))
    return address is not None and address.is_unspecified
