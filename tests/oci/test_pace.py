import asyncio

from modelrunner.oci.pace import UNLIMITED, Pace


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += seconds
        await asyncio.sleep(0)


async def test_bytes_come_no_faster_than_the_limit() -> None:
    """Ten seconds' worth takes ten seconds, whatever the size of the pieces."""
    clock = Clock()
    pace = Pace(1000, clock=clock, sleep=clock.sleep)
    for _ in range(100):
        await pace.spend(100)

    assert 10.0 == round(clock.slept, 6)


async def test_a_pause_is_not_made_up_for() -> None:
    """After a quiet hour only a moment's worth comes at once."""
    clock = Clock()
    pace = Pace(1000, clock=clock, sleep=clock.sleep)
    clock.now += 3600
    await pace.spend(1250)

    assert 1.0 == round(clock.slept, 6)


async def test_without_a_limit_nobody_waits() -> None:
    """However much comes."""
    await asyncio.wait_for(UNLIMITED.spend(1 << 60), 1)
