"""The scheduler: what a decision takes, what its judgement is worth, and what a swap costs.

Waits are simulated seconds of the same traces under two policies; a swap is measured against the start of the
bare engine process, with two copies of a real model of which one fits.
"""

import http.client
import tempfile
import time
from pathlib import Path

from benchmarks.cold_start import ask, bare, bare_launch
from benchmarks.figures import Figure, show
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.history import BY_VALUE, LEAST_RECENTLY_USED, Judge
from modelrunner.runtime.scheduling.lease import Loaded
from modelrunner.runtime.scheduling.ledger import ONE_PLACE, PLACE
from modelrunner.runtime.scheduling.plan import Key, Limits
from modelrunner.runtime.scheduling.request_queue import Caller, Terms
from modelrunner.runtime.scheduling.scheduler import Scheduler
from modelrunner.runtime.scheduling.simulation import Machine, Outcome, simulate
from modelrunner.runtime.scheduling.trace import SYNTHETIC
from modelrunner.testing.daemon import running
from modelrunner.testing.world import Habits, Process
from scripts.fetch_test_model import fetch

GIB = 1 << 30
MODELS, QUEUED = 100, 1000
SEEDS = range(8)
ROUNDS = 7


def _decisions() -> Figure:
    """Decide with a hundred models, half of them loaded and in use, and a thousand requests in line."""
    keys = [Key("llama.cpp", Digest.of(b"%d" % number), Mode.COMPLETION) for number in range(MODELS)]
    scheduler: Scheduler[Process] = Scheduler(
        Limits({PLACE: MODELS, "ram": MODELS * GIB // 2}), Habits(dict.fromkeys(keys, 300.0))
    )
    here = keys[: MODELS // 2]
    for key in here:
        scheduler.join(key, 0.0)
    _settle(scheduler, 0.0)
    for key in keys:
        scheduler.estimated(key, {**ONE_PLACE, "ram": GIB})
    for loaded in _settle(scheduler, 0.0):
        scheduler.ready(loaded, Process(slots=1), 1.0)
    _settle(scheduler, 1.0)
    for number in range(QUEUED):
        scheduler.join(keys[number % MODELS], 1.0, Terms(Caller(str(number % 7))))
    _settle(scheduler, 1.0)
    for key in keys:
        scheduler.estimated(key, {**ONE_PLACE, "ram": GIB})
    assert len(scheduler.residents) == len(here)
    assert len(scheduler.queue) == QUEUED
    values = []
    for number in range(300):
        now = 2.0 + number / 1000
        begun = time.perf_counter()
        _settle(scheduler, now)
        values.append(1000 * (time.perf_counter() - begun))
    return Figure(f"decision, {MODELS} models and {QUEUED} queued requests", tuple(values), "ms", at_most=1.0)


def _settle(scheduler: Scheduler[Process], now: float) -> list[Loaded[Process]]:
    return list(scheduler.settle(now, lambda: {"ram": MODELS * GIB}).start)


def _waits(name: str) -> list[Figure]:
    """Compare the two policies on made-up traces for three models, of which two fit."""

    def each(judge: Judge) -> list[Outcome]:
        machine = Machine(26 * GIB, places=2)
        return [
            simulate(SYNTHETIC[name](models=3, requests=2000, seed=seed), machine, judge) for seed in SEEDS
        ]

    ours, plain = each(BY_VALUE), each(LEAST_RECENTLY_USED)
    pairs = list(zip(ours, plain, strict=True))
    return [
        Figure(
            f"`{name}`: p99 wait / least recently used",
            tuple(one.wait(0.99) / other.wait(0.99) for one, other in pairs),
            "x",
            at_most=1.0,
        ),
        Figure(f"`{name}`: mean wait / same", tuple(a.mean_wait / b.mean_wait for a, b in pairs), "x"),
        Figure(f"  `{name}`: p99 wait", tuple(one.wait(0.99) for one in ours), "s"),
        Figure(f"  `{name}`: p99 wait, least recently used", tuple(one.wait(0.99) for one in plain), "s"),
    ]


def _swaps() -> list[Figure]:
    """Ask for two models in turn, of which one has a place."""
    gguf = fetch()
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        path = folder / "bare.sock"
        launch = bare_launch(gguf, path)
        with running(folder / "home", DMR_PLACES="1") as runner:
            runner.must("package", "--gguf", gguf, "bench/one")
            runner.must("package", "--from", "bench/one", "--context-size", "4096", "bench/two")

            def swap() -> list[float]:
                return [_through(runner.port, model) for model in ("bench/one", "bench/two")]

            swap(), bare(launch, path)  # once, so that every file is in memory
            pairs = [(took, bare(launch, path)) for _ in range(ROUNDS) for took in swap()]
    return [
        Figure(
            "swap, request to first token / bare engine's start",
            tuple(a / b for a, b in pairs),
            "x",
            at_most=1.25,
        ),
        Figure("  swap", tuple(1000 * a for a, _ in pairs), "ms"),
        Figure("  bare engine process", tuple(1000 * b for _, b in pairs), "ms"),
    ]


def _through(port: int, model: str) -> float:
    begun = time.perf_counter()
    return ask(http.client.HTTPConnection("127.0.0.1", port, timeout=60), model) - begun


def main() -> bool:
    """Decisions, judgement, swaps."""
    figures = [_decisions(), *(figure for name in SYNTHETIC for figure in _waits(name)), *_swaps()]
    return show("scheduler", figures)


if __name__ == "__main__":
    main()
