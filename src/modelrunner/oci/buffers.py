"""Large buffers that are used again: fresh memory for all that comes costs more than receiving into it."""

from collections import deque

BUFFER = 2 << 20  # bytes; enough that Python's part in moving them, and changing threads, is small


class Buffers:
    """Buffers for bytes on their way, lent as long as anybody has a view of them.

    Nobody gives one back: a view may be cut into pieces and pass through many hands, and Python knows when
    the last of them is gone. With the last user all memory goes.
    """

    def __init__(self) -> None:
        self._lent: deque[bytearray] = deque()  # the longest ago first
        self._users = 0

    def enter(self) -> None:
        """Begin to use them."""
        self._users += 1

    def leave(self) -> None:
        """End it."""
        self._users -= 1
        if not self._users:
            self._lent.clear()

    def lend(self) -> memoryview:
        """A buffer whose bytes nobody wants any more."""
        for _ in range(len(self._lent)):
            buffer = self._lent[0]
            self._lent.rotate(-1)
            if _is_free(buffer):
                return memoryview(buffer)
        buffer = bytearray(BUFFER)
        self._lent.append(buffer)
        return memoryview(buffer)


def _is_free(buffer: bytearray) -> bool:
    """Whether there is no view of it; with one its size cannot change."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True
