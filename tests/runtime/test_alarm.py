"""The alarm, on a clock that is moved by hand."""

import asyncio
from collections.abc import Callable

from modelrunner.runtime.alarm import Alarm, later


class Handle:
    """A call that is to come."""

    def __init__(self, delay: float, call: Callable[[], None]) -> None:
        self.delay = delay
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """An alarm, when it rang, and the timers that it asked for."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rings: list[float] = []
        self.timers: list[Handle] = []
        self.alarm = Alarm(lambda: self.rings.append(self.now), clock=lambda: self.now, later=self._later)

    def _later(self, delay: float, call: Callable[[], None]) -> Handle:
        self.timers.append(Handle(delay, call))
        return self.timers[-1]

    def pass_to(self, now: float) -> None:
        """Have it be later, and the last timer due."""
        self.now = now
        self.timers[-1].call()


def test_it_rings_once_when_it_is_time() -> None:
    bench = Bench()

    bench.alarm.arm(130.0)
    assert [30.0] == [timer.delay for timer in bench.timers]
    bench.pass_to(130.0)

    assert [130.0] == bench.rings
    assert bench.alarm.at is None


def test_armed_anew_it_forgets_the_moment_before() -> None:
    """There is never more than one timer."""
    bench = Bench()

    bench.alarm.arm(130.0)
    bench.alarm.arm(110.0)

    assert [True, False] == [timer.cancelled for timer in bench.timers]
    assert bench.alarm.at == 110.0


def test_the_same_moment_again_costs_nothing() -> None:
    """It is armed after each decision, and mostly for what it is armed for already."""
    bench = Bench()

    for _ in range(3):
        bench.alarm.arm(130.0)

    assert [False] == [timer.cancelled for timer in bench.timers]


def test_disarmed_it_does_not_ring() -> None:
    bench = Bench()

    bench.alarm.arm(130.0)
    bench.alarm.arm(None)

    assert [True] == [timer.cancelled for timer in bench.timers]
    assert bench.alarm.at is None


def test_a_moment_that_is_over_is_now() -> None:
    bench = Bench()

    bench.alarm.arm(90.0)

    assert [0.0] == [timer.delay for timer in bench.timers]


def test_after_it_rang_the_same_moment_can_be_armed_again() -> None:
    """What rings may find that it is not quite time yet."""
    bench = Bench()
    bench.alarm.arm(130.0)
    bench.pass_to(129.9)

    bench.alarm.arm(130.0)

    assert len(bench.timers) == 2
    assert bench.alarm.at == 130.0


async def test_a_running_loop_calls_later() -> None:
    rung = asyncio.Event()

    taken_back = later(0.0, rung.set)
    taken_back.cancel()
    await asyncio.sleep(0.001)
    assert not rung.is_set()
    later(0.0, rung.set)

    async with asyncio.timeout(10):
        await rung.wait()
