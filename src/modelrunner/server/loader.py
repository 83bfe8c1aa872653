"""How an instance comes to be: the model laid out, the command line asked for, the process started."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from modelrunner.engines.base import Address, Options
from modelrunner.engines.registry import Engines
from modelrunner.models.bundle import Bundle, load_bundle, unpack
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.plan import Key
from modelrunner.runtime.run_directory import RunDirectory
from modelrunner.server.catalogue import Catalogue
from modelrunner.server.configurations import Configurations
from modelrunner.store.snapshot import StoredModel
from modelrunner.store.store import Store


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
        environ: Mapping[str, str],
        log: Callable[[str], None],
    ) -> None:
        """`log` takes each line that an engine prints; `environ` is what engines inherit."""
        self._store = store
        self._catalogue = catalogue
        self._engines = engines
        self._configurations = configurations
        self._run = run
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
        bundle = await asyncio.to_thread(self._bundle, model)
        await self._configurations.refresh()
        configured = self._configurations.effective(key).options
        options = replace(configured, name=model.name)
        address = Address(socket=self._run.socket())
        launch = await asyncio.to_thread(engine.launch, bundle, key.mode, options, address)
        instance = await Instance.start(
            launch,
            address,
            name=engine.display,
            log=partial(self._line, key),
            diagnose=engine.diagnose,
            environ=self._environ,
        )
        self.running[key] = configured
        instance.exited.add_done_callback(lambda _: self._ended(key, configured))
        return instance

    def _ended(self, key: Key, options: Options) -> None:
        if self.running.get(key) is options:
            del self.running[key]

    def _bundle(self, model: StoredModel) -> Bundle:
        target = self._store.bundle_path(model.id)
        config = self._catalogue.config(model)
        return load_bundle(target, model.manifest, config) or unpack(
            model.manifest, config, self._store.blob_path, target
        )

    def _line(self, key: Key, line: str) -> None:
        self._log(f"{key} {line}")
