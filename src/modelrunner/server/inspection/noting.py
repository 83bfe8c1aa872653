"""Who takes the notes of requests, with what is known of who was asked, and gives them to the recorder."""

import time
from collections.abc import Mapping

import msgspec
from starlette.types import Scope, Send

from modelrunner.engines.base import Options
from modelrunner.engines.registry import Engines
from modelrunner.recorder.values import Instance
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.configuration.configuration import Configuration
from modelrunner.server.configuration.configuration_file import Entry
from modelrunner.server.configuration.configurations import Configurations
from modelrunner.server.configuration.in_force import context_in_force
from modelrunner.server.inference.note import Circumstances, Note
from modelrunner.server.inspection.recording import Recording
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.loading.loader import Loader


class Noting:
    """Satisfies `note.Taker`."""

    def __init__(
        self,
        recording: Recording,
        engines: Engines,
        catalogue: Catalogue,
        configurations: Configurations,
        loader: Loader,
    ) -> None:
        self._recording = recording
        self._engines = engines
        self._catalogue = catalogue
        self._configurations = configurations
        self._loader = loader
        self._known: dict[Key, Circumstances] = {}
        self._configured: Mapping[Key, Entry] = {}  # by what is known
        self._running: Mapping[Key, Options] = {}
        self.take = recording.take

    def begin(self, send: Send, scope: Scope, headers: Mapping[bytes, bytes]) -> Note | None:
        """Begin a note, if anybody wants it."""
        if self._recording.order is None:
            return None
        return Note(self, send, scope, headers, time.time(), time.monotonic())

    def circumstances(self, key: Key) -> Circumstances:
        """See `note.Taker`; worked out anew when anything that runs, is stored or configured is another."""
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
