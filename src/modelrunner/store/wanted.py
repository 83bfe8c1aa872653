"""Which blobs are being brought for models that are not committed yet, so that nobody tidies them away."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from modelrunner.oci.digest import Digest

_KEPT = 3600.0  # seconds after the last claim for which somebody may still mean to commit


class Wanted:
    """Blobs that were claimed here since everything was last quiet.

    What a transfer claimed first has to outlast it, however long the rest takes; who claims does not say when
    it gives up. So nothing is forgotten while anything is claimed, but by a commit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blobs: set[Digest] = set()
        self._claims = 0
        self._last = clock()

    def add(self, blob: Digest) -> None:
        """Want a blob."""
        if self._is_over:
            self._blobs.clear()
        self._blobs.add(blob)
        self._last = self._clock()

    @contextmanager
    def claimed(self, blob: Digest) -> Iterator[None]:
        """Want a blob, and hold on to all that are wanted meanwhile."""
        self.add(blob)
        self._claims += 1
        try:
            yield
        finally:
            self._claims -= 1
            self._last = self._clock()

    @property
    def is_claimed(self) -> bool:
        """Whether anything is being brought right now."""
        return self._claims > 0

    def remove(self, blobs: Collection[Digest]) -> None:
        """Leave the blobs of a committed model to its entry."""
        self._blobs.difference_update(blobs)

    def __contains__(self, blob: object) -> bool:
        return blob in self._blobs and not self._is_over

    @property
    def _is_over(self) -> bool:
        return not self._claims and self._clock() - self._last >= _KEPT
