"""How an instance comes to be: the model laid out, the command line asked for, the process started."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from modelrunner.engines.base import Address, Draft, Engine, Options, Parallel
from modelrunner.engines.registry import Engines
from modelrunner.engines.states import SavesStates
from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.models.bundle import Bundle, load_bundle, unpack
from modelrunner.models.kinds import Format
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.keeping import Keeping, Record
from modelrunner.runtime.plan import Key
from modelrunner.runtime.run_directory import RunDirectory
from modelrunner.runtime.state_files import StateFiles
from modelrunner.server.catalogue import Catalogue
from modelrunner.server.configurations import Configurations
from modelrunner.store.snapshot import StoredModel
from modelrunner.store.store import Store
from modelrunner.wire import Speculative

_log = logging.getLogger(__name__)


class Loader:
    """Starts instances for the pool."""

    def __init__(
        self,
        *,
        store: Store,
        catalogue: Catalogue,
        engines: Engines,
        configurations: Configurations,
        run: RunDirectory,
        states: StateFiles,
        environ: Mapping[str, str],
        log: Callable[[str], None],
    ) -> None:
        """`log` takes each line that an engine prints; `environ` is what engines inherit."""
        self._store = store
        self._catalogue = catalogue
        self._engines = engines
        self._configurations = configurations
        self._run = run
        self._states = states
        self._records: dict[str, Record] = {}
        self._environ = environ
        self._log = log
        # What each ready instance was started with, which is not what a later configuration says.
        self.running: dict[Key, Options] = {}

    async def start(self, key: Key) -> Instance:
        """Start what serves a key, and return when it is ready.

        Raises:
            RunnerError: the model cannot be laid out, or its engine did not come up.
        """
        model = self._catalogue.by_id(key.model)
        engine = self._engines.get(key.engine)
        await self._configurations.refresh()
        configuration = self._configurations.effective(key)
        draft = await self._draft(configuration.speculative)
        options = replace(configuration.options, name=model.name, draft=draft)
        prepared = await asyncio.to_thread(self._prepare, engine, model, key, options)
        address = Address(socket=self._run.socket())
        launch = await asyncio.to_thread(engine.launch, prepared.bundle, key.mode, prepared.options, address)
        instance = await Instance.start(
            launch,
            address,
            name=engine.display,
            log=partial(self._line, key),
            diagnose=engine.diagnose,
            environ=self._environ,
        )
        instance.slots = _slots(engine, options)
        if prepared.keeping is not None:
            instance.accompany(prepared.keeping)
        configured = configuration.options
        self.running[key] = configured
        instance.exited.add_done_callback(lambda _: self._ended(key, configured))
        return instance

    def _ended(self, key: Key, options: Options) -> None:
        if self.running.get(key) is options:
            del self.running[key]

    async def _draft(self, speculative: Speculative | None) -> Draft | None:
        """Lay a draft model out, if one is configured.

        Raises:
            RunnerError: it is not here, or is no GGUF model.
        """
        if not speculative or not (name := speculative.get("draft_model")):
            return None
        try:
            model = self._catalogue.find(name)
            bundle = await asyncio.to_thread(self._bundle, model)
        except RunnerError as exc:
            raise type(exc)(f"failed to get draft model: {exc.message}", hint=exc.hint) from exc
        if bundle.config.format is not Format.GGUF or not bundle.weights:
            raise InvalidRequest(
                f"failed to get draft model: `{name}` has no GGUF file",
                hint="a draft model is a small GGUF model with the vocabulary of the large one",
            )
        return Draft(bundle.weights, speculative.get("num_tokens"), speculative.get("min_acceptance_rate"))

    def _prepare(self, engine: Engine, model: StoredModel, key: Key, options: Options) -> "_Prepared":
        bundle = self._bundle(model)
        if self._states.off or not isinstance(engine, SavesStates):
            return _Prepared(bundle, options)
        states = engine.states(bundle, key.mode, options)
        if states is None:
            return _Prepared(bundle, options)
        try:
            folder = self._states.folder(key.model.hex, states.key)
            saved = folder.saved(states.tokens)
        except OSError as exc:
            _log.warning("states are not kept key=%s error=%s", key, exc)
            return _Prepared(bundle, options)
        requests = _slots(engine, options) or 1
        record = self._records.setdefault(str(folder.path), Record())
        keeping = Keeping(states, folder, saved, record, requests=requests)
        return _Prepared(bundle, replace(options, states=folder.path), keeping)

    def _bundle(self, model: StoredModel) -> Bundle:
        target = self._store.bundle_path(model.id)
        config = self._catalogue.config(model)
        return load_bundle(target, model.manifest, config) or unpack(
            model.manifest, config, self._store.blob_path, target
        )

    def _line(self, key: Key, line: str) -> None:
        self._log(f"{key} {line}")


def _slots(engine: Engine, options: Options) -> int | None:
    """How many requests an instance serves at a time; None when that is its own affair."""
    return engine.slots(options) if isinstance(engine, Parallel) else None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a start needs besides an address."""

    bundle: Bundle
    options: Options
    keeping: Keeping | None = None
