"""Cold start: from a request to its first token with nothing loaded, against the bare engine process.

The bare engine is started with the very command line that the daemon uses, and asked the moment it is ready.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.daemons import post
from benchmarks.figures import Figure, show
from modelrunner.engines.base import Address, EngineSettings, Launch, Options
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.daemon import running
from scripts.fetch_test_model import fetch

MODEL = "bench/smollm2"
ROUNDS = 7
QUESTION = {
    "messages": [{"role": "user", "content": "Say hello."}],
    "stream": True,
    "max_tokens": 4,
    "temperature": 0,
}


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def ask(connection: http.client.HTTPConnection, model: str = MODEL) -> float:
    """Ask, and read the whole answer; when its first text came, by `perf_counter`."""
    body = json.dumps({"model": model, **QUESTION})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(response.read().decode(errors="replace"))
    first = 0.0
    while line := response.readline():
        if not first and line.startswith(b"data: {"):
            delta = json.loads(line[6:])["choices"][0]["delta"]
            first = time.perf_counter() if delta.get("content") else 0.0
    connection.close()
    return first


def bare(launch: Launch, path: Path) -> float:
    started = time.perf_counter()
    process = subprocess.Popen(
        launch.argv, env={**os.environ, **launch.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            connection = _UnixConnection(path)
            try:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.002)
        return ask(_UnixConnection(path)) - started
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        path.unlink(missing_ok=True)


def _through(port: int) -> float:
    started = time.perf_counter()
    took = ask(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) - started
    post(port, "/engines/unload", {"all": True})
    return took


def bare_launch(gguf: Path, path: Path) -> Launch:
    """The command line of the engine, as the daemon would use it, on a socket at `path`."""
    engine = LlamaCpp(EngineSettings(server_path=None, search_path=os.environ["PATH"], extra_args=()))
    bundle = Bundle(path.parent, ModelConfig(format=Format.GGUF), (gguf,))
    return engine.launch(bundle, Mode.COMPLETION, Options(), Address(socket=path))


def main() -> bool:
    """Both, in turns."""
    gguf = fetch()
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        path = folder / "bare.sock"
        launch = bare_launch(gguf, path)
        with running(folder / "home") as runner:
            runner.must("package", "--gguf", gguf, MODEL)
            _through(runner.port), bare(launch, path)  # both once, so that every file is in memory
            pairs = [(_through(runner.port), bare(launch, path)) for _ in range(ROUNDS)]
    return show(
        "cold start (SmolLM2-135M, request to first token)",
        [
            Figure("through the daemon / bare engine", tuple(a / b for a, b in pairs), "x", at_most=1.25),
            Figure("  through the daemon", tuple(1000 * a for a, _ in pairs), "ms"),
            Figure("  bare engine process", tuple(1000 * b for _, b in pairs), "ms"),
        ],
    )


if __name__ == "__main__":
    main()
