"""Time series for charts: requests from the recorder's file, memory and the line from samples of our own."""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

from modelrunner.errors import InvalidRequest
from modelrunner.recorder.series import series
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.server.inspection.archive import Archive
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.wire.requests import ActivityView

_EVERY = 5.0  # seconds
_REMEMBERED = 17_280  # samples: a day
_STEPS = 120
_MOST_STEPS = 2000
_LONGEST = 31 * 86400.0  # seconds
_SHORTEST_STEP = 1.0


class Sample(NamedTuple):
    """How it was at a moment, in seconds since the epoch: who waited, and bytes by model."""

    at: float
    queue: int
    memory: tuple[tuple[str, int], ...]


class Activity:
    """Samples while it is open, and answers."""

    def __init__(
        self,
        pool: Pool[Instance],
        catalogue: Catalogue,
        archive: Archive,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._archive = archive
        self._wall = wall
        self._samples: deque[Sample] = deque(maxlen=_REMEMBERED)
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to sample."""
        self._task = asyncio.create_task(self._run(), name="activity")

    async def close(self) -> None:
        """End that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def sample(self) -> None:
        """Look once."""
        memory: dict[str, int] = {}
        for each in self._pool.residents():
            name = self._catalogue.called(each.key.model)
            memory[name] = memory.get(name, 0) + sum(each.memory.values())
        self._samples.append(Sample(self._wall(), self._pool.waiting, tuple(memory.items())))

    async def view(self, span: float, step: float | None) -> ActivityView:
        """The last `span` seconds, in steps of so many.

        Raises:
            InvalidRequest: that is too long, or in too many steps.
            StoreError: the recorder's file cannot be read.
        """
        if not 0 < span <= _LONGEST:
            raise InvalidRequest("`since` is too long ago", hint="31 days at most")
        step = max(_SHORTEST_STEP, span / _STEPS) if step is None else step
        if step < _SHORTEST_STEP or span / step > _MOST_STEPS:
            raise InvalidRequest(
                f"`step` does not fit: {span / max(step, 1e-9):.0f} steps",
                hint=f"at least a second, at most {_MOST_STEPS} steps",
            )
        self.sample()
        until = self._wall()
        names = {str(model.id): model.name for model in self._catalogue.models}
        columns = await self._archive.ask(lambda it: series(it, until - span, until, step, names))
        ends = [until - span + (number + 1) * step for number in range(len(columns["at"]))]
        # A union of two parts of the shape, which type checkers do not add up.
        return cast("ActivityView", {**columns, **self._sampled(ends)})

    def _sampled(self, ends: list[float]) -> dict[str, object]:
        samples = list(self._samples)
        moments = [sample.at for sample in samples]
        places = [bisect_right(moments, end) - 1 for end in ends]
        at_ends = [samples[place] if place >= 0 else None for place in places]
        models = sorted({name for sample in at_ends if sample is not None for name, _ in sample.memory})
        return {
            "queue": [None if sample is None else sample.queue for sample in at_ends],
            "memory": {
                name: [None if sample is None else dict(sample.memory).get(name, 0) for sample in at_ends]
                for name in models
            },
        }

    async def _run(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(_EVERY)
