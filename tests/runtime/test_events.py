"""What is remembered and who hears of it."""

import pytest

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.events import Event, Events, Kind
from modelrunner.runtime.scheduling.plan import Key, Reason

KEY = Key("llama.cpp", Digest.of(b"a"), Mode.COMPLETION)
ONE, TWO, THREE = (Event(Kind.READY, KEY, Reason.REQUESTED, at) for at in (1.0, 2.0, 3.0))


def test_the_last_events_are_remembered() -> None:
    """Oldest first, and no more than there is room for."""
    events = Events(capacity=2)
    for event in (ONE, TWO, THREE):
        events.emit(event)

    assert (TWO, THREE) == events.recent()


async def test_a_listener_hears_what_comes_after_it() -> None:
    """In order, and nothing from before."""
    events = Events()
    events.emit(ONE)
    with events.subscribe() as subscription:
        events.emit(TWO)
        events.emit(THREE)

        assert TWO == await subscription.next()
        async for event in subscription:
            assert THREE == event
            break


async def test_a_slow_listener_loses_events_and_holds_nobody_up() -> None:
    """It can see how many it has lost."""
    events = Events()
    with events.subscribe(size=1) as slow:
        for event in (ONE, TWO, THREE):
            events.emit(event)

        assert ONE == await slow.next()
        assert slow.lost == 2


async def test_a_listener_that_has_left_is_forgotten() -> None:
    """Even when its block ended with an error."""
    events = Events()
    with pytest.raises(KeyError), events.subscribe(size=1) as gone:
        raise KeyError
    events.emit(ONE)
    events.emit(TWO)

    assert gone.lost == 0


def test_events_are_numbered() -> None:
    """From 1, without a gap, whatever is forgotten."""
    events = Events(capacity=2)
    for event in (ONE, TWO, THREE):
        events.emit(event)

    assert [2, 3] == [event.number for event in events.recent()]
