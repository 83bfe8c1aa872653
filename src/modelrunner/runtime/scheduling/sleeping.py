"""What changes hands when a model falls asleep or wakes; asleep it holds little, and is back sooner. Pure.

Asleep it has no place and gives the memory of GPUs back, but holds its weights in the RAM, which may be more
than it takes of that awake. While it falls asleep or wakes it has both.
"""

from modelrunner.runtime.scheduling.ledger import Amounts, beyond, less
from modelrunner.runtime.scheduling.plan import Resident, State

SLEEPS_FOR = 12  # times its keep-alive, counted from when it was last used: an hour, as a rule
_NOTHING: Amounts = {}


def frees(resident: Resident) -> Amounts:
    """What it gives back when that ends which it is doing now."""
    if resident.state is State.STOPPING:
        return resident.need
    if resident.state is State.DOZING:
        return less(resident.need, resident.asleep or _NOTHING)
    return _NOTHING


def is_coming(state: State) -> bool:
    """Whether one in that state is on its way to be ready."""
    return state is State.STARTING or state is State.WAKING


def still_takes(resident: Resident) -> Amounts:
    """What is set aside for it but may not be taken yet, and so is seen to be free."""
    if resident.state is State.READY:
        return _NOTHING
    if resident.state is State.STARTING:
        return resident.need
    if resident.state is State.WAKING:
        return beyond(resident.need, resident.asleep or _NOTHING)
    if resident.state is State.DOZING:
        return resident.asleep or _NOTHING
    return _NOTHING


def helps(resident: Resident, lack: Amounts) -> bool:
    """Whether its sleep would do for what is lacking as well as its end."""
    if resident.state is not State.READY or resident.asleep is None or resident.keep_alive == 0:
        return False
    gains = less(resident.need, resident.asleep)
    return all(gains.get(name, 0) >= min(amount, resident.need.get(name, 0)) for name, amount in lack.items())


def expiry(resident: Resident) -> float | None:
    """When the time of an idle resident is up: to be awake, or to be asleep; None for never."""
    if resident.pinned or resident.keep_alive is None:
        return None
    times = SLEEPS_FOR if resident.state is State.ASLEEP else 1
    return resident.idle_since + resident.keep_alive * times
