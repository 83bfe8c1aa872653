"""One JSON document of a website's API, fetched without credentials of registries."""

from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from modelrunner.errors import RegistryError
from modelrunner.oci.auth import Access
from modelrunner.oci.endpoint import Endpoint, is_internal_host
from modelrunner.oci.manifest import UNREADABLE
from modelrunner.oci.replies import MAX_ERROR_BYTES
from modelrunner.oci.transport import Request, Transport

_MAX_BYTES = 16 << 20
_Document = TypeVar("_Document")


@dataclass(frozen=True, slots=True)
class Pages:
    """An API at one address. `title` names it in messages; the token, if any, goes to it alone."""

    transport: Transport
    address: str
    title: str
    token: str | None = field(default=None, repr=False)

    async def get(self, url: str, shape: type[_Document]) -> _Document:
        """Fetch a document of a shape.

        Raises:
            RegistryError: it cannot be reached, refuses, or answers something else.
        """
        base = self.address.rstrip("/")
        host = urlsplit(base).hostname or ""
        access = Access(Endpoint(urlsplit(base).netloc, base, is_internal_host(host)), "")
        authorization = f"Bearer {self.token}" if self.token else ""
        async with self.transport.send(Request("GET", url, access, authorization=authorization)) as reply:
            if reply.status == 429:
                raise RegistryError(f"rate limited by {self.title}", hint="try again in a minute")
            if reply.status != 200:
                await reply.read(MAX_ERROR_BYTES)
                raise RegistryError(f"{self.title} answers with status {reply.status}")
            body = await reply.read(_MAX_BYTES)
        try:
            return msgspec.json.decode(body, type=shape)
        except UNREADABLE as exc:
            raise RegistryError(f"the answer of {self.title} cannot be read") from exc
