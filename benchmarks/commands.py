"""Wall time of short commands, and what a daemon costs: time to its first answer, and memory when idle."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.daemons import get, wait_until_ready
from benchmarks.figures import Figure, show
from modelrunner.testing.daemon import BIN, running
from modelrunner.testing.gguf import tiny_gguf

ROUNDS = 25
STARTS = 7


def _times(command: Sequence[str | Path], env: dict[str, str]) -> tuple[float, ...]:
    """Milliseconds of each of many runs, from the start of the process to its end."""
    times: list[float] = []
    for _ in range(ROUNDS + 2):
        started = time.perf_counter()
        subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        times.append(1000 * (time.perf_counter() - started))
    return tuple(times[2:])  # the first ones write byte code and warm the disk


def _first_answers(home: Path) -> tuple[float, ...]:
    """Milliseconds from the start of `dmr serve` to its first answer."""
    times: list[float] = []
    for _ in range(STARTS):
        started = time.perf_counter()
        with running(home) as runner:
            wait_until_ready(runner.port, "/models")
            times.append(1000 * (time.perf_counter() - started))
    return tuple(times)


def main() -> bool:
    """Commands against a daemon with a model in it, then the daemon itself."""
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        with running(folder / "home") as runner:
            runner.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf"), "bench/tiny")
            env = runner.environ
            get(runner.port, "/engines/status")
            resident = psutil.Process(runner.pid).memory_info().rss / 1e6
            probe = _times([BIN / "docker-model", "docker-cli-plugin-metadata"], env)
            figures = [
                Figure("dmr list", _times([BIN / "dmr", "list"], env), "ms", at_most=80),
                Figure("docker-model list", _times([BIN / "docker-model", "list"], env), "ms", at_most=80),
                Figure("dmr --help", _times([BIN / "dmr", "--help"], env), "ms", at_most=80),
                Figure("docker-model docker-cli-plugin-metadata", probe, "ms", at_most=30),
                Figure("  python -c pass", _times([sys.executable, "-c", "pass"], env), "ms"),
            ]
        figures += [
            Figure("daemon, start to first answer", _first_answers(folder / "home"), "ms", at_most=700),
            Figure("daemon, resident memory when idle", (resident,), "MB", at_most=80),
        ]
    return show("commands and the daemon itself", figures)


if __name__ == "__main__":
    main()
