"""Docker Hub's models: the repositories of its `ai` organisation, most pulled first.

Source: the paths and fields of Docker Hub's web API v2, "List repositories".
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import msgspec

from modelrunner.errors import RegistryError
from modelrunner.models.description.names import parse_name
from modelrunner.oci.endpoint import same_origin
from modelrunner.oci.registry import Registry
from modelrunner.search.found import Found, Source, backend_of, layer_kinds
from modelrunner.search.pages import Pages

_ORGANISATION = "ai"
_MOST_ON_PAGE = 100
_MOST_PAGES = 50


class _Repository(msgspec.Struct):
    name: str
    namespace: str = _ORGANISATION
    description: str | None = None
    is_private: bool = False
    star_count: int = 0
    pull_count: int = 0
    last_updated: str | None = None


class _Page(msgspec.Struct):
    results: list[_Repository]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class DockerHub:
    """A catalogue; its registry tells what a model is made of."""

    pages: Pages
    registry: Registry
    title: str = Source.DOCKER_HUB

    async def search(self, term: str, limit: int) -> Sequence[Found]:
        """Find at most `limit` models with a term in name or description; all without a term."""
        found: list[Found] = []
        async for row in self._rows(limit):
            if not row.is_private and _fits(row, term):
                found.append(_found(row))
                if len(found) == limit:
                    break
        return found

    async def look(self, found: Found) -> Found:
        """Add engine and size, as the manifest of its usual tag tells them."""
        manifest = await self.registry.manifest(parse_name(found.name))
        return replace(found, backend=backend_of(layer_kinds(manifest)), size=manifest.size)

    async def _rows(self, limit: int) -> AsyncIterator[_Repository]:
        query = {"ordering": "pull_count", "page_size": min(limit, _MOST_ON_PAGE)}
        base = self.pages.address.rstrip("/")
        url: str | None = f"{base}/v2/repositories/{_ORGANISATION}/?{urlencode(query)}"
        for _ in range(_MOST_PAGES):
            if url is None:
                return
            if not same_origin(url, base):
                raise RegistryError(f"the list of {self.title} goes on at another host")
            page = await self.pages.get(url, _Page)
            for row in page.results:
                yield row
            url = page.next


def _fits(row: _Repository, term: str) -> bool:
    wanted = term.lower()
    return wanted in row.name.lower() or wanted in (row.description or "").lower()


def _found(row: _Repository) -> Found:
    return Found(
        name=f"{row.namespace}/{row.name}",
        source=Source.DOCKER_HUB,
        description=row.description or "",
        downloads=row.pull_count,
        stars=row.star_count,
        official=row.namespace == _ORGANISATION,
        updated=row.last_updated or "",
    )
