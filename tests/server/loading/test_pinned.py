"""Pinned models come back."""

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

CHAT = "/engines/v1/chat/completions"
CONFIGURE = "/engines/_configure"


def pids(daemon: "Daemon") -> list[int]:
    return [instance.pid for _, instance in daemon.services.pool.running()]


async def test_a_pinned_model_comes_back_when_its_process_is_killed(tiny: "Daemon") -> None:
    """Without anybody asking for it."""
    await tiny.ask("POST", CONFIGURE, json={"model": "ai/tiny", "pinned": True})
    await tiny.until(lambda: any(not resident.loading for resident in tiny.residents))
    [before] = pids(tiny)
    os.kill(before, signal.SIGKILL)

    await tiny.until(lambda: bool(pids(tiny)) and pids(tiny) != [before])

    assert [True] == [resident.pinned for resident in tiny.residents]


async def test_another_model_waits_for_the_next_request(tiny: "Daemon") -> None:
    """It is gone until then."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    [before] = pids(tiny)
    os.kill(before, signal.SIGKILL)

    await tiny.until(lambda: not tiny.residents)

    assert 200 == (await tiny.ask("POST", CHAT, json=tiny.chat())).status
    assert [before] != pids(tiny)
