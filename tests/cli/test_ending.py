"""Signals that ask a command to end."""

import signal

import pytest

from modelrunner.cli.ending import ending_in_order


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_is_an_exception_as_long_as_the_block_lasts(number: signal.Signals) -> None:
    """With a shell's code for it."""
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught, ending_in_order():
        signal.raise_signal(number)

    assert (128 + number, before) == (caught.value.code, signal.getsignal(number))


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As `nohup` has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_in_order():
            signal.raise_signal(signal.SIGHUP)
        after = signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert signal.SIG_IGN is after
