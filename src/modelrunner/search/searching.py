"""A search over several catalogues: what one of them cannot say leaves the others' answers as they are."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from modelrunner.errors import RegistryError, RunnerError
from modelrunner.search.found import Found, ordered

PATIENCE = 30.0  # seconds, for everything
_LOOKS = 4  # models that are looked at side by side


class Catalogue(Protocol):
    """A place where models are published."""

    @property
    def title(self) -> str:
        """How messages name it."""
        ...

    async def search(self, term: str, limit: int) -> Sequence[Found]:
        """Find at most `limit` models.

        Raises:
            RunnerError: it cannot say.
        """
        ...

    async def look(self, found: Found) -> Found:
        """Add to a model that it found which engines would run it, and its size.

        Raises:
            RunnerError: it cannot say.
        """
        ...


@dataclass(frozen=True, slots=True)
class Results:
    """What was found, and a sentence for each catalogue that failed."""

    found: Sequence[Found]
    warnings: Sequence[str] = ()


async def search(
    catalogues: Sequence[Catalogue], term: str, limit: int, *, patience: float = PATIENCE
) -> Results:
    """Search all catalogues at once, then look at what is left of it; `patience` is in seconds.

    When the time is over, engines and sizes that have not come stay unknown.

    Raises:
        RegistryError: every catalogue failed.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    answers = await asyncio.gather(*(_ask(catalogue, term, limit, patience) for catalogue in catalogues))
    warnings = [answer for answer in answers if isinstance(answer, str)]
    if len(warnings) == len(catalogues):
        raise RegistryError(
            f"search failed: all search sources failed: [{'; '.join(warnings)}]",
            hint="check the network and the proxy settings, or name one with `--source`",
        )
    owners = {
        found: catalogue
        for catalogue, answer in zip(catalogues, answers, strict=True)
        if not isinstance(answer, str)
        for found in answer
    }
    turns = asyncio.Semaphore(_LOOKS)
    kept = ordered(owners, limit)
    return Results(
        await asyncio.gather(*(_look(owners[found], found, turns, end) for found in kept)), warnings
    )


async def _ask(catalogue: Catalogue, term: str, limit: int, patience: float) -> Sequence[Found] | str:
    try:
        async with asyncio.timeout(patience):
            return await catalogue.search(term, limit)
    except TimeoutError:
        return f"failed to search {catalogue.title}: no answer within {patience:.0f} seconds"
    except RunnerError as exc:
        return f"failed to search {catalogue.title}: {exc.message}"


async def _look(catalogue: Catalogue, found: Found, turns: asyncio.Semaphore, end: float) -> Found:
    try:
        async with asyncio.timeout_at(end), turns:
            return await catalogue.look(found)
    except (TimeoutError, RunnerError):
        return found
