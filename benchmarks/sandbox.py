"""What the sandbox costs: the start of an engine with it and without, in turns, in one run.

The engines are the embedded llama.cpp with the test model, started as the daemon does it, and the scripted
one, which starts so quickly that less of the difference is chance.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from benchmarks.cold_start import fetch_model
from benchmarks.figures import Figure, show
from modelrunner.engines.base import Address, EngineSettings, Launch, Options
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.models.bundle import Bundle
from modelrunner.models.config import ModelConfig
from modelrunner.models.kinds import Format, Mode
from modelrunner.runtime.cell import Cells
from modelrunner.runtime.confinement import Sandbox, Sandboxing
from modelrunner.runtime.guardian import Guardian
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.run_directory import RunDirectory

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


async def _start(cells: Cells, describe: _Describe) -> float:
    """Start an engine, and stop it; how long the start took, in milliseconds."""
    begun = time.perf_counter()
    cell = cells.open()
    address = Address(socket=cell.socket)
    launch = describe(address)
    instance = await Instance.start(
        launch, address, "engine", lambda _: None, lambda _: None, environ=os.environ, cell=cell
    )
    took = time.perf_counter() - begun
    await instance.stop()
    return 1000 * took


def _prepare(cells: Cells, describe: _Describe) -> float:
    """Do only what the daemon does before the fork, in milliseconds."""
    cell = cells.open()
    address = Address(socket=cell.socket)
    launch = describe(address)
    begun = time.perf_counter()
    confinement = cell.confine(launch, address)
    took = time.perf_counter() - begun
    if confinement is not None:
        confinement.close()
    cell.close()
    return 1000 * took


async def _compare(name: str, confined: Cells, free: Cells, describe: _Describe, rounds: int) -> list[Figure]:
    await _start(confined, describe), await _start(free, describe)  # once, so that every file is in memory
    pairs = [(await _start(confined, describe), await _start(free, describe)) for _ in range(rounds)]
    with_it, without = (tuple(sorted(times)) for times in zip(*pairs, strict=True))
    fastest = len(pairs) // 4 + 1  # what else the machine does makes starts slower, never faster
    cost = tuple(a - b for a, b in zip(with_it[:fastest], without[:fastest], strict=True))
    return [
        Figure(f"{name}: cost of the sandbox, in the fastest quarter", cost, "ms", at_most=5),
        Figure(f"  {name} with the sandbox", with_it, "ms"),
        Figure(f"  {name} without", without, "ms"),
    ]


async def _measure() -> list[Figure]:
    llama = _llama(fetch_model())
    async with AsyncExitStack() as stack:
        run = RunDirectory.create([Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmr-")))])
        stack.callback(run.close)
        guardian = Guardian(run.path)
        stack.push_async_callback(guardian.close)
        begun = time.perf_counter()
        await guardian.open()
        guarded = 1000 * (time.perf_counter() - begun)
        settings = (Sandboxing.AUTO, Sandboxing.OFF)
        confined, free = (Cells(run, Sandbox(setting, Path.home()), guardian) for setting in settings)
        return [
            *await _compare("llama.cpp", confined, free, llama, ROUNDS),
            *await _compare("scripted engine", confined, free, _scripted, QUICK_ROUNDS),
            Figure("rules", tuple(_prepare(confined, llama) for _ in range(QUICK_ROUNDS)), "ms", at_most=5),
            Figure("start of the guardian, once for a daemon", (guarded,), "ms", at_most=10),
        ]


def main() -> bool:
    """Both engines, each in turns."""
    return show("sandbox (start until ready)", uvloop.run(_measure()))


if __name__ == "__main__":
    main()
