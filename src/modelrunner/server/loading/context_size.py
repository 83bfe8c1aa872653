"""A context that a request wants larger than it is: given where nobody is in the way, and told where not."""

import logging
from dataclasses import replace

from modelrunner.engines.registry import Engines
from modelrunner.errors import Conflict
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.configuration.configurations import Configurations
from modelrunner.server.configuration.in_force import context_in_force
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.loading.configuring import Configuring
from modelrunner.server.loading.loader import Loader

_log = logging.getLogger(__name__)


class ContextSizes:
    """Grows contexts. One that is large enough is left alone, so requests do not take turns in restarts."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        engines: Engines,
        configurations: Configurations,
        configuring: Configuring,
        loader: Loader,
    ) -> None:
        self._catalogue = catalogue
        self._engines = engines
        self._configurations = configurations
        self._configuring = configuring
        self._loader = loader

    async def grow(self, text: str, key: Key, wanted: int) -> int | None:
        """Have a model, as somebody typed it, run with at least so many tokens of context.

        Returns the context that it will have if that is less: the model cannot have more, or is in use.

        Raises:
            RunnerError: the configuration is wrong, or cannot be saved.
        """
        options = self._loader.running.get(key) or self._configurations.effective(key).options
        here = context_in_force(self._engines, self._catalogue, key, options)
        if here is None or here.tokens >= wanted:
            return None
        most = min(wanted, self._trained(key) or wanted)
        larger = replace(options, context_size=most)
        then = context_in_force(self._engines, self._catalogue, key, larger)
        if then is None or then.tokens <= here.tokens:
            return here.tokens
        try:
            await self._configuring.change(
                {"model": text, "mode": key.mode.value, "context-size": most}, key.engine
            )
        except Conflict as exc:
            _log.info("context not grown key=%s reason=%s", key, exc)
            return here.tokens
        return most if most < wanted else None

    def _trained(self, key: Key) -> int | None:
        """What the model was trained for, in tokens, if its header says it."""
        config = self._catalogue.config(self._catalogue.by_id(key.model))
        architecture = config.metadata.get("general.architecture") or config.architecture
        length = config.metadata.get(f"{architecture}.context_length", "")
        return int(length) if length.isascii() and length.isdecimal() and int(length) else None
