"""Moving a large model: pull, push and package against other programs, and against what this machine can do.

A loopback registry, one blob of `TRANSFER_BENCH_SIZE` (1GiB), `TRANSFER_BENCH_ROUNDS` (3) of everything, one
after the other in turn. `TMPDIR` says where; it needs six times the size.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, show
from benchmarks.processes import Ended, io, measured, peak, reads_in
from modelrunner.oci.chunks import MOST_LANES, chunk_size
from modelrunner.testing.daemon import BIN, Runner, running
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.proxy import fault_proxy
from modelrunner.units import format_bytes, parse_bytes

SIZE = parse_bytes(os.environ.get("TRANSFER_BENCH_SIZE", "1GiB"))
ROUNDS = int(os.environ.get("TRANSFER_BENCH_ROUNDS", "3"))
_PIECE = 1 << 20
_MB = 1e6
_PLAIN = ("--insecure-policy", "copy", "--src-tls-verify=false")


class Times(NamedTuple):
    """Seconds until a program ended, and until what it wrote was on the disk, which only ours waits for."""

    ended: float
    on_disk: float


@dataclass(slots=True)
class Bench:
    """Where everything is, and what was measured: by name, a value for each round."""

    folder: Path
    registry: str
    file: Path
    layer: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model in the registry."""
        return f"{self.registry}/bench/model:v1"

    def note(self, what: str, value: float) -> float:
        """Keep a value."""
        self.values.setdefault(what, []).append(value)
        return value

    def figure(
        self, what: str, unit: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> Figure:
        """All values of one kind."""
        return Figure(what, tuple(self.values[what]), unit, at_most, at_least)

    def runs(self, *command: str | Path, env: dict[str, str] | None = None) -> Ended:
        """Run a program when the disk has nothing else to do."""
        os.sync()
        return measured(command, env or dict(os.environ), self.folder / "command.log")

    def race(self, *command: str | Path, env: dict[str, str] | None = None) -> "Times":
        """Run a program that fetches the blob, and wait for the disk."""
        seconds = self.runs(*command, env=env).seconds
        started = time.perf_counter()
        os.sync()
        return Times(seconds, seconds + time.perf_counter() - started)


def _hash_speed() -> float:
    """Bytes per second of SHA-256 on one core, of bytes in memory."""
    block, state = bytes(_PIECE), hashlib.sha256()
    started = time.perf_counter()
    for _ in range(SIZE // _PIECE):
        state.update(block)
    return SIZE / (time.perf_counter() - started)


def _disk_speed(path: Path) -> float:
    """Bytes per second of writing a file until it is on the disk."""
    block = os.urandom(_PIECE)
    os.sync()
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(SIZE // _PIECE):
            file.write(block)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return SIZE / seconds


def _make_model(path: Path) -> Path:
    """Write a GGUF file of about the size, of which no two mebibytes are the same."""
    tiny_gguf(path)
    block = os.urandom(_PIECE - 8)
    with path.open("ab") as file:
        for number in range(SIZE // _PIECE):
            file.write(number.to_bytes(8, "little") + block)
    return path


@contextmanager
def _fresh(bench: Bench) -> Iterator[Runner]:
    """A daemon with an empty store, whose memory has not been used for anything else."""
    home = bench.folder / "home"
    blobs = home / ".docker" / "models" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    try:
        with running(home) as runner:
            yield runner
    finally:
        shutil.rmtree(home)


def _pull(bench: Bench) -> Times:
    """Pull with `dmr`, and see what it took."""
    with _fresh(bench) as runner, reads_in(runner.home / ".docker/models/blobs/sha256") as reads:
        times = bench.race(BIN / "dmr", "pull", bench.name, env=runner.environ)
        bench.note(
            "pull: reads of the blob after it was written", reads.count(bench.layer.removeprefix("sha256:"))
        )
        bench.note("pull: memory of the daemon", peak(runner.pid) / _MB)
        _push(bench, runner)
    return times


def _push(bench: Bench, runner: Runner) -> None:
    """Push what was pulled to a registry that has nothing."""
    root = bench.folder / "second"
    root.mkdir()
    runner.stop()
    runner.start()  # so that the memory is that of a push
    with docker_registry(root) as address:
        runner.must("tag", bench.name, f"{address}/bench/model:v1")
        ended = bench.runs(BIN / "dmr", "push", f"{address}/bench/model:v1", env=runner.environ)
        bench.note("push", ended.seconds)
        bench.note("push: memory of the daemon", peak(runner.pid) / _MB)
    shutil.rmtree(root)


def _skopeo(bench: Bench) -> Times:
    target = bench.folder / "skopeo"
    try:
        return bench.race("skopeo", *_PLAIN, f"docker://{bench.name}", f"oci:{target}:v1")
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _ramalama(bench: Bench) -> Times:
    """RamaLama has no way to an OCI artifact without a container engine: it fetches the blob by its URL."""
    store = bench.folder / "ramalama"
    url = f"http://{bench.registry}/v2/bench/model/blobs/{bench.layer}"
    env = {"HOME": str(bench.folder), "PATH": os.environ["PATH"], "RAMALAMA_CONTAINER_ENGINE": ""}
    try:
        return bench.race(BIN / "ramalama", "--quiet", "--store", store, "pull", url, env=env)
    finally:
        shutil.rmtree(store, ignore_errors=True)


def _bare(bench: Bench) -> Times:
    """Receive, write and hash the blob, and nothing else."""
    target = bench.folder / "bare"
    url = f"http://{bench.registry}/v2/bench/model/blobs/{bench.layer}"
    size = str(bench.file.stat().st_size)
    try:
        return bench.race(sys.executable, "-m", "benchmarks.bare_pull", url, size, target)
    finally:
        target.unlink(missing_ok=True)


def _round(bench: Bench) -> None:
    """Everything once; ratios are of neighbours, as the machine's mood changes."""
    slower = min(_hash_speed(), _disk_speed(bench.folder / "disk"))
    bare, ours, skopeo, ramalama = _bare(bench), _pull(bench), _skopeo(bench), _ramalama(bench)
    bench.note("pull: speed, as a share of only receiving, writing and hashing", bare.ended / ours.ended)
    bench.note("pull, as a share of the slower of hash and disk", SIZE / ours.ended / slower)
    bench.note("pull: times as fast as skopeo copy to a layout", skopeo.ended / ours.ended)
    bench.note("  the same, until it is on the disk", skopeo.on_disk / ours.on_disk)
    bench.note("pull: times as fast as ramalama, by the blob's URL", ramalama.ended / ours.ended)
    bench.note("  that one too, until it is on the disk", ramalama.on_disk / ours.on_disk)
    bench.note("slower of one core's SHA-256 and disk write", slower / _MB)
    bench.note("pull: speed", SIZE / ours.ended / _MB)
    bench.note("push: speed", SIZE / bench.values["push"][-1] / _MB)


def _resume(bench: Bench) -> None:
    """Kill the daemon at half of the blob, and count what the next one fetches that had been fetched."""
    with _fresh(bench) as runner, fault_proxy(bench.registry) as proxy:
        name = f"{proxy.address}/bench/model:v1"
        first = subprocess.Popen(
            [BIN / "dmr", "pull", name],
            env=runner.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        proxy.wait_until(lambda: proxy.fetched >= SIZE // 2)
        first.kill()
        runner.stop(signal.SIGKILL)
        first.wait()
        proxy.wait_until_idle()
        runner.start()
        runner.must("pull", name)
        again = proxy.fetched - sum(
            path.stat().st_size for path in (runner.home / ".docker/models/blobs/sha256").iterdir()
        )
        # The configuration is read before anything is fetched, by each pull; it has a few hundred bytes.
        bench.note("resume after kill -9 at half: fetched again", max(again, 0) / _MB)


def _package(bench: Bench) -> None:
    """Package into an empty store: with a copy, and sharing the file."""
    with _fresh(bench) as runner:
        before = io(runner.pid)["rchar"]
        ended = bench.runs(BIN / "dmr", "package", "--gguf", bench.file, "bench/m", env=runner.environ)
        read = ended.read + io(runner.pid)["rchar"] - before
        bench.note("package: bytes read, for each of the file", read / SIZE)
        bench.note("package: memory of the CLI", ended.peak / _MB)
        bench.note("package: memory of the daemon", peak(runner.pid) / _MB)
        bench.note("package: speed", SIZE / ended.seconds / _MB)
    with _fresh(bench) as runner:
        before = io(runner.pid)["rchar"]
        command = (BIN / "dmr", "package", "--gguf", bench.file, "--link", "bench/m")
        ended = bench.runs(*command, env=runner.environ)
        read = ended.read + io(runner.pid)["rchar"] - before
        bench.note("package --link: bytes read, for each of the file", read / SIZE)
        stored = runner.home / ".docker/models/blobs/sha256" / bench.layer.removeprefix("sha256:")
        bench.note("package --link: the stored blob is the file itself", float(stored.samefile(bench.file)))
        bench.note("package --link: speed", SIZE / ended.seconds / _MB)


def _publish(bench: Bench) -> None:
    """Package straight into the registry."""
    with _fresh(bench) as runner:
        ended = bench.runs(
            BIN / "dmr", "package", "--gguf", bench.file, "--push", bench.name, env=runner.environ
        )
        bench.note("package --push: memory of the CLI", ended.peak / _MB)
        bench.note("package --push: bytes read by the CLI, for each of the file", ended.read / SIZE)


def _figures(bench: Bench) -> list[Figure]:
    in_flight = MOST_LANES * chunk_size(MOST_LANES) / _MB
    made: list[tuple[str, str, float | None, float | None]] = [
        ("pull: times as fast as skopeo copy to a layout", "x", 1.5, None),
        ("  the same, until it is on the disk", "x", None, None),
        ("pull: times as fast as ramalama, by the blob's URL", "x", 1.5, None),
        ("  that one too, until it is on the disk", "x", None, None),
        ("pull, as a share of the slower of hash and disk", "x", 0.8, None),
        ("pull: speed, as a share of only receiving, writing and hashing", "x", 0.8, None),
        ("pull: reads of the blob after it was written", "", None, 0),
        ("resume after kill -9 at half: fetched again", "MB", None, in_flight),
        ("package: bytes read, for each of the file", "x", None, 1.05),
        ("package --link: bytes read, for each of the file", "x", None, 1.05),
        ("package --link: the stored blob is the file itself", "", 1, None),
        ("pull: memory of the daemon", "MB", None, 150),
        ("push: memory of the daemon", "MB", None, 150),
        ("package: memory of the CLI", "MB", None, 150),
        ("package: memory of the daemon", "MB", None, 150),
        ("package --push: memory of the CLI", "MB", None, 150),
        ("package --push: bytes read by the CLI, for each of the file", "x", None, None),
        ("slower of one core's SHA-256 and disk write", "MB/s", None, None),
        ("pull: speed", "MB/s", None, None),
        ("push: speed", "MB/s", None, None),
        ("package: speed", "MB/s", None, None),
        ("package --link: speed", "MB/s", None, None),
    ]
    return [bench.figure(name, unit, at_least=low, at_most=high) for name, unit, low, high in made]


def main() -> bool:
    """Publish a model once, then move it about."""
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < 7 * SIZE:
            print(f"transfer: not enough room in `{folder}` for {format_bytes(7 * SIZE)}; set TMPDIR")
            return False
        (folder / "model").mkdir()
        (folder / "first").mkdir()
        file = _make_model(folder / "model" / "model.gguf")
        with docker_registry(folder / "first") as registry:
            bench = Bench(folder, registry, file)
            with file.open("rb") as stream:
                bench.layer = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
            steps: tuple[Callable[[Bench], None], ...] = (_round, _resume, _package)
            _publish(bench)
            for number in range(ROUNDS):
                for step in steps:
                    step(bench)
                print(f"transfer: round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        return show(f"transfers of {format_bytes(SIZE)}, {ROUNDS} rounds", _figures(bench))


if __name__ == "__main__":
    main()
