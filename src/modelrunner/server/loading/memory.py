"""What models need of this machine's memory, how much of it models may have, and how much is free now."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from modelrunner.engines.estimate import RAM, Device, Estimate, KnowsMemory
from modelrunner.errors import DamagedWeights, RunnerError
from modelrunner.runtime import memory
from modelrunner.runtime.memory_needs import MemoryNeed
from modelrunner.runtime.scheduling.ledger import Amounts
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.configuration.configuration import Configuration
from modelrunner.server.loading.preparing import Preparing
from modelrunner.units import format_bytes

_log = logging.getLogger(__name__)

_KEPT_PART = 20  # a twentieth of the memory is for everything that is no model
_KEPT_LEAST = 512 << 20
_FRESH = 0.02  # seconds for which a look at the memory is good enough


def capacity(devices: Sequence[Device], limit: int | None) -> Amounts:
    """How much models may have of each device, in bytes: `limit` of the RAM, else all but what is kept."""
    found = {device.name: device.total - max(device.total // _KEPT_PART, _KEPT_LEAST) for device in devices}
    if limit is not None:
        found[RAM] = limit
    return {name: max(0, amount) for name, amount in found.items()}


def advice(estimate: Estimate, most: Amounts) -> str | None:
    """What to do about a model that needs more than there is: a context with which it fits, if any."""
    short = {name for name, amount in estimate.by_device.items() if amount > most.get(name, amount)}
    if not short:
        return None
    context = None
    if short == {estimate.device}:
        context = estimate.context_within(most[estimate.device])
    if context is not None and context < estimate.context:
        return f"a context of {context} tokens would fit: `dmr configure --context-size {context} MODEL`"
    weights = format_bytes(estimate.weights)
    return f"its weights alone are {weights}: use a smaller model or a smaller quantization"


def _parts(estimate: Estimate) -> Mapping[str, int]:
    names = ("weights", "cache", "compute", "projector", "draft", "prompts", "overhead")
    parts = {name: getattr(estimate, name) for name in names}
    return {name: amount for name, amount in parts.items() if amount}


class Memory:
    """The memory of this machine, as the pool asks about it."""

    def __init__(
        self,
        preparing: Preparing,
        limit: int | None,
        *,
        probe: Callable[[], Sequence[Device]] = memory.devices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limit` is how much RAM models may have, in bytes, None for nearly all of it."""
        self._preparing = preparing
        self._probe = probe
        self._clock = clock
        self.capacity = capacity(probe(), limit)
        self.total = sum(self.capacity.values())  # bytes, of all devices
        self._unknown: dict[Key, str] = {}
        self._seen: Mapping[str, int] = {}
        self._seen_at = float("-inf")

    async def estimate(self, key: Key, trial: Configuration | None = None) -> MemoryNeed:
        """Say what loading a model takes, or would by a `trial`; nothing when its engine cannot tell.

        Raises:
            DamagedWeights: the weights are not what their header says; no engine gets to see them.
            RunnerError: the model cannot be laid out.
        """
        prepared = await self._preparing.prepare(key, trial)
        if not isinstance(prepared.engine, KnowsMemory):
            return MemoryNeed({})
        devices = await asyncio.to_thread(self._probe)
        try:
            estimate = await asyncio.to_thread(
                prepared.engine.estimate, prepared.bundle, key.mode, prepared.options, devices
            )
        except DamagedWeights:
            raise
        except RunnerError as exc:  # the engine may know better, and its own words are the better answer
            self._tell_once(key, str(exc))
            return MemoryNeed({})
        if estimate is None:
            return MemoryNeed({})
        known = advice(estimate, self.capacity)
        return MemoryNeed(estimate.by_device, known, _parts(estimate), estimate.asleep)

    def _tell_once(self, key: Key, error: str) -> None:
        """Log why a model's memory is not known, unless that was said: pages ask every few seconds."""
        if self._unknown.get(key) != error:
            self._unknown[key] = error
            _log.info("memory not estimated key=%s error=%s", key, error)

    def look(self) -> Amounts:
        """How much of each device is free now, in bytes."""
        now = self._clock()
        if now - self._seen_at > _FRESH:
            # RAM is looked at without a thread: it is a file of the kernel's, and a decision waits for it.
            self._seen = {device.name: device.available for device in self._probe()}
            self._seen_at = now
        return self._seen
