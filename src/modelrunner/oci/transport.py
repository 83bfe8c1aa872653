"""Requests to registries: authorised, redirected, retried. Knows no paths of the protocol.

One rule is kept here for all callers: credentials go to the origin that they are for, and to no other,
whatever a redirect or an upload location says.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from modelrunner.errors import RegistryError, RegistryUnreachable, TransferInterrupted
from modelrunner.oci.auth import MAX_TOKEN_BYTES, Access, TokenRequest, basic
from modelrunner.oci.certificates import Certificates
from modelrunner.oci.connections import Connections, Timeouts, Upload
from modelrunner.oci.endpoint import MAX_REDIRECTS, Endpoint, check_realm, origin, resolve, same_origin
from modelrunner.oci.reply import Reply
from modelrunner.oci.retry import RetryPolicy, parse_retry_after
from modelrunner.oci.tokens import Lookup, Tokens

_log = logging.getLogger(__name__)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})  # of which a request that changes something may be repeated elsewhere


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask. `access` says whose credentials go along, if `url` is of that registry's origin."""

    method: str
    url: str
    access: Access
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Upload | None = None
    once: bool = False  # whether trouble is told at once, because there is another place to ask
    authorization: str | None = None  # for that origin, instead of what it asks for; empty for none at all


class Transport:
    """Sends requests; an asynchronous context manager that owns the connections."""

    def __init__(
        self,
        credentials: Lookup,
        *,
        user_agent: str,
        retry: RetryPolicy,
        timeouts: Timeouts,
        certificates: Certificates | None = None,
    ) -> None:
        self.retry = retry
        self._connections = Connections(user_agent=user_agent, timeouts=timeouts, certificates=certificates)
        self._pauses: dict[str, float] = {}  # origin -> the moment before which it wants no requests
        self._tokens = Tokens(credentials, self._exchange_token)

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connections.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Reply]:
        """Send a request, again if the policy says so, and hold the answer, whatever its status.

        An `Upload` is sent once only: whoever has its bytes decides whether to send them again.

        Raises:
            RegistryUnreachable: no connection, or no answer.
            TransferInterrupted: an upload broke off.
            Unauthorized: the token server refuses the credentials.
            RegistryError: a redirect or a realm leads where it must not.
        """
        try:
            reply = await self._persist(request)
            try:
                yield reply
            finally:
                reply.close()
        finally:
            if isinstance(request.body, Upload):
                await request.body.let_go()

    async def wait_to_continue(self, failures: int, cause: TransferInterrupted) -> None:
        """Wait before going on with a body that broke off for the given time in a row.

        Raises:
            RegistryError: it has happened too often.
        """
        await _wait(self.retry.after_break(failures, _draw()), failures, cause)

    async def wait_to_repeat(self, failures: int, cause: TransferInterrupted) -> None:
        """Wait before fetching a document once more that broke off for the given time in a row.

        Raises:
            RegistryError: it has happened too often.
        """
        await _wait(self.retry.after_cut(failures, _draw()), failures, cause)

    async def _persist(self, request: Request) -> Reply:
        once = request.once or isinstance(request.body, Upload)
        failures = 0
        while True:
            failures += 1
            if not request.once:
                await self._pause(origin(request.url))
            try:
                reply = await self._authorise(request)
            except RegistryUnreachable:
                delay = self.retry.after_refusal(failures, _draw())
                if once or delay is None:
                    raise
            else:
                delay = self._delay(reply, failures)
                if once or delay is None:
                    return reply
                reply.close()
            _log.info("request repeated origin=%s wait=%.1f", origin(request.url), delay)
            await asyncio.sleep(delay)

    def _delay(self, reply: Reply, failures: int) -> float | None:
        wish = parse_retry_after(reply.headers.get("Retry-After"), datetime.now(UTC))
        if wish is not None and reply.status in self.retry.transient and wish <= self.retry.patience:
            now = asyncio.get_running_loop().time()
            self._pauses = {where: until for where, until in self._pauses.items() if until > now}
            self._pauses[origin(reply.url)] = now + wish
        return self.retry.after_status(reply.status, failures, _draw(), wish)

    async def _pause(self, where: str) -> None:
        """Wait as long as a host asked to be left alone, by whichever request it was asked."""
        loop = asyncio.get_running_loop()
        left = self._pauses.get(where, 0.0) - loop.time()
        if left > 0:
            await asyncio.sleep(left)

    async def _authorise(self, request: Request) -> Reply:
        """Send with the credentials that are known, and once more if the registry wants others."""
        if request.authorization is not None:
            return await self._follow(request, request.authorization or None)
        home = request.access.endpoint.base
        sent = await self._tokens.header(request.access) if same_origin(request.url, home) else None
        reply = await self._follow(request, sent)
        if reply.status != 401 or not same_origin(reply.url, home):
            return reply
        try:
            challenges = reply.header_values("WWW-Authenticate")
            better = await self._tokens.answer(request.access, challenges, refused=sent)
        except BaseException:
            reply.close()
            raise
        if better is None:
            return reply
        reply.close()
        if isinstance(request.body, Upload):
            raise TransferInterrupted(
                f"`{origin(request.url)}` wants fresh credentials for an upload", hint="try again"
            )
        return await self._follow(request, better)

    async def _follow(self, request: Request, authorization: str | None) -> Reply:
        """Send, and go where redirects lead."""
        url = request.url
        for _ in range(MAX_REDIRECTS + 1):
            headers = dict(request.headers)
            if authorization is not None and same_origin(url, request.access.endpoint.base):
                headers["Authorization"] = authorization
            reply = await self._connections.call(
                request.access.endpoint, request.method, url, headers, request.body
            )
            if not _may_follow(reply.status, request):
                return reply
            reply.close()
            url = resolve(url, reply.headers.get("Location"))
        raise RegistryError(f"`{origin(request.url)}` stopped after {MAX_REDIRECTS} redirects")

    async def _exchange_token(self, request: TokenRequest, asker: Endpoint) -> tuple[int, bytes]:
        """Ask a token server; its redirects are not followed, so no secret goes further than the realm."""
        asker = replace(asker, internal=asker.internal or asker.private_realms)
        check_realm(request.url, asker, internal=self._connections.is_internal(asker))
        headers = {"Authorization": basic(request.basic)} if request.basic else {}
        method, body = "GET", None
        if request.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            method, body = "POST", urlencode(request.form).encode()
        failures = 0
        while True:
            failures += 1
            reply = await self._connections.call(asker, method, request.url, headers, body)
            try:
                delay = self._delay(reply, failures)
                if delay is None:
                    return reply.status, await reply.read(MAX_TOKEN_BYTES)
            finally:
                reply.close()
            await asyncio.sleep(delay)


async def _wait(delay: float | None, failures: int, cause: TransferInterrupted) -> None:
    if delay is None:
        raise RegistryError(
            f"{cause.message}, {failures} times in a row", hint="try again later; what has arrived is kept"
        ) from cause
    await asyncio.sleep(delay)


def _may_follow(status: int, request: Request) -> bool:
    if isinstance(request.body, Upload):
        return False
    return status in (_REDIRECTS if request.method in {"GET", "HEAD"} else _SAME_METHOD)


def _draw() -> float:
    return random.random()  # noqa: S311 - spreads retries in time, guards nothing
