"""`/metrics` as a whole: what was counted, what is looked at now, and what the engines say of themselves."""

import asyncio
import logging
import time

from modelrunner import __version__
from modelrunner.engines.ask import Ask
from modelrunner.errors import RunnerError
from modelrunner.runtime import memory
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.scheduling.ledger import PLACE
from modelrunner.runtime.scheduling.plan import Key, State
from modelrunner.server.inspection.measuring import Measuring
from modelrunner.server.inspection.recording import Recording
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.telemetry.exposition import joined
from modelrunner.telemetry.metrics import Family, Labels

_log = logging.getLogger(__name__)
_ENGINE_SECONDS = 10.0
_NO_ENGINES = "# No active runners\n"


class Metrics:
    """Answers a scrape."""

    def __init__(
        self, pool: Pool[Instance], catalogue: Catalogue, recording: Recording, measuring: Measuring
    ) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._recording = recording
        self._measuring = measuring
        self._began = time.time()

    async def render(self) -> str:
        """Write everything; an engine that does not answer is left out."""
        running = self._pool.running()
        told = await asyncio.gather(*(self._engine(key, instance) for key, instance in running))
        engines = joined(
            (
                text,
                {"backend": key.engine, "model": self._catalogue.called(key.model), "mode": key.mode.value},
            )
            for (key, _), text in zip(running, told, strict=True)
        )
        return (
            await self._recording.figures()
            + self._measuring.lines()
            + self._looked_at()
            + (engines or _NO_ENGINES)
        )

    async def _engine(self, key: Key, instance: Instance) -> str:
        try:
            async with asyncio.timeout(_ENGINE_SECONDS):
                answer = await instance.ask(Ask("GET", "/metrics"))
        except (RunnerError, TimeoutError) as exc:
            _log.warning("metrics of an engine not read key=%s error=%s", key, exc)
            return ""
        return answer.body.decode("utf-8", "replace") if answer.status == 200 else ""

    def _looked_at(self) -> str:
        pool, recording = self._pool, self._recording
        residents = pool.residents()
        called = {each.key: self._catalogue.called(each.key.model) for each in residents}
        waiting: dict[Labels, float] = {}
        for waiter in pool.queue():
            name = (self._catalogue.called(waiter.key.model),)
            waiting[name] = waiting.get(name, 0) + 1
        states: dict[Labels, float] = {(state.value,): 0.0 for state in State}
        flying: dict[Labels, float] = {}
        held: dict[Labels, float] = {}
        for each in residents:
            states[(each.state.value,)] += 1
            where = (called[each.key], each.key.engine, each.key.mode.value)
            flying[where] = each.leases
            held |= {(*where, device): amount for device, amount in each.memory.items()}
        capacity: dict[Labels, float] = {
            (name,): float(amount) for name, amount in pool.capacity.items() if name != PLACE
        }
        model = ("model", "backend", "mode")
        gauges = [
            _gauge("modelrunner_queue_requests", "Requests that wait for a model.", ("model",), waiting),
            _gauge("modelrunner_requests_in_flight", "Requests that engines work on.", model, flying),
            _gauge("modelrunner_models", "Models in memory, by state.", ("state",), states),
            _gauge(
                "modelrunner_model_memory_bytes", "What is set aside for a model.", (*model, "device"), held
            ),
            _gauge(
                "modelrunner_memory_capacity_bytes", "What models may take in all.", ("device",), capacity
            ),
            _gauge(
                "modelrunner_memory_free_bytes",
                "What is seen to be free.",
                ("device",),
                {(name,): amount for name, amount in pool.free.items()},
            ),
            _gauge("modelrunner_places", "How many models may be in memory.", (), {(): pool.capacity[PLACE]}),
            _gauge(
                "modelrunner_recorder_waiting",
                "Requests that are not written yet.",
                (),
                {(): recording.waiting},
            ),
            _gauge(
                "modelrunner_recorder_up",
                "Whether requests can be written down; 0 also when that is off.",
                (),
                {(): float(recording.stores and not recording.last.reason)},
            ),
            Family(
                "modelrunner_recorder_dropped_total",
                "counter",
                "Requests that were not written down because too much waited, or the disk did not take them.",
                (),
                {(): recording.dropped},
            ),
            _gauge("modelrunner_build_info", "The version.", ("version",), {(__version__,): 1.0}),
            *self._own_process(),
        ]
        return "".join(line for each in gauges for line in each.lines())

    def _own_process(self) -> list[Family]:
        """The families that Prometheus has names for.

        Source: Prometheus documentation, "Writing client libraries", "Process metrics".
        """
        used, resident = time.process_time(), float(memory.own())
        return [
            Family("process_cpu_seconds_total", "counter", "CPU time of the daemon.", (), {(): used}),
            _gauge("process_resident_memory_bytes", "Memory of the daemon.", (), {(): resident}),
            _gauge("process_start_time_seconds", "When the daemon started.", (), {(): self._began}),
        ]


def _gauge(name: str, text: str, labels: tuple[str, ...], values: dict[Labels, float]) -> Family:
    return Family(name, "gauge", text, labels, values)
