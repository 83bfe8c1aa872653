"""The scheduler on an imagined machine."""

import pytest

from modelrunner.runtime.scheduling.history import BY_VALUE, LEAST_RECENTLY_USED
from modelrunner.runtime.scheduling.simulation import Machine, simulate
from modelrunner.runtime.scheduling.trace import SYNTHETIC, Trace, TracedModel, TracedRequest

GIB = 1 << 30
SMALL = TracedModel("small", 2 * GIB, 1.0, slots=1)
LARGE = TracedModel("large", 8 * GIB, 10.0)
HUGE = TracedModel("huge", 80 * GIB, 10.0)


def ask(at: float, model: TracedModel, seconds: float = 1.0) -> TracedRequest:
    return TracedRequest(at, model.name, seconds)


def test_waits_are_those_of_loads_and_slots() -> None:
    """The first waits for the load, the second for the first, the third for nothing."""
    trace = Trace((SMALL,), (ask(0, SMALL), ask(0.5, SMALL), ask(9, SMALL)))

    outcome = simulate(trace, Machine(4 * GIB))

    assert (0.0, 1.0, 1.5) == outcome.waits
    assert (1, 0, 1, 0) == (outcome.loads, outcome.evictions, outcome.hits, outcome.refused)
    assert 1 / 3 == outcome.hit_rate
    assert 1.5 == outcome.wait(0.99)


def test_two_models_that_fit_only_in_turn_swap() -> None:
    """The second waits for the end of the first, and for its own load."""
    trace = Trace((SMALL, LARGE), (ask(0, SMALL), ask(0.5, LARGE), ask(30, SMALL)))

    outcome = simulate(trace, Machine(9 * GIB))

    assert (3, 2) == (outcome.loads, outcome.evictions)
    assert [1.0, 1.1, 11.6] == [round(wait, 6) for wait in outcome.waits]


def test_what_can_never_be_loaded_is_refused() -> None:
    """And counted."""
    outcome = simulate(Trace((HUGE,), (ask(0, HUGE),)), Machine(9 * GIB))

    assert (1, ()) == (outcome.refused, outcome.waits)


def test_nobody_waits_for_ever() -> None:
    """A model that is always in use gives way in the end."""
    busy = [ask(second * 0.9, SMALL, seconds=1.0) for second in range(200)]
    several = TracedModel("small", 2 * GIB, 1.0)
    trace = Trace((several, LARGE), (*busy, ask(200, LARGE)))

    outcome = simulate(trace, Machine(9 * GIB))

    assert 201 == len(outcome.waits)


@pytest.mark.parametrize("name", SYNTHETIC)
@pytest.mark.parametrize("seed", range(3))
def test_the_worth_of_models_shortens_waits(name: str, seed: int) -> None:
    """Against giving up what was used least recently, on three models in memory for two."""
    trace = SYNTHETIC[name](models=3, requests=2000, seed=seed)
    machine = Machine(26 * GIB, places=2)

    ours, plain = simulate(trace, machine, BY_VALUE), simulate(trace, machine, LEAST_RECENTLY_USED)

    assert ours.mean_wait < 0.9 * plain.mean_wait
    assert ours.wait(0.99) <= plain.wait(0.99)
