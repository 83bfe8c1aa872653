"""What the sandbox costs: the start of an engine with it and without, in turns, in one run.

The engines are the embedded llama.cpp with the test model, started as the daemon does it, and the scripted
one, which starts so quickly that less of the difference is chance. The bound is on the time of processors,
which other work on the machine changes less than that of the clock.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from benchmarks.figures import Figure, show
from modelrunner.engines.base import Address, EngineSettings, Launch, Options
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.processes.confinement import Sandbox, Sandboxing
from modelrunner.runtime.processes.guardian import Guardian
from modelrunner.runtime.processes.run_directory import RunDirectory
from modelrunner.runtime.processes.workspace import Workspaces
from scripts.fetch_test_model import fetch

_Describe = Callable[[Address], Launch]
ROUNDS = 15
QUICK_ROUNDS = 41


def _llama(gguf: Path) -> _Describe:
    bundle = Bundle(gguf.parent, ModelConfig(format=Format.GGUF), (gguf,))
    options = Options(context_size=512)
    return lambda address: replace(
        LlamaCpp(EngineSettings()).launch(bundle, Mode.COMPLETION, options, address), reads=(gguf,)
    )


def _scripted(address: Address) -> Launch:
    program = (sys.executable, "-m", "modelrunner.testing.engine")
    return Launch((*program, "--model", "m", "--host", str(address.socket)))


async def _start(workspaces: Workspaces, describe: _Describe) -> tuple[float, float]:
    """Start and stop an engine: milliseconds until it was ready, and of processor time in all."""
    used = _used()
    begun = time.perf_counter()
    workspace = workspaces.open()
    address = Address(socket=workspace.socket)
    launch = describe(address)
    instance = await Instance.start(
        launch, address, "engine", lambda _: None, lambda _: None, environ=os.environ, workspace=workspace
    )
    took = time.perf_counter() - begun
    await instance.stop()
    return 1000 * took, 1000 * (_used() - used)


def _used() -> float:
    """The processor time of this process, and of its children that have ended, in seconds."""
    ours = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in ours)


def _prepare(workspaces: Workspaces, describe: _Describe) -> float:
    """Do only what the daemon does before the fork, in milliseconds."""
    workspace = workspaces.open()
    address = Address(socket=workspace.socket)
    launch = describe(address)
    begun = time.perf_counter()
    confinement = workspace.confine(launch, address)
    took = time.perf_counter() - begun
    if confinement is not None:
        confinement.close()
    workspace.close()
    return 1000 * took


async def _guard(directory: Path) -> float:
    """Start a guardian, which a daemon does once; how long that took, in milliseconds."""
    guardian = Guardian(directory)
    begun = time.perf_counter()
    await guardian.open()
    took = time.perf_counter() - begun
    await guardian.close()
    return 1000 * took


async def _compare(
    name: str,
    confined: Workspaces,
    free: Workspaces,
    describe: _Describe,
    rounds: int,
    bound: float | None = None,
) -> list[Figure]:
    await _start(confined, describe), await _start(free, describe)  # once, so that every file is in memory
    pairs = [(await _start(confined, describe), await _start(free, describe)) for _ in range(rounds)]
    cost = tuple(with_it[1] - without[1] for with_it, without in pairs)
    return [
        Figure(f"{name}: processor time that the sandbox costs", cost, "ms", at_most=bound),
        Figure(f"  {name}, start with the sandbox", tuple(with_it[0] for with_it, _ in pairs), "ms"),
        Figure(f"  {name}, start without", tuple(without[0] for _, without in pairs), "ms"),
    ]


async def _measure() -> list[Figure]:
    llama = _llama(fetch())
    async with AsyncExitStack() as stack:
        run = RunDirectory.create([Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmr-")))])
        stack.callback(run.close)
        guarded = [await _guard(run.path) for _ in range(ROUNDS)]
        guardian = Guardian(run.path)
        stack.push_async_callback(guardian.close)
        await guardian.open()
        settings = (Sandboxing.AUTO, Sandboxing.OFF)
        confined, free = (Workspaces(run, Sandbox(setting, Path.home()), guardian) for setting in settings)
        return [
            *await _compare("llama.cpp", confined, free, llama, ROUNDS),
            *await _compare("scripted engine", confined, free, _scripted, QUICK_ROUNDS, bound=5),
            Figure("rules", tuple(_prepare(confined, llama) for _ in range(QUICK_ROUNDS)), "ms", at_most=5),
            Figure("start of the guardian, once for a daemon", tuple(guarded), "ms", at_most=10),
        ]


def main() -> bool:
    """Both engines, each in turns."""
    return show("sandbox (start until ready)", uvloop.run(_measure()))


if __name__ == "__main__":
    main()
