"""What a model that sleeps holds and gives back, as tables of cases."""

from typing import Any

import pytest

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.ledger import PLACE, Amounts
from modelrunner.runtime.scheduling.plan import Key, Resident, State
from modelrunner.runtime.scheduling.sleeping import SLEEPS_FOR, expiry, frees, helps, is_coming, still_takes

KEY = Key("vllm", Digest.of(b"model"), Mode.COMPLETION)
AWAKE: Amounts = {"cuda:0": 90, "ram": 5, PLACE: 1}
ASLEEP: Amounts = {"cuda:0": 5, "ram": 30}
BOTH: Amounts = {"cuda:0": 90, "ram": 30, PLACE: 1}


def resident(state: State, need: Amounts = AWAKE, asleep: Amounts | None = ASLEEP) -> Resident:
    return Resident(KEY, state, need, asleep=asleep, idle_since=1000.0, keep_alive=300.0)


@pytest.mark.parametrize(
    ("state", "need", "freed", "taken"),
    [
        (State.STARTING, AWAKE, {}, AWAKE),
        (State.READY, AWAKE, {}, {}),
        (State.DOZING, BOTH, {"cuda:0": 85, "ram": 0, PLACE: 1}, ASLEEP),
        (State.ASLEEP, ASLEEP, {}, {}),
        (State.WAKING, BOTH, {}, {"cuda:0": 85, PLACE: 1}),
        (State.STOPPING, AWAKE, AWAKE, {}),
    ],
)
def test_each_state_gives_back_and_takes_its_own(
    state: State, need: Amounts, freed: Amounts, taken: Amounts
) -> None:
    """Falling asleep, or waking, it has both for a while."""
    assert (freed, taken) == (frees(resident(state, need)), still_takes(resident(state, need)))


@pytest.mark.parametrize("state", State)
def test_what_starts_or_wakes_is_on_its_way(state: State) -> None:
    assert is_coming(state) == (state in {State.STARTING, State.WAKING})


@pytest.mark.parametrize(
    ("changes", "lack", "enough"),
    [
        ({}, {"cuda:0": 85}, True),
        ({}, {"cuda:0": 86}, False),
        ({}, {"cuda:0": 500}, False),  # its end would give 90 of that
        ({}, {PLACE: 1}, True),
        ({}, {"cuda:0": 40, PLACE: 1}, True),
        ({}, {"ram": 1}, False),  # of that it takes more
        ({}, {"cuda:1": 10}, True),  # its end would not help there either
        ({"asleep": None}, {PLACE: 1}, False),
        ({"keep_alive": 0.0}, {PLACE: 1}, False),
        ({"keep_alive": None}, {PLACE: 1}, True),
        ({"state": State.STARTING}, {PLACE: 1}, False),
        ({"state": State.DOZING}, {PLACE: 1}, False),
        ({"state": State.ASLEEP}, {PLACE: 1}, False),
    ],
)
def test_sleep_helps_where_it_does_as_much_as_an_end(
    changes: dict[str, Any], lack: Amounts, enough: bool
) -> None:
    """One that is to stay for no time does not sleep, it ends."""
    assert enough == helps(resident(State.READY)._replace(**changes), lack)


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({}, 1300.0),
        ({"state": State.ASLEEP}, 1000.0 + 300.0 * SLEEPS_FOR),
        ({"keep_alive": 0.0}, 1000.0),
        ({"keep_alive": None}, None),
        ({"pinned": True}, None),
        ({"pinned": True, "state": State.ASLEEP}, None),
    ],
)
def test_sleep_lasts_longer_than_idleness(changes: dict[str, Any], at: float | None) -> None:
    """What is pinned, or to stay for ever, has no such time."""
    assert at == expiry(resident(State.READY)._replace(**changes))
