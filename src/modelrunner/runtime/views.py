"""What the pool shows of itself to others: values, taken at one moment."""

from dataclasses import dataclass

from modelrunner.runtime.scheduling.ledger import Amounts
from modelrunner.runtime.scheduling.plan import Key, State


@dataclass(frozen=True, slots=True)
class ResidentView:
    """A resident as others see it.

    `last_used` is in seconds since the epoch, None while it loads or is in use; `keep_alive` in seconds, None
    for ever. `memory` is what is set aside for it, in bytes by device. `slots` is how many requests it serves
    at a time, None when that is its own affair. `load_time` is how long loading it last took, in seconds, and
    `worth` what losing it would cost, see `history`; a draining one takes no new requests.
    """

    key: Key
    state: State
    leases: int
    last_used: float | None
    keep_alive: float | None
    memory: Amounts
    pinned: bool
    slots: int | None = None
    load_time: float = 0.0
    worth: float = 0.0
    draining: bool = False

    @property
    def loading(self) -> bool:
        """Whether it is not ready yet."""
        return self.state in {State.STARTING, State.WAKING}

    @property
    def sleeping(self) -> bool:
        """Whether it has given its place back, or is about to, and its process stays."""
        return self.state in {State.DOZING, State.ASLEEP}


@dataclass(frozen=True, slots=True)
class WaiterView:
    """A request in the queue as others see it: its place, from 1, how long it waits (in seconds), and why."""

    name: str
    key: Key
    position: int
    waited: float
    why: str
    text: str
    others: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class FailuresView:
    """How often a model failed in a row, and its engine's last words.

    It is tried again in `pause` seconds, and when `refusing`, requests are turned away until then.
    """

    count: int
    words: str
    pause: float
    refusing: bool
