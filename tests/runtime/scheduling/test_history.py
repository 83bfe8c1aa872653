"""What is remembered of models that come and go."""

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.history import HALF_LIFE, Histories, History
from modelrunner.runtime.scheduling.plan import Key


def test_uses_count_less_with_time() -> None:
    """Half after each half-life."""
    history = History()
    history.use(4, 0.0)

    assert 4.0 == history.uses_at(0.0)
    assert 2.0 == history.uses_at(HALF_LIFE)
    history.use(1, HALF_LIFE)
    assert 1.5 == history.uses_at(2 * HALF_LIFE)


def test_worth_grows_with_use_and_with_what_loading_takes() -> None:
    """What is slow to load and much used is the last to go."""
    little, often, slow = History(1.0, 0.0, 1.0), History(9.0, 0.0, 1.0), History(1.0, 0.0, 9.0)

    assert little.worth(0.0) < often.worth(0.0)
    assert little.worth(0.0) < slow.worth(0.0)
    assert 0.0 == History().worth(0.0)


def test_what_comes_back_soon_after_it_made_room_stays_for_a_while() -> None:
    """A quarter of what loading took, up to ten seconds; what was away for longer did not swap."""
    history = History(load_time=4.0)
    history.loads(0.0)
    assert 0.0 == history.stay()
    history.evicted_at = 10.0
    history.loads(20.0)
    assert 1.0 == history.stay()
    history.load_time = 60.0
    assert 10.0 == history.stay()
    history.loads(100.0)
    assert 0.0 == history.stay()


def test_only_so_many_are_remembered() -> None:
    """Those that were used last."""
    histories = Histories()
    for number in range(2000):
        key = Key("llama.cpp", Digest.of(b"%d" % number), Mode.COMPLETION)
        histories.of(key).use(1, float(number))

    assert 1024 == len(histories.keys())
    assert key in histories.keys()  # noqa: SIM118 - it is no mapping
