"""Keeps the tokens of all registries, fetches each once for all who wait, and renews them in time."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from modelrunner.errors import RegistryError, Unauthorized
from modelrunner.oci.auth import (
    FALL_BACK,
    Access,
    Challenge,
    Token,
    TokenRequest,
    as_token,
    basic,
    choose,
    parse_challenges,
    parse_token,
    token_requests,
)
from modelrunner.oci.credentials import Credential
from modelrunner.oci.endpoint import Endpoint

_MOST_TOKENS = 512

_log = logging.getLogger(__name__)


class Lookup(Protocol):
    """Whoever knows the credentials of registries; may block."""

    def lookup(self, registry: str) -> Credential | None:
        """The credential for a registry; None for anonymous."""
        ...


Exchange = Callable[[TokenRequest, Endpoint], Awaitable[tuple[int, bytes]]]


class Tokens:
    """The `Authorization` header for each access, from what registries asked for before.

    `exchange` sends a token request for a registry, under the rules for realms, and returns status and body.
    """

    def __init__(
        self, credentials: Lookup, exchange: Exchange, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._exchange = exchange
        self._clock = clock
        self._challenges: dict[Endpoint, Challenge] = {}
        self._tokens: dict[Access, Token] = {}
        # A lock lives as long as somebody wants it.
        self._turns: WeakValueDictionary[Access, asyncio.Lock] = WeakValueDictionary()

    async def header(self, access: Access) -> str | None:
        """The header to send without having been asked; None while no way in is known that works."""
        challenge = self._challenges.get(access.endpoint)
        if challenge is None:
            return None
        try:
            return await self._header(access, challenge, refused=None)
        except (Unauthorized, RegistryError) as exc:
            # What the registry asked for once may be out of date; it says anew what it wants, if anything.
            _log.info("way in forgotten registry=%s reason=%s", access.endpoint.registry, exc)
            if self._challenges.get(access.endpoint) is challenge:
                del self._challenges[access.endpoint]
            return None

    async def answer(self, access: Access, authenticate: Sequence[str], refused: str | None) -> str | None:
        """The header to try after a 401 with these challenges; None when there is nothing better to offer.

        `refused` is the header that was sent. A token that was refused is replaced once by a fresh one.

        Raises:
            Unauthorized: the credentials are refused by the token server.
            RegistryError: the token server cannot be used.
        """
        challenge = choose(parse_challenges(authenticate))
        if challenge is None:
            return None
        header = await self._header(access, challenge, refused)
        if header is None or header == refused:
            return None
        # Only a way in that led to something is kept, without the scope, which belongs to this one request.
        kept = {name: value for name, value in challenge.parameters.items() if name in {"realm", "service"}}
        self._challenges[access.endpoint] = Challenge(challenge.scheme, kept)
        return header

    async def _header(self, access: Access, challenge: Challenge, refused: str | None) -> str | None:
        if challenge.scheme == "basic":
            credential = await self._credential(access)
            usable = credential is not None and bool(credential.username)
            return basic(credential) if credential is not None and usable else None
        # Those who wait find the token that the first one fetched.
        async with self._turns.setdefault(access, asyncio.Lock()):
            token = self._tokens.get(access)
            if token is None or self._clock() >= token.good_until or f"Bearer {token.value}" == refused:
                token = await self._fetch(access, challenge)
                if token is None:
                    return None
                self._keep(access, token)
            return f"Bearer {token.value}"

    async def _fetch(self, access: Access, challenge: Challenge) -> Token | None:
        """A token that the registry takes; None when it names no token server, and we have none ourselves."""
        credential = await self._credential(access)
        if credential is not None and credential.is_final:
            return as_token(credential, self._clock())
        if not challenge.parameters.get("realm"):
            # Then a token is all that it can mean: the one that came for it, and no password.
            asked = credential is not None and credential.is_identity_token
            return as_token(credential, self._clock()) if credential is not None and asked else None
        status = 0
        for request in token_requests(challenge, access.scope, credential):
            status, body = await self._exchange(request, access.endpoint)
            if status == 200:
                return parse_token(body, self._clock())
            if status not in FALL_BACK:
                break
        # A token that came with the request may be one for the registry itself, rather than for its token
        # server. It was meant for this registry in either case.
        given = access.credential
        if given is not None and given.is_identity_token and status in FALL_BACK | {403}:
            return as_token(given, self._clock())
        registry = access.endpoint.registry
        detail = {"status": status}
        if status in {400, 401, 403, 404}:
            what = "the credentials are refused" if credential else "no anonymous access"
            raise Unauthorized(
                f"{what}: `{registry}`", hint=f"log in with `docker login {registry}`", detail=detail
            )
        raise RegistryError(
            f"the token server of `{registry}` answers with status {status}", hint="try again", detail=detail
        )

    async def _credential(self, access: Access) -> Credential | None:
        if access.credential is not None:
            return access.credential
        return await asyncio.to_thread(self._credentials.lookup, access.endpoint.registry)

    def _keep(self, access: Access, token: Token) -> None:
        if len(self._tokens) >= _MOST_TOKENS:
            now = self._clock()
            live = {key: old for key, old in self._tokens.items() if old.good_until > now}
            self._tokens = live if len(live) < _MOST_TOKENS else {}
        self._tokens[access] = token
