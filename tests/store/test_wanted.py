"""What a transfer counts on."""

from modelrunner.oci.digest import Digest
from modelrunner.store.wanted import Wanted

FIRST, SECOND = Digest.of(b"first"), Digest.of(b"second")
HOUR = 3600.0


class Clock:
    """Time that stands still."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


def test_what_came_first_is_wanted_as_long_as_the_rest_takes() -> None:
    """A download may take many hours, and an hour more for whatever is between two blobs."""
    clock = Clock()
    wanted = Wanted(clock)
    with wanted.claimed(FIRST):
        pass
    with wanted.claimed(SECOND):
        clock.now += 5 * HOUR
        during = FIRST in wanted
    clock.now += HOUR - 1
    soon = FIRST in wanted
    clock.now += 1
    late = FIRST in wanted

    assert (True, True, False) == (during, soon, late)


def test_what_was_given_up_is_not_wanted_again() -> None:
    """A new transfer does not bring back what an old one wanted."""
    clock = Clock()
    wanted = Wanted(clock)
    with wanted.claimed(FIRST):
        pass
    clock.now += HOUR
    with wanted.claimed(SECOND):
        assert (False, True) == (FIRST in wanted, SECOND in wanted)


def test_what_was_committed_is_no_longer_wanted() -> None:
    """Its entry holds it from then on."""
    wanted = Wanted()
    with wanted.claimed(FIRST):
        wanted.add(SECOND)
        wanted.remove([FIRST])

        assert (False, True) == (FIRST in wanted, SECOND in wanted)
