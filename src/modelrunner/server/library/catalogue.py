"""Which stored model a request means, and which instance serves it; remembered until the store changes.

The second question for the same model is a dictionary look-up: no parsing, no disk, no store.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator

from modelrunner.engines.registry import Engines
from modelrunner.errors import InvalidRequest, ModelNotFound, RunnerError, StoreError, UnsupportedModel
from modelrunner.models.description.config import ModelConfig, parse_config
from modelrunner.models.description.kinds import Mode
from modelrunner.models.description.names import as_id, parse_name
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.store.snapshot import Snapshot, StoredModel
from modelrunner.store.store import Store

_Question = tuple[str, Mode, str | None]
_MOST_REMEMBERED = 1024
_UNKNOWN = ModelConfig()


class Catalogue:
    """The models of the store as the API sees them."""

    def __init__(self, store: Store, engines: Engines) -> None:
        self._store = store
        self._engines = engines
        self._snapshot: Snapshot | None = None
        self._keys: dict[_Question, Key] = {}
        self._configs: dict[Digest, ModelConfig] = {}
        self._rendered: dict[str, tuple[Snapshot, bytes]] = {}

    @property
    def snapshot(self) -> Snapshot:
        """The models as they are known now; another one after every change."""
        return self._store.snapshot

    @property
    def models(self) -> tuple[StoredModel, ...]:
        """All models, as they are on disk now."""
        self._store.refresh()
        return self._store.snapshot.models

    async def rendered(
        self, what: str, render: Callable[[Iterable[tuple[StoredModel, ModelConfig]]], bytes]
    ) -> bytes:
        """All models as they are on disk now, in one of the forms of the API, made anew only after a change.

        `what` names the form, of which there are few. Thousands of models take a while, so it is a thread's.
        """
        self._store.refresh()
        snapshot = self._store.snapshot
        known = self._rendered.get(what)
        if known is None or known[0] is not snapshot:
            known = snapshot, await asyncio.to_thread(render, _described(snapshot.models))
            self._rendered[what] = known
        return known[1]

    def config(self, model: StoredModel) -> ModelConfig:
        """What a model says of itself.

        Raises:
            UnsupportedModel: its configuration cannot be read.
        """
        config = self._configs.get(model.id)
        if config is None:
            if len(self._configs) >= _MOST_REMEMBERED:
                self._configs.clear()
            config = parse_config(model.config_bytes, model.manifest.config.media_type)
            self._configs[model.id] = config
        return config

    def description(self, model: StoredModel) -> ModelConfig:
        """What a model says of itself, for lists: nothing, when that cannot be read."""
        try:
            return self.config(model)
        except UnsupportedModel:
            return _UNKNOWN

    def look(self, text: str) -> StoredModel | None:
        """Find a model by id, short id, name or bare name; None when there is none."""
        found = self._store.snapshot.find_loosely(text)
        if found is None and self._store.refresh():
            found = self._store.snapshot.find_loosely(text)
        return found

    def find(self, text: str) -> StoredModel:
        """Find a model as `look` does.

        Raises:
            InvalidReference: the text is no name at all.
            ModelNotFound: no such model here.
        """
        found = self.look(text)
        if found is None:
            raise not_found(text)
        return found

    async def require(self, text: str) -> StoredModel:
        """Find a model as `look` does, and tell one that is damaged from one that is not here.

        Raises:
            InvalidReference: the text is no name at all.
            ModelNotFound: no such model here.
            StoreError: files of it are missing or damaged.
        """
        found = self.look(text)
        if found is None:
            raise await self.absence(text)
        return found

    async def absence(self, text: str) -> RunnerError:
        """Say why a model cannot be found: it is damaged, or not here."""
        if self._store.problems:
            with contextlib.suppress(RunnerError):
                await self._store.upkeep.find(text)
                return StoreError(
                    f"model is damaged: `{text[:300]}`",
                    hint=f"`dmr verify --repair {text[:300]}` mends it, `dmr rm {text[:300]}` takes it away",
                )
        return not_found(text)

    def by_id(self, model: Digest) -> StoredModel:
        """Find a model by its whole id.

        Raises:
            ModelNotFound: no such model here.
        """
        found = self._store.snapshot.get(model)
        if found is None:
            raise not_found(str(model))
        return found

    def called(self, model: Digest) -> str:
        """What a model is called: its first name, or its id when it has none or is not here."""
        found = self._store.snapshot.get(model)
        return str(model) if found is None else found.name

    def known_key(self, question: _Question) -> Key | None:
        """Answer again what was answered before, while the store has not changed; never touches a disk."""
        snapshot = self._store.snapshot
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._keys.clear()
        return self._keys.get(question)

    def forget_choices(self) -> None:
        """Ask again which engine serves what: there is another one, or one less."""
        self._keys.clear()

    async def key(self, question: _Question) -> Key:
        """Say which instance serves a model, as typed by somebody, in a mode, on the named engine or any.

        Raises:
            EngineNotFound, EngineNotInstalled, UnsupportedModel: no engine for it.
            InvalidRequest: no model is named, or the text is no name.
            ModelNotFound: no such model here.
            StoreError: files of it are missing or damaged.
        """
        known = self.known_key(question)
        if known is not None:
            return known
        text, mode, named = question
        if not text.strip():
            raise InvalidRequest("model is required", hint='say which one, as in `"model": "ai/smollm2"`')
        model = await self.require(text)
        snapshot = self._store.snapshot
        # A first choice probes the engine, which may run a program.
        engine = await asyncio.to_thread(self._engines.choose, self.config(model), mode, named)
        key = Key(engine.name, model.id, mode)
        if snapshot is self._store.snapshot and self.known_key(question) is None:
            if len(self._keys) >= _MOST_REMEMBERED:
                self._keys.clear()
            self._keys[question] = key
        return key

    async def usual_key(self, text: str, named: str | None) -> Key:
        """Say which instance serves a model in the mode that it is for: talking, embeddings, or else ranking.

        Raises:
            RunnerError: as `key` does.
        """
        try:
            return await self.key((text, Mode.COMPLETION, named))
        except UnsupportedModel:
            for mode in (Mode.EMBEDDING, Mode.RERANKING):
                with contextlib.suppress(UnsupportedModel):
                    return await self.key((text, mode, named))
            raise


def _described(models: Iterable[StoredModel]) -> Iterator[tuple[StoredModel, ModelConfig]]:
    for model in models:
        try:
            yield model, parse_config(model.config_bytes, model.manifest.config.media_type)
        except UnsupportedModel:
            yield model, _UNKNOWN


def not_found(text: str) -> ModelNotFound:
    """Say that a model is not here, and how it would come here.

    Raises:
        InvalidReference: the text is no name at all.
    """
    shown = text[:300]
    if as_id(text) is not None:
        return ModelNotFound(f"model not found: `{shown}`")
    return ModelNotFound(
        f"model not found: `{shown}`", hint=f"pull it first: `dmr pull {parse_name(text).familiar}`"
    )
