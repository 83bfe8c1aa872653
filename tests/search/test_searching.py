"""Several catalogues asked at once, with catalogues that answer, fail and hang as a test says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from modelrunner.errors import RegistryError
from modelrunner.search.found import Found, Source
from modelrunner.search.searching import search


@dataclass
class Shelf:
    """A catalogue of fixed models."""

    title: str
    names: Sequence[str] = ()
    fails: bool = False
    hangs: bool = False
    looks_fail: frozenset[str] = frozenset()
    looks_hang: bool = False
    source: Source = Source.HUGGING_FACE
    looked: list[str] = field(default_factory=list)
    looking: int = 0
    most: int = 0

    async def search(self, term: str, limit: int) -> Sequence[Found]:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise RegistryError("out of order")
        return [Found(name, self.source) for name in self.names if term in name][:limit]

    async def look(self, found: Found) -> Found:
        self.looked.append(found.name)
        self.looking += 1
        self.most = max(self.most, self.looking)
        try:
            await (asyncio.Event().wait() if self.looks_hang else asyncio.sleep(0))
        finally:
            self.looking -= 1
        if found.name in self.looks_fail:
            raise RegistryError("out of order")
        return replace(found, backend="llama.cpp", size=1)


async def test_only_what_is_shown_is_looked_at() -> None:
    """Each by the catalogue that found it."""
    hub, docker = Shelf("HF", ["m1", "m2"]), Shelf("Docker", ["m3", "m4"], source=Source.DOCKER_HUB)

    results = await search([hub, docker], "m", 3)

    assert [("m3", 1), ("m4", 1), ("m1", 1)] == [(row.name, row.size) for row in results.found]
    assert (["m1"], ["m3", "m4"]) == (hub.looked, docker.looked)
    assert () == tuple(results.warnings)


async def test_no_more_than_four_models_are_looked_at_side_by_side() -> None:
    """A long list is no attack on a registry."""
    shelf = Shelf("HF", [f"m{number}" for number in range(20)])

    results = await search([shelf], "", 20)

    assert (20, 4) == (len(results.found), shelf.most)


async def test_a_model_that_cannot_be_looked_at_is_shown_as_it_was_found() -> None:
    shelf = Shelf("HF", ["good", "odd"], looks_fail=frozenset({"odd"}))

    results = await search([shelf], "", 9)

    assert [("good", "llama.cpp"), ("odd", "unknown")] == [(row.name, row.backend) for row in results.found]


async def test_when_the_time_is_over_sizes_stay_unknown() -> None:
    """The names are there all the same."""
    results = await search([Shelf("HF", ["a", "b"], looks_hang=True)], "", 9, patience=0.05)

    assert [("a", None), ("b", None)] == [(row.name, row.size) for row in results.found]


async def test_a_catalogue_that_says_nothing_is_named_and_the_others_stand() -> None:
    results = await search([Shelf("Slow", hangs=True), Shelf("Fast", ["a"])], "", 9, patience=0.05)

    assert ["a"] == [row.name for row in results.found]
    assert ["failed to search Slow: no answer within 0 seconds"] == list(results.warnings)


async def test_when_every_catalogue_fails_so_does_the_search() -> None:
    """The error names each of them with its reason."""
    with pytest.raises(RegistryError) as caught:
        await search([Shelf("One", fails=True), Shelf("Two", fails=True)], "", 9)

    assert "failed to search One: out of order; failed to search Two: out of order" in caught.value.message
    assert caught.value.hint is not None
