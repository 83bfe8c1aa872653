"""Loads that no request has asked for: after a configuration, and at the start of the daemon."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable

from modelrunner.errors import RunnerError
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.scheduling.plan import Key, Reason
from modelrunner.runtime.scheduling.request_queue import Terms
from modelrunner.server.library.catalogue import Catalogue

_log = logging.getLogger(__name__)


class Preloading:
    """Loads models in the background; what goes wrong is in the log."""

    def __init__(self, pool: Pool[Instance], catalogue: Catalogue) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._tasks: dict[asyncio.Task[None], Key | None] = {}  # with the one instance that each is for

    def begin(self, key: Key, reason: Reason) -> None:
        """Load an instance."""
        self._begin(self._load(key, reason), key)

    def begin_all(self, pinned: Iterable[Key], names: Iterable[str]) -> None:
        """Load instances and named models one after the other, so that they do not slow each other down."""
        turn = asyncio.Lock()
        keys = tuple(pinned)
        for key in keys:
            self._begin(self._load(key, Reason.PINNED, turn), key)
        self._begin(self._load_named(tuple(names), set(keys), turn), None)

    async def unload(self, match: Callable[[Key], bool]) -> int:
        """Unload those that match and are idle, and take back what nobody waits for; says how many went."""
        await self.withdraw(match)
        return await self._pool.unload(match)

    async def withdraw(self, match: Callable[[Key], bool]) -> None:
        """Take back the loads of those that match, as far as they have not come yet."""
        waiting = {task for task, key in self._tasks.items() if key is not None and match(key)}
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)

    async def close(self) -> None:
        """Take everything back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[None, None, None], key: Key | None) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = key
        task.add_done_callback(self._tasks.pop)

    async def _load(self, key: Key, reason: Reason, turn: asyncio.Lock | None = None) -> None:
        try:
            async with turn or contextlib.nullcontext():
                await self._pool.preload(key, Terms(reason=reason))
        except RunnerError as exc:
            _log.warning("model not preloaded key=%s error=%s", key, exc)

    async def _load_named(self, names: tuple[str, ...], begun: set[Key], turn: asyncio.Lock) -> None:
        for name in names:
            try:
                key = await self._catalogue.usual_key(name, None)
            except RunnerError as exc:
                _log.warning("model not preloaded model=%s error=%s", name, exc)
                continue
            if key not in begun:
                begun.add(key)
                self._begin(self._load(key, Reason.PRELOADED, turn), key)
