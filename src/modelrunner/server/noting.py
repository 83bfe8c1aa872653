"""Who takes the notes of requests, with what is known of who was asked, and gives them to the recorder."""

from collections.abc import Mapping

import msgspec
from starlette.types import Scope, Send

from modelrunner.engines.base import Options
from modelrunner.engines.registry import Engines
from modelrunner.recorder.values import Instance, Noted
from modelrunner.runtime.plan import Key
from modelrunner.server.catalogue import Catalogue
from modelrunner.server.configuration import Configuration
from modelrunner.server.configurations import Configurations
from modelrunner.server.in_force import context_in_force
from modelrunner.server.loader import Loader
from modelrunner.server.note import Circumstances, Note
from modelrunner.server.recording import Recording
from modelrunner.store.snapshot import Snapshot


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
        self._known: dict[Key, tuple[Options, Configuration, Snapshot, Circumstances]] = {}

    def begin(self, send: Send, scope: Scope, headers: Mapping[bytes, bytes]) -> Note | None:
        """Begin a note, if anybody wants it."""
        return None if self._recording.order is None else Note(self, send, scope, headers)

    def circumstances(self, key: Key) -> Circumstances:
        """See `note.Taker`; worked out anew when the instance or its configuration is another."""
        configured = self._configurations.effective(key)
        options = self._loader.running.get(key, configured.options)
        snapshot = self._catalogue.snapshot
        known = self._known.get(key)
        if known is None or known[0] is not options or known[1] is not configured or known[2] is not snapshot:
            found = Circumstances(self._instance(key, configured, options), configured.record)
            known = self._known[key] = (options, configured, snapshot, found)
        return known[3]

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

    def take(self, noted: Noted) -> None:
        """See `note.Taker`."""
        self._recording.take(noted)
