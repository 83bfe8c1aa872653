"""Models that are elsewhere, found by words."""

from typing import Literal, TypedDict


class FoundModel(TypedDict):
    """A model that is elsewhere: `name` is what pulls it, `size` in bytes; null is what is not known.

    `fits` guesses from the size whether this machine has the memory; `GET /models/{name}?remote=true` knows.
    """

    name: str
    source: Literal["dockerhub", "huggingface"]
    description: str
    downloads: int
    stars: int
    official: bool
    updated: str
    backend: str
    size: int | None
    fits: bool | None


class SearchReply(TypedDict):
    """`GET /search`: Docker Hub's first. `memory` is what models may have here, in bytes."""

    models: list[FoundModel]
    warnings: list[str]
    memory: int
