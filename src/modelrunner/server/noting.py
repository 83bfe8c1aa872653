"""Who takes the notes of requests: counts them for the metrics, and gives them to the recorder."""

from collections.abc import Callable, Mapping

import msgspec
from starlette.types import Scope, Send

from modelrunner.engines.base import Options
from modelrunner.engines.registry import Engines
from modelrunner.recorder.values import Noted
from modelrunner.runtime.plan import Key
from modelrunner.server.catalogue import Catalogue
from modelrunner.server.configuration import Configuration
from modelrunner.server.configurations import Configurations
from modelrunner.server.in_force import context_in_force
from modelrunner.server.loader import Loader
from modelrunner.server.note import Circumstances, Ended, Note
from modelrunner.server.recording import Recording


class Noting:
    """Satisfies `note.Taker`."""

    def __init__(
        self,
        recording: Recording,
        engines: Engines,
        catalogue: Catalogue,
        configurations: Configurations,
        loader: Loader,
        count: Callable[[Ended], None] | None,
    ) -> None:
        """`count` is told of each request; None when nobody wants to know."""
        self._recording = recording
        self._engines = engines
        self._catalogue = catalogue
        self._configurations = configurations
        self._loader = loader
        self._count = count
        self._is_off = recording.order is None and count is None
        self._known: dict[Key, tuple[Options, Configuration, Circumstances]] = {}

    def begin(self, send: Send, scope: Scope, headers: Mapping[bytes, bytes]) -> Note | None:
        """Begin a note, if anybody wants it."""
        return None if self._is_off else Note(self, send, scope, headers)

    def circumstances(self, key: Key) -> Circumstances:
        """See `note.Taker`; worked out anew when the instance or its configuration is another."""
        configured = self._configurations.effective(key)
        options = self._loader.running.get(key, configured.options)
        known = self._known.get(key)
        if known is None or known[0] is not options or known[1] is not configured:
            context = context_in_force(self._engines, self._catalogue, key, options)
            found = Circumstances(
                None if context is None else context.tokens,
                msgspec.json.encode(configured.as_wire()).decode(),
                configured.record,
            )
            known = self._known[key] = (options, configured, found)
        return known[2]

    def ended(self, ended: Ended) -> None:
        """See `note.Taker`."""
        if self._count is not None:
            self._count(ended)

    def take(self, noted: Noted) -> None:
        """See `note.Taker`."""
        if self._recording.order is not None:
            self._recording.take(noted)
