"""What a start is made of before there is a process: the model laid out, its options, its kept prompts."""

import asyncio
import logging
from dataclasses import dataclass, replace

from modelrunner.engines.base import Draft, Engine, Options, Parallel
from modelrunner.engines.registry import Engines
from modelrunner.engines.states import SavesStates
from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.models.bundles.bundle import Bundle, load_bundle, unpack
from modelrunner.models.description.kinds import Format
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.runtime.states.prompt_cache import PromptCache, Record
from modelrunner.runtime.states.state_files import StateFiles
from modelrunner.server.configuration.configuration import Configuration
from modelrunner.server.configuration.configurations import Configurations
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.store.snapshot import StoredModel
from modelrunner.store.store import Store
from modelrunner.wire.configuration import Speculative

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a start needs besides a place: `configured` is what the user configured of `options`."""

    engine: Engine
    bundle: Bundle
    options: Options
    configured: Options
    slots: int | None = None


class Preparing:
    """Prepares starts."""

    def __init__(
        self,
        *,
        store: Store,
        catalogue: Catalogue,
        engines: Engines,
        configurations: Configurations,
        states: StateFiles,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._engines = engines
        self._configurations = configurations
        self._states = states
        self._records: dict[str, Record] = {}

    async def prepare(self, key: Key, trial: Configuration | None = None) -> Prepared:
        """Lay a model out, with the draft model that it is configured to have, or would be by a `trial`.

        Raises:
            RunnerError: the model is not here, or cannot be laid out.
        """
        model = self._catalogue.by_id(key.model)
        engine = self._engines.get(key.engine)
        await self._configurations.refresh()
        configuration = trial or self._configurations.effective(key)
        bundle = await asyncio.to_thread(self._bundle, model)
        draft = await self._draft(configuration.speculative, bundle.config.format)
        options = replace(configuration.for_engine(), name=model.name, draft=draft)
        slots = engine.slots(options) if isinstance(engine, Parallel) else None
        return Prepared(engine, bundle, options, configuration.options, slots)

    async def prompt_cache(self, key: Key, prepared: Prepared) -> tuple[Options, PromptCache | None]:
        """Say where what is computed of prompts is kept, if it is; the options then have the folder."""
        return await asyncio.to_thread(self._prompt_cache, key, prepared)

    async def _draft(self, speculative: Speculative | None, form: Format | None) -> Draft | None:
        """Lay a draft model out, if one is configured; `form` is that of the large model.

        Raises:
            RunnerError: it is not here, or is of another form.
        """
        if not speculative or not (name := speculative.get("draft_model")):
            return None
        try:
            model = self._catalogue.find(name)
            bundle = await asyncio.to_thread(self._bundle, model)
        except RunnerError as exc:
            raise type(exc)(f"failed to get draft model: {exc.message}", hint=exc.hint) from exc
        if bundle.config.format is not form or not bundle.weights:
            shown = "GGUF" if form is Format.GGUF else form
            raise InvalidRequest(
                f"failed to get draft model: `{name}` has no {shown} file",
                hint="a draft model is a small one of the same format, with the vocabulary of the large one",
            )
        return Draft(bundle.weights, speculative.get("num_tokens"), speculative.get("min_acceptance_rate"))

    def _prompt_cache(self, key: Key, prepared: Prepared) -> tuple[Options, PromptCache | None]:
        engine, options = prepared.engine, prepared.options
        if self._states.off or not isinstance(engine, SavesStates):
            return options, None
        states = engine.states(prepared.bundle, key.mode, options)
        if states is None:
            return options, None
        try:
            folder = self._states.folder(key.model.hex, states.key)
            saved = folder.saved(states.tokens)
        except OSError as exc:
            _log.warning("states are not kept key=%s error=%s", key, exc)
            return options, None
        record = self._records.setdefault(str(folder.path), Record())
        cache = PromptCache(states, folder, saved, record, requests=prepared.slots or 1)
        return replace(options, states=folder.path), cache

    def _bundle(self, model: StoredModel) -> Bundle:
        target = self._store.bundle_path(model.id)
        config = self._catalogue.config(model)
        return load_bundle(target, model.manifest, config) or unpack(
            model.manifest, config, self._store.blob_path, target
        )
