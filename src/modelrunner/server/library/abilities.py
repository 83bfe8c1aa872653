"""What a model can do, read from its own files: its template, the header of its weights, its parts."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modelrunner.engines.registry import Engines
from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Mode
from modelrunner.models.remote.peek import gguf_header, peek, weight_format
from modelrunner.models.weights.gguf import GGUFHeader, Value
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.store.disk import open_file
from modelrunner.store.snapshot import StoredModel
from modelrunner.store.store import Store

_MOST_REMEMBERED = 64
_UNKNOWN_TO_OLLAMA = frozenset({Mode.IMAGE, Mode.TRANSCRIPTION, Mode.SPEECH})
_PROJECTORS = frozenset({kinds.PROJECTOR_LAYER, kinds.PROJECTOR_LAYER_PUBLIC})
_THINKING = ("enable_thinking", "<think>", "reasoning_content", "<|channel|>", "thinking")
# By which tokens llama.cpp finds out that a model fills gaps. Source: llama.cpp, src/llama-vocab.cpp.
_FILLERS = (
    b"<|fim_prefix|>",
    b"<fim-prefix>",
    b"<fim_prefix>",
    b"<PRE>",
    "<｜fim▁begin｜>".encode(),
    b"[PREFIX]",
)
_FILLER_KEYS = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")


class Ability(StrEnum):
    """What a model can do, in Ollama's words."""

    COMPLETION = "completion"
    EMBEDDING = "embedding"
    TOOLS = "tools"
    INSERT = "insert"
    VISION = "vision"
    THINKING = "thinking"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model. `certain` if what is not listed is not there.

    `metadata` is the header's of the weights, `projector` that of the part that sees.
    """

    abilities: tuple[Ability, ...]
    certain: bool
    template: str | None = None
    metadata: Mapping[str, Value] | None = None
    projector: Mapping[str, Value] | None = None
    headers: tuple[GGUFHeader, ...] = ()

    def demand(self, ability: Ability, model: str) -> None:
        """Refuse what the model is known not to do.

        Raises:
            InvalidRequest: it does not.
        """
        if self.certain and ability not in self.abilities:
            raise InvalidRequest(f"`{model}` does not support {ability}", hint=_HINTS.get(ability))


_HINTS = {
    Ability.TOOLS: "its chat template knows none; choose another model, or package it with one that does",
    Ability.VISION: "it has no projector for images; choose a model that sees",
    Ability.THINKING: "leave `think` out",
}


class Abilities:
    """Looks models up; what was found is remembered."""

    def __init__(self, store: Store, catalogue: Catalogue, engines: Engines) -> None:
        self._store = store
        self._catalogue = catalogue
        self._engines = engines
        self._known: OrderedDict[Digest, Facts] = OrderedDict()

    async def of(self, model: StoredModel) -> Facts:
        """Say what a model can do; reads its headers the first time."""
        known = self._known.get(model.id)
        if known is None:
            known = await self._find(model)
            self._known[model.id] = known
            if len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        return known

    async def _find(self, model: StoredModel) -> Facts:
        config = self._catalogue.description(model)
        sees = [layer for layer in model.manifest.layers if _is_projector(layer)]
        try:
            found = await peek(self._store, model.manifest, config)
        except RunnerError:  # headers that make no sense; the engine may still run it
            return Facts(self._modes(config), certain=False)
        fills = bool(found.headers) and await asyncio.to_thread(self._fills, model, config, found.headers[0])
        template = found.template or ""
        talks = Ability.COMPLETION in self._modes(config)
        abilities = (
            *self._modes(config),
            *([Ability.TOOLS] if talks and "tools" in template else []),
            *([Ability.INSERT] if talks and fills else []),
            *([Ability.VISION] if talks and sees else []),
            *([Ability.THINKING] if talks and any(word in template for word in _THINKING) else []),
        )
        metadata = {key: value for header in found.headers for key, value in header.metadata.items()}
        return Facts(
            abilities,
            certain=bool(found.headers or found.template),
            template=found.template,
            metadata=metadata or None,
            projector=await self._projector(sees),
            headers=found.headers,
        )

    def _modes(self, config: ModelConfig) -> tuple[Ability, ...]:
        natural = self._engines.natural_mode(config)
        if natural is Mode.COMPLETION:
            return (Ability.COMPLETION,)
        return () if natural in _UNKNOWN_TO_OLLAMA else (Ability.EMBEDDING,)

    def _fills(self, model: StoredModel, config: ModelConfig, header: GGUFHeader) -> bool:
        """Whether the vocabulary has the tokens; it is not kept, so the bytes of the header are searched."""
        if any(key in header.metadata for key in _FILLER_KEYS):
            return True
        first = next(layer for layer in model.manifest.layers if weight_format(layer, config))
        try:
            with open_file(Path(self._store.blob_path(first.digest))) as file:
                head = file.read(header.header_bytes)
        except OSError:
            return False
        return any(token in head for token in _FILLERS)

    async def _projector(self, layers: list[Descriptor]) -> Mapping[str, Value] | None:
        try:
            return (await gguf_header(self._store, layers[0], "projector")).metadata if layers else None
        except RunnerError:
            return None


def _is_projector(layer: Descriptor) -> bool:
    path = layer.annotations.get(kinds.FILEPATH, "")
    return layer.media_type in _PROJECTORS or "mmproj" in path.lower()
