"""A daemon under random load for a long time, and what it must not have lost afterwards: `make soak`.

Engines are the scripted one, which crashes, hangs, is slow and ignores signals at random; clients ask on
every path, leave early and come in crowds; somebody unloads, configures, pins and kills. What is wrong is
told at once, and in the end nothing may be left: no process, socket, file descriptor, lease, waiting request
or byte set aside. `--real` does the same with the embedded llama.cpp and the test model.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
import psutil

from benchmarks.soak_actors import Crowd, Report, engines_of, follow, meddle, watch
from modelrunner.testing.daemon import FAKE_ENGINE, Runner
from modelrunner.testing.gguf import tiny_gguf
from scripts.fetch_test_model import fetch

CHAT = "/v1/chat/completions"
MODELS = 10
CLIENTS = 12
MEDDLERS = 2
READERS = 3
BURST = 500
BURST_EVERY = 120.0  # seconds
WARM = 20.0  # seconds for the first answer of each model
REST = 60.0  # seconds for everything to come to rest in the end
MEMORY_MAY_GROW = 48 << 20  # bytes from the first tenth of the run to its end
DESCRIPTORS_MAY_GROW = 4

# What one start of an engine in 32 is like; all others behave.
_WHIMS = (
    '{"crash_at_load": "no luck today"}',
    '{"crash_at_load": "no luck later", "load_seconds": 0.3}',
    '{"load_seconds": 2}',
    '{"load_seconds": 0.5}',
    '{"ignore_sigterm": true}',
    '{"exit_after_seconds": 2}',
    '{"hang_at_load": true}',
)
_ENGINE = """#!/bin/sh
whim=$(($(od -An -N1 -tu1 /dev/urandom) % 32))
case $whim in
{cases}
esac
exec {engine} "$@"
"""


def whimsical_engine(folder: Path) -> Path:
    """Make a `llama-server` that behaves differently at each start."""
    folder.mkdir()
    program = folder / "llama-server"
    cases = "\n".join(f"{number}) export FAKE_ENGINE='{whim}' ;;" for number, whim in enumerate(_WHIMS))
    program.write_text(_ENGINE.format(cases=cases, engine=" ".join(FAKE_ENGINE)))
    program.chmod(0o755)
    return program


def store_models(runner: Runner, folder: Path, *, real: bool) -> list[str]:
    """Put models into the daemon's store; their names."""
    names = [f"ai/soak{number}" for number in range(MODELS)]
    for number, name in enumerate(names):
        if real:
            runner.must("package", "--gguf", fetch(), "--context-size", str(512 + number), name)
        else:
            path = tiny_gguf(folder / f"{number}.gguf", **{"general.name": name})
            runner.must("package", "--gguf", path, name)
    return names


async def burst(crowd: Crowd, names: list[str]) -> None:
    """Have a crowd of clients ask for all models at once; each is answered or sent away."""
    begun = time.monotonic()
    statuses = Counter(
        await asyncio.gather(
            *(crowd.ask(names[n % len(names)], "/v1/chat/completions") for n in range(BURST))
        )
    )
    print(f"  {BURST} clients at once: {dict(statuses)} in {time.monotonic() - begun:.1f} s", flush=True)


async def bursts(crowd: Crowd, names: list[str]) -> None:
    """Have crowds come now and then, the first one soon."""
    await asyncio.sleep(5)
    while True:
        await burst(crowd, names)
        await asyncio.sleep(BURST_EVERY)


async def come_to_rest(crowd: Crowd, names: list[str]) -> None:
    """Stop asking, unload everything, and wait until nothing is left."""
    await crowd.call("DELETE", "/engines/_configure?all=true")
    deadline = time.monotonic() + REST
    while time.monotonic() < deadline:
        await crowd.call("POST", "/engines/unload", {"all": True})
        if await crowd.call("GET", "/engines/ps") == [] == await crowd.call("GET", "/engines/queue"):
            break
        await asyncio.sleep(0.2)
    crowd.report.expect("models in memory", [], await crowd.call("GET", "/engines/ps"))
    crowd.report.expect("requests in line", [], await crowd.call("GET", "/engines/queue"))
    explanation = await crowd.call("GET", f"/engines/explain?model={names[0]}")
    crowd.report.expect("bytes or places set aside", [], explanation["loaded"])
    crowd.report.expect("line", [], explanation["waiting"])


async def soak(runner: Runner, names: list[str], seconds: float, seed: int) -> Report:
    """Run everything for so long; then let it come to rest."""
    report = Report()
    daemon = psutil.Process(runner.pid)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        crowd = Crowd(session, runner.url, random.Random(seed), report)
        for name in names:  # what is made once, such as a model's log, is not what leaks
            with contextlib.suppress(TimeoutError):  # an engine that hangs would do so for minutes
                async with asyncio.timeout(WARM):
                    await crowd.ask(name, CHAT)
        await come_to_rest(crowd, names)
    await asyncio.sleep(1)
    descriptors = daemon.num_fds()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        crowd = Crowd(session, runner.url, random.Random(seed), report)
        actors = [crowd.wander(names) for _ in range(CLIENTS)]
        actors += [meddle(crowd, names, runner.pid) for _ in range(MEDDLERS)]
        actors += [follow(crowd) for _ in range(READERS)]
        actors += [watch(crowd, daemon), bursts(crowd, names)]
        tasks = [asyncio.create_task(actor) for actor in actors]
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            report.wrong(f"an actor ended: {task.exception()!r}")
        await come_to_rest(crowd, names)
    await asyncio.sleep(1)  # connections of clients that have gone are closed
    report.expect("engines", [], [each.cmdline() for each in engines_of(runner.pid)])
    report.at_most("file descriptors", daemon.num_fds(), descriptors + DESCRIPTORS_MAY_GROW)
    report.at_most("memory", report.memory[-1], report.early_memory + MEMORY_MAY_GROW)
    return report


def main() -> int:
    """Run, print what was found, and fail if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true", help="the embedded llama.cpp and the test model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", dir="/tmp") as text:
        folder = Path(text)
        extra = {"XDG_RUNTIME_DIR": text, "DMR_PLACES": "3", "DMR_KEEP_ALIVE": "10s", "DMR_DRAIN": "5s"}
        if not options.real:
            extra["LLAMA_SERVER_PATH"] = str(whimsical_engine(folder / "bin"))
        runner = Runner(folder / "home", extra)
        runner.home.mkdir()
        runner.start()
        names = store_models(runner, folder, real=options.real)
        print(f"{options.seconds:.0f} seconds, seed {options.seed}, log in {runner.home}", flush=True)
        try:
            report = asyncio.run(soak(runner, names, options.seconds, options.seed))
        finally:
            engines = engines_of(runner.pid)
            code = runner.stop()
        report.expect("exit code", 0, code)
        report.expect(
            "engines of a daemon that has ended", [], [each for each in engines if each.is_running()]
        )
        report.expect("sockets", [], [str(path) for path in folder.rglob("*.sock")])
        report.expect("tracebacks", 0, runner.log.count("Traceback"))
        if report.problems:
            print("\n".join(runner.log.splitlines()[-200:]))
    print(report.summary())
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
