"""Pinned models come back when their process ends by itself; others wait for the next request."""

import asyncio
import logging
from collections.abc import Callable

from modelrunner.errors import EngineFailed, EngineFailing, NotReadyInTime, RunnerError
from modelrunner.runtime.events import Kind
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.scheduling.plan import Key, Reason
from modelrunner.runtime.scheduling.request_queue import Terms

_log = logging.getLogger(__name__)
_ENDED = frozenset({Reason.CRASHED, Reason.FAILED})


class PinnedModels:
    """Listens for what crashed. How long to wait between two tries is the scheduler's business."""

    def __init__(self, pool: Pool[Instance], pinned: Callable[[Key], bool]) -> None:
        self._pool = pool
        self._pinned = pinned
        self._listening: asyncio.Task[None] | None = None
        self._tries: dict[Key, asyncio.Task[None]] = {}

    def begin(self) -> None:
        """Listen from now on."""
        self._listening = asyncio.create_task(self._listen(), name="revive pinned models")

    async def close(self) -> None:
        """Listen no more, and try no more."""
        tasks = [*self._tries.values(), *([self._listening] if self._listening else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        with self._pool.events.subscribe(1000) as events:
            async for event in events:
                key = event.key
                if event.kind is Kind.GONE and event.reason in _ENDED and self._pinned(key):
                    self._try(key)

    def _try(self, key: Key) -> None:
        if key not in self._tries:
            self._tries[key] = task = asyncio.create_task(self._revive(key), name=f"revive {key}")
            task.add_done_callback(lambda _: self._tries.pop(key, None))

    async def _revive(self, key: Key) -> None:
        while self._pinned(key):
            try:
                await self._pool.preload(key, Terms(reason=Reason.PINNED))
            except EngineFailing as exc:
                await asyncio.sleep(exc.retry_after or 1)
            except (EngineFailed, NotReadyInTime) as exc:
                _log.info("pinned model is tried again key=%s error=%s", key, exc)
            except RunnerError as exc:
                _log.warning("pinned model does not come back key=%s error=%s", key, exc)
                return
            else:
                return
