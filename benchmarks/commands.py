"""Time of short commands, also with many models; what a daemon costs: its start, and memory when idle."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.daemons import get, wait_until_ready
from benchmarks.figures import Figure, show
from modelrunner.models.artifacts.packages import package_gguf
from modelrunner.oci.digest import Digest
from modelrunner.testing.daemon import BIN, running
from modelrunner.testing.gguf import tiny_gguf

ROUNDS = 25
STARTS = 7
MANY = 5000  # models in one store


def _times(command: Sequence[str | Path], env: dict[str, str]) -> tuple[float, ...]:
    """Milliseconds of each of many runs, from the start of the process to its end."""
    times: list[float] = []
    for _ in range(ROUNDS + 2):
        started = time.perf_counter()
        subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        times.append(1000 * (time.perf_counter() - started))
    return tuple(times[2:])  # the first ones write byte code and warm the disk


def _race(
    ours: Sequence[str | Path], theirs: Sequence[str | Path], env: dict[str, str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Milliseconds of two commands that take turns, so that both meet the same machine."""
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 2):
        pair = []
        for command in (ours, theirs):
            started = time.perf_counter()
            subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            pair.append(1000 * (time.perf_counter() - started))
        times.append((pair[0], pair[1]))
    mine, other = zip(*times[2:], strict=True)
    return mine, other


def _beside_ramalama(folder: Path, env: dict[str, str]) -> list[Figure]:
    """Both list one model, or none: what counts is the start."""
    theirs: list[str | Path] = [BIN / "ramalama", "--nocontainer", "--store", folder / "ramalama", "list"]
    mine, other = _race([BIN / "dmr", "list"], theirs, env)
    ratios = tuple(slow / quick for quick, slow in zip(mine, other, strict=True))
    return [
        Figure("  ramalama list", other, "ms"),
        Figure("dmr list: times as fast as ramalama list", ratios, "x", at_least=3),
    ]


def _first_answers(home: Path) -> tuple[float, ...]:
    """Milliseconds from the start of `dmr serve` to its first answer."""
    times: list[float] = []
    for _ in range(STARTS):
        started = time.perf_counter()
        with running(home) as runner:
            wait_until_ready(runner.port, "/models")
            times.append(1000 * (time.perf_counter() - started))
    return tuple(times)


def _answers(port: int, path: str) -> tuple[float, ...]:
    """Milliseconds of each of many answers, when the first has been given."""
    times: list[float] = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        status, body = get(port, path)
        times.append(1000 * (time.perf_counter() - started))
        assert status == 200
        assert len(json.loads(body)) == MANY
    return tuple(times[1:])


def _fill(store: Path, weights: Path) -> None:
    """Make a store of many models, each with a description of its own; written at once, not one by one."""
    template = "{% for message in messages %}{{ message.content }}{% endfor %}" * 40
    tiny_gguf(weights, **{"tokenizer.chat_template": template})
    blobs, manifests = store / "blobs" / "sha256", store / "manifests" / "sha256"
    blobs.mkdir(parents=True)
    manifests.mkdir(parents=True)
    entries = []
    for number in range(MANY):
        os.utime(weights, (number, number))  # a time of its own makes a model of its own
        draft = package_gguf(weights)
        manifest = draft.manifest_value
        if not number:
            (blobs / manifest.layers[0].digest.hex).write_bytes(weights.read_bytes())
        (blobs / manifest.config.digest.hex).write_bytes(draft.config_bytes)
        (manifests / Digest.of(manifest.raw).hex).write_bytes(manifest.raw)
        files = [str(blob.digest) for blob in manifest.blobs]
        name = f"docker.io/bench/model-{number}:latest"
        entries.append({"id": str(manifest.digest), "tags": [name], "files": files})
    (store / "layout.json").write_text('{"version": "1.0.0"}')
    (store / "models.json").write_text(json.dumps({"models": entries}, indent=2))


def _many(folder: Path) -> list[Figure]:
    """The same with many models in the store; warm, as the targets have it."""
    _fill(folder / "home" / ".docker" / "models", folder / "many.gguf")
    started = time.perf_counter()
    with running(folder / "home") as runner:
        wait_until_ready(runner.port, "/models")
        first = 1000 * (time.perf_counter() - started)
        lists = _times([BIN / "dmr", "list"], runner.environ)
        return [
            Figure(f"dmr list, {MANY} models", lists, "ms", at_most=100),
            Figure(f"GET /models, {MANY} models", _answers(runner.port, "/models"), "ms", at_most=100),
            Figure(f"  start to the first list, {MANY} models", (first,), "ms"),
            Figure(f"  resident memory, {MANY} models", (_resident(runner.pid),), "MB"),
        ]


def _resident(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def main() -> bool:
    """Commands against a daemon with a model in it, then the daemon itself."""
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        with running(folder / "home") as runner:
            runner.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf"), "bench/tiny")
            env = runner.environ
            get(runner.port, "/engines/status")
            resident = _resident(runner.pid)
            complete: list[str | Path] = [BIN / "dmr", "__complete", "run", "ti"]
            probe = _times([BIN / "docker-model", "docker-cli-plugin-metadata"], env)
            figures = [
                *(
                    Figure(f"dmr {name}", _times([BIN / "dmr", name], env), "ms", at_most=70)
                    for name in ("list", "ps", "status")
                ),
                Figure("docker-model list", _times([BIN / "docker-model", "list"], env), "ms", at_most=70),
                Figure("dmr --help", _times([BIN / "dmr", "--help"], env), "ms", at_most=60),
                Figure("completion of a model's name", _times(complete, env), "ms", at_most=100),
                *_beside_ramalama(folder, env),
                Figure("docker-model docker-cli-plugin-metadata", probe, "ms", at_most=30),
                Figure("  python -c pass", _times([sys.executable, "-c", "pass"], env), "ms"),
            ]
        figures += [
            Figure("daemon, start to first answer", _first_answers(folder / "home"), "ms", at_most=700),
            Figure("daemon, resident memory when idle", (resident,), "MB", at_most=80),
        ]
        (folder / "many").mkdir()
        figures += _many(folder / "many")
    return show("commands and the daemon itself", figures)


if __name__ == "__main__":
    main()
