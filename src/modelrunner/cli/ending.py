"""Signals that ask a command to end let it tidy up first, where it would leave something behind."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDS = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Turn a signal to end, in this block, into SystemExit, as Ctrl-C is an exception; the code is a shell's.

    A signal that is ignored, as `nohup` has it, or that somebody else takes, stays as it is.
    """
    numbers = [getattr(signal, name) for name in _ENDS if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
