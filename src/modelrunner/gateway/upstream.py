"""Asks a provider: one connection pool, and answers as a status with pieces."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from modelrunner.dialects.anthropic import VERSION
from modelrunner.errors import ProviderUnreachable
from modelrunner.gateway.config import Deployment
from modelrunner.gateway.providers import Dialect

_CONNECT = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer, whose pieces are still to come."""

    status: int
    media: str
    pieces: AsyncIterator[bytes]


class Upstream:
    """All providers."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @contextlib.asynccontextmanager
    async def ask(self, deployment: Deployment, path: str, body: Mapping[str, Any]) -> AsyncIterator[Answer]:
        """Post a request to a deployment's `path`; the answer is good within the block.

        Raises:
            ProviderUnreachable: nobody answered, or the answer leads elsewhere.
        """
        url, headers = _address(deployment, path)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=deployment.timeout)
        try:
            # Redirects are not followed: the key would go along to wherever they lead.
            response = await self._session.post(
                url, data=json.dumps(body).encode(), headers=headers, timeout=timeout, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise _unreachable(deployment, exc) from exc
        try:
            if 300 <= response.status < 400:
                raise ProviderUnreachable(
                    f"{deployment.provider.name}: leads elsewhere, where it is not followed",
                    hint="give the address that it leads to as `api_base`",
                )
            media = response.headers.get("Content-Type", "application/json")
            yield Answer(response.status, media, _pieces(response, deployment))
        finally:
            response.close()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Upstream]:
    """Open the pool for as long as the block lasts."""
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=True, trust_env=True) as session:
        yield Upstream(session)


async def _pieces(response: aiohttp.ClientResponse, deployment: Deployment) -> AsyncIterator[bytes]:
    try:
        async for piece in response.content.iter_any():
            yield piece
    except (TimeoutError, aiohttp.ClientError, OSError) as exc:
        raise _unreachable(deployment, exc) from exc


def _address(deployment: Deployment, path: str) -> tuple[str, dict[str, str]]:
    headers = {"Content-Type": "application/json"}
    match deployment.provider.dialect:
        case Dialect.ANTHROPIC:
            headers |= {"x-api-key": deployment.key, "anthropic-version": VERSION}
            return f"{deployment.base}/messages", headers
        case Dialect.AZURE:
            headers["api-key"] = deployment.key
            version = f"?api-version={deployment.api_version}" if deployment.api_version else ""
            return f"{deployment.base}{path}{version}", headers
        case Dialect.OPENAI:
            if deployment.key:
                headers["Authorization"] = f"Bearer {deployment.key}"
            return f"{deployment.base}{path}", headers


def _unreachable(deployment: Deployment, exc: BaseException) -> ProviderUnreachable:
    return ProviderUnreachable(
        f"{deployment.provider.name}: {_reason(exc)}", hint="see whether its `api_base` is right and answers"
    )


def _reason(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return str(exc) or type(exc).__name__
