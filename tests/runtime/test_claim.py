"""A lease for the length of a block, from lenders that give at once or later."""

import asyncio

import pytest

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.claim import Claim
from modelrunner.runtime.scheduling.lease import Lease, Loaded
from modelrunner.runtime.scheduling.plan import Key, Reason
from modelrunner.runtime.scheduling.request_queue import ANY_TERMS, Terms

KEY = Key("llama.cpp", Digest.of(b"model"), Mode.COMPLETION)


class Instance:
    """What is lent; nothing is done with it."""

    alive = True
    obituary = ""
    slots: int | None = None

    def __init__(self) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def sleep(self) -> None: ...

    async def wake(self) -> None: ...

    async def stop(self) -> None: ...


class Desk:
    """A lender who counts what is out."""

    def __init__(self, *, at_once: bool) -> None:
        self.running = Instance()
        self.out = 0
        self.asked: list[str] = []
        self.may_give = asyncio.Event()
        self._at_once = at_once

    def try_lease(self, key: Key, terms: Terms) -> Lease[Instance] | None:
        self.asked.append("try")
        return self._give(key) if self._at_once else None

    async def acquire(self, key: Key, terms: Terms) -> Lease[Instance]:
        self.asked.append("wait")
        await self.may_give.wait()
        return self._give(key)

    def _give(self, key: Key) -> Lease[Instance]:
        self.out += 1
        loaded: Loaded[Instance] = Loaded(key, 0.0, {}, Reason.REQUESTED)
        return Lease(loaded, self.running, self._take_back)

    def _take_back(self, _: Loaded[Instance]) -> None:
        self.out -= 1


async def test_what_is_to_be_had_is_not_waited_for() -> None:
    """The block has the instance, and afterwards nobody has it."""
    desk = Desk(at_once=True)

    async with Claim(desk, KEY, ANY_TERMS) as lease:
        inside = (lease.running, desk.out)

    assert (desk.running, 1) == inside
    assert (0, ["try"]) == (desk.out, desk.asked)


async def test_what_is_not_to_be_had_is_waited_for() -> None:
    desk = Desk(at_once=False)
    desk.may_give.set()

    async with Claim(desk, KEY, ANY_TERMS):
        assert desk.out == 1

    assert (0, ["try", "wait"]) == (desk.out, desk.asked)


async def test_a_block_that_fails_gives_back_too() -> None:
    desk = Desk(at_once=True)

    with pytest.raises(ZeroDivisionError):
        async with Claim(desk, KEY, ANY_TERMS):
            raise ZeroDivisionError

    assert desk.out == 0


async def test_who_leaves_while_waiting_has_nothing_to_give_back() -> None:
    desk = Desk(at_once=False)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), Claim(desk, KEY, ANY_TERMS):
            raise AssertionError("nobody may get in")

    assert (0, ["try", "wait"]) == (desk.out, desk.asked)
