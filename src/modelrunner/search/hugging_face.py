"""Hugging Face's models, of the kinds that an engine here could run, most downloaded first.

Source: the hub's API, `GET /api/models`, as huggingface_hub v0.27 speaks it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import msgspec

from modelrunner.errors import RunnerError
from modelrunner.models.description.names import HubName
from modelrunner.models.remote.hub import Hub
from modelrunner.models.remote.hub_repository import HubRepository
from modelrunner.models.remote.hub_selection import HubFile, choose
from modelrunner.search.found import Found, Source, backend_of
from modelrunner.search.pages import Pages

_MOST = 1000  # that the hub gives at once
_FAMILIES = ("llama", "mistral", "phi", "qwen")
_USES = ("instruct", "chat")
_REVISION = "main"


class _Model(msgspec.Struct, rename="camel"):
    id: str = ""
    model_id: str = ""
    likes: int = 0
    downloads: int = 0
    tags: list[str] = []
    pipeline_tag: str | None = msgspec.field(default=None, name="pipeline_tag")
    created_at: str | None = None
    last_modified: str | None = None
    private: bool = False


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """A catalogue; the hub's own listing tells what a model is made of."""

    pages: Pages
    hub: Hub
    title: str = Source.HUGGING_FACE

    async def search(self, term: str, limit: int) -> Sequence[Found]:
        """Find at most `limit` models; the hub itself compares the term."""
        query = {
            "apps": "vllm,llama.cpp",
            "direction": "-1",
            "limit": str(min(limit, _MOST)),
            **({"search": term} if term else {}),
            "sort": "downloads",
        }
        url = f"{self.pages.address.rstrip('/')}/api/models?{urlencode(query)}"
        rows = await self.pages.get(url, list[_Model])
        return [_found(row) for row in rows if not row.private and (row.model_id or row.id)][:limit]

    async def look(self, found: Found) -> Found:
        """Add the engines that could run its files, and what the usual choice of them weighs."""
        name, hub = HubName(found.name), self.hub
        files = await HubRepository(hub.transport, hub.address, name, self.pages.token).files(_REVISION)
        return replace(found, backend=backend_of(file.kind for file in files), size=_size(files, found.name))


def _size(files: Sequence[HubFile], repository: str) -> int | None:
    """What a pull without a tag would bring, in bytes; a repository has many quantizations of one model."""
    try:
        choice = choose(files, "", repository)
    except RunnerError:
        return None
    extra = [file for file in (choice.projector, choice.template) if file is not None]
    return sum(file.size for file in (*choice.weights, *choice.others, *extra))


def _found(row: _Model) -> Found:
    words = [row.pipeline_tag] if row.pipeline_tag else []
    return Found(
        name=row.model_id or row.id,
        source=Source.HUGGING_FACE,
        description=", ".join([*words, *list(_families(row.tags))[:2]]) or "AI model",
        downloads=row.downloads,
        stars=row.likes,
        updated=row.last_modified or row.created_at or "",
    )


def _families(tags: Sequence[str]) -> Iterator[str]:
    """The tags that say something about a model to a person."""
    for tag in tags:
        if tag.lower().startswith(_FAMILIES) or any(use in tag.lower() for use in _USES):
            yield tag
