"""Models that are elsewhere, found by words, with whether this machine has the memory for them."""

from collections.abc import Mapping

from modelrunner.errors import InvalidRequest, RegistryError
from modelrunner.search.found import Found, Source
from modelrunner.search.searching import Catalogue, search
from modelrunner.wire.search import FoundModel, SearchReply

_PATIENCE = 12.0  # seconds; a person waits
# What a model needs beside its weights only its header tells; this is the usual share, and the program.
_BESIDE_WEIGHTS = 0.15
_PROGRAM = 400 << 20  # bytes
_EVERY = "search failed: all search sources failed: "
_OFFLINE = "check the network and the proxy settings of the machine that the daemon runs on"


class RemoteSearch:
    """Searches for the routes."""

    def __init__(self, catalogues: Mapping[str, Catalogue], memory: int) -> None:
        """`catalogues` by the name that a request gives; `memory` is what models may have, in bytes."""
        self._catalogues = catalogues
        self._memory = memory

    async def find(self, term: str, source: str | None, limit: int) -> SearchReply:
        """Find models by words, in one catalogue or in all.

        Raises:
            InvalidRequest: no catalogue has that name.
            RegistryError: none can be asked.
        """
        if source is not None and source not in self._catalogues:
            names = ", ".join(f"`{name}`" for name in self._catalogues)
            raise InvalidRequest(f"unknown source: `{source[:100]}`", hint=f"one of {names}")
        chosen = [each for name, each in self._catalogues.items() if source in {None, name}]
        try:
            results = await search(chosen, term.strip(), limit, patience=_PATIENCE)
        except RegistryError as exc:
            raise RegistryError(exc.message.removeprefix(_EVERY).strip("[]"), hint=_OFFLINE) from exc
        return {
            "models": [self._view(found) for found in results.found],
            "warnings": list(results.warnings),
            "memory": self._memory,
        }

    def _view(self, found: Found) -> FoundModel:
        needed = None if found.size is None else round(found.size * (1 + _BESIDE_WEIGHTS)) + _PROGRAM
        return {
            "name": found.reference,
            "source": "huggingface" if found.source is Source.HUGGING_FACE else "dockerhub",
            "description": found.description,
            "downloads": found.downloads,
            "stars": found.stars,
            "official": found.official,
            "updated": found.updated,
            "backend": found.backend,
            "size": found.size,
            "fits": None if needed is None else needed <= self._memory,
        }
