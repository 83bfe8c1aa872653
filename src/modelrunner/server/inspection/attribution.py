"""What is known of an instance that was asked: its model, how it is run, whether requests may be recorded."""

from collections.abc import Mapping

import msgspec

from modelrunner.engines.base import Options
from modelrunner.engines.registry import Engines
from modelrunner.recorder.values import Circumstances, Instance
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.configuration.configuration import Configuration
from modelrunner.server.configuration.configuration_file import Entry
from modelrunner.server.configuration.configurations import Configurations
from modelrunner.server.configuration.in_force import context_in_force
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.loading.loader import Loader


class Attribution:
    """Knows the circumstances of requests."""

    def __init__(
        self,
        engines: Engines,
        catalogue: Catalogue,
        configurations: Configurations,
        loader: Loader,
    ) -> None:
        self._engines = engines
        self._catalogue = catalogue
        self._configurations = configurations
        self._loader = loader
        self._known: dict[Key, Circumstances] = {}
        self._configured: Mapping[Key, Entry] = {}  # by what is known
        self._running: Mapping[Key, Options] = {}

    def of(self, key: Key) -> Circumstances:
        """Those of an instance; worked out anew once anything that runs, is stored or configured changed."""
        configured, running = self._configurations.by_key, self._loader.running
        if configured is not self._configured or running is not self._running:
            self._known.clear()
            self._configured, self._running = configured, running
        return self._known.get(key) or self._worked_out(key)

    def _worked_out(self, key: Key) -> Circumstances:
        configured = self._configurations.effective(key)
        options = self._running.get(key, configured.options)
        found = Circumstances(self._instance(key, configured, options), configured.record)
        self._known[key] = found
        return found

    def _instance(self, key: Key, configured: Configuration, options: Options) -> Instance:
        context = context_in_force(self._engines, self._catalogue, key, options)
        return Instance(
            model_id=str(key.model),
            name=self._catalogue.called(key.model),
            backend=key.engine,
            mode=key.mode.value,
            context_size=None if context is None else context.tokens,
            config=msgspec.json.encode(configured.as_wire()).decode(),
        )
