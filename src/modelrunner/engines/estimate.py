"""What an engine will need of memory, and of which devices: the values that an engine and the pool share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from modelrunner.engines.base import Options
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.kinds import Mode
from modelrunner.models.memory.fit import largest_context

RAM = "ram"  # the name of the device that is no GPU


@dataclass(frozen=True, slots=True)
class Device:
    """Memory that a model can be in: `ram`, or a GPU such as `cuda:0`. `total` and `available` are in bytes.

    Cached files count as available, also those that a process has mapped, as engines do with their weights:
    what an engine needs is to be set aside for as long as it is there.
    """

    name: str
    total: int
    available: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an engine will need, in bytes by part, to serve `context` tokens; most of it is on `device`.

    `compute` is for one step and its results, `projector` and `draft` are those models with all that they
    need, `prompts` is for conversations that are kept after their slot went to another, which fills in the
    course of time, and `overhead` is the program itself. Of the weights, `reclaimable` bytes are read once
    and then left: the system takes them back when it needs them, at no cost.

    `shares` says how much each device has to have free, where it is more than one; `asleep` how much of each
    it holds while it sleeps, None when it cannot. `needed_at` says what
    another context would need on `device` and its like.
    """

    device: str
    context: int
    weights: int
    cache: int = 0
    compute: int = 0
    projector: int = 0
    draft: int = 0
    prompts: int = 0
    overhead: int = 0
    reclaimable: int = 0
    shares: Mapping[str, int] = field(default_factory=dict)
    asleep: Mapping[str, int] | None = None
    needed_at: Callable[[int], int] | None = field(default=None, compare=False, repr=False)

    @property
    def total(self) -> int:
        """What the process will be seen to have in memory, at most."""
        parts = (self.weights, self.cache, self.compute, self.projector, self.draft, self.prompts)
        return sum(parts) + self.overhead

    @property
    def needed(self) -> int:
        """What has to be free for it: all but what the system can take back at no cost."""
        return self.total - self.reclaimable

    @property
    def by_device(self) -> Mapping[str, int]:
        """What has to be free on each device, in bytes."""
        return self.shares or {self.device: self.needed}

    def context_within(self, available: int) -> int | None:
        """The largest context, up to `context`, that `available` bytes on `device` are enough for; in tokens.

        Of several GPUs, `available` is what they have together. None when not even a small one fits.
        """
        needed_at = self.needed_at or (lambda _: self.needed)
        if needed_at(self.context) <= available:
            return self.context
        return largest_context(needed_at, self.context, available) if self.needed_at else None


@runtime_checkable
class KnowsMemory(Protocol):
    """An engine that can say what it will need; for the others, only what is seen can be counted."""

    def estimate(
        self, bundle: Bundle, mode: Mode, options: Options, devices: Sequence[Device]
    ) -> Estimate | None:
        """Say what the process of `launch` will need of these devices; None when it cannot be told.

        Reads the headers of the files; blocks.

        Raises:
            RunnerError: the model cannot be served, or its files cannot be read.
        """
        ...
