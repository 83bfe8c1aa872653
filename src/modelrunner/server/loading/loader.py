"""How an instance comes to be: its command line asked for, its place made, its process started."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from modelrunner.engines.base import Address, Launch, Listens, Options, listens_on
from modelrunner.errors import PortTaken
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.kinds import Mode
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.processes.ports import free_port
from modelrunner.runtime.processes.workspace import Workspaces
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.loading.preparing import Prepared, Preparing

_log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_ROBBERIES = 3  # ports that may be taken before the engine listens


class Loader:
    """Starts instances for the pool."""

    def __init__(
        self,
        preparing: Preparing,
        workspaces: Workspaces,
        environ: Mapping[str, str],
        log: Callable[[str, str, str], None],
    ) -> None:
        """`log` takes an engine, a model's short id and a line; `environ` is what engines inherit."""
        self._preparing = preparing
        self._workspaces = workspaces
        self._environ = environ
        self._log = log
        # What each ready instance was started with, which is not what a later configuration says. Another
        # mapping with each change, so that who has worked something out of it can tell.
        self.running: Mapping[Key, Options] = {}
        self._heard: dict[Key, float] = {}  # when those that start last said something

    async def start(self, key: Key) -> Instance:
        """Start what serves a key, and return when it is ready.

        Raises:
            RunnerError: the model cannot be laid out, or its engine did not come up.
        """
        self._heard[key] = time.monotonic()
        try:
            return await self._start(key)
        finally:
            self._heard.pop(key, None)

    def quiet(self) -> float:
        """For how long (in seconds) nothing was heard of any engine that starts; for ever when none does."""
        return time.monotonic() - max(self._heard.values(), default=float("-inf"))

    async def _start(self, key: Key) -> Instance:
        prepared = await self._preparing.prepare(key)
        options, prompt_cache = await self._preparing.prompt_cache(key, prepared)
        instance = await self._with_a_port(key, replace(prepared, options=options))
        instance.slots = prepared.slots
        if prompt_cache is not None:
            instance.accompany(prompt_cache)
        configured = prepared.configured
        self.running = {**self.running, key: configured}
        instance.exited.add_done_callback(lambda _: self._ended(key, configured))
        return instance

    async def _with_a_port(self, key: Key, prepared: Prepared) -> Instance:
        """Start an engine; one that listens on a port gets another when somebody was quicker."""
        for _ in range(_ROBBERIES):
            with suppress(PortTaken):
                return await self._begin(key, prepared)
            _log.warning("port taken before the engine listened, trying another key=%s", key)
        return await self._begin(key, prepared)

    async def _begin(self, key: Key, prepared: Prepared) -> Instance:
        engine = prepared.engine
        workspace = self._workspaces.open()
        try:
            on_socket = listens_on(engine) is Listens.SOCKET
            address = Address(socket=workspace.socket) if on_socket else Address(port=free_port(_LOOPBACK))
            launch = await asyncio.to_thread(_described, prepared, key.mode, address)
            return await Instance.start(
                launch,
                address,
                name=engine.display,
                log=partial(self._line, key),
                diagnose=engine.diagnose,
                environ=self._environ,
                workspace=workspace,
            )
        except BaseException:
            workspace.close()
            raise

    def _ended(self, key: Key, options: Options) -> None:
        if self.running.get(key) is options:
            self.running = {other: each for other, each in self.running.items() if other != key}

    def _line(self, key: Key, line: str) -> None:
        if key in self._heard:
            self._heard[key] = time.monotonic()
        self._log(key.engine, key.model.short, f"{key} {line}")


def _described(prepared: Prepared, mode: Mode, address: Address) -> Launch:
    """Ask an engine for the process; that it reads the model, and keeps states, goes without saying."""
    options = prepared.options
    launch = prepared.engine.launch(prepared.bundle, mode, options, address)
    drafts = () if options.draft is None else tuple(path.resolve() for path in options.draft.weights)
    kept = () if options.states is None else (options.states,)
    return replace(
        launch,
        reads=(*launch.reads, *files_of(prepared.bundle), *drafts),
        writes=(*launch.writes, *kept),
    )


def files_of(bundle: Bundle) -> tuple[Path, ...]:
    """What an engine has to read of a model: its directory, and what links in that lead out of it to."""
    parts = (*bundle.weights, bundle.projector, bundle.template, *bundle.adapters)
    found = (path.resolve() for path in parts if path is not None)
    return (bundle.root, *(path for path in found if not path.is_relative_to(bundle.root.resolve())))
