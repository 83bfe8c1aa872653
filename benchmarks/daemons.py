"""A daemon, or an engine alone, as a child process for the time of a benchmark."""

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

BIN = Path(sys.executable).parent
FAKE_ENGINE = [sys.executable, "-m", "modelrunner.testing.engine"]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def get(port: int, path: str, *, timeout: float = 5.0) -> tuple[int, bytes]:
    """One GET on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def post(port: int, path: str, document: object) -> bytes:
    """One POST of JSON on loopback; raises when it is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status >= 300:
        raise RuntimeError(f"POST {path}: {response.status} {body.decode(errors='replace')}")
    return body


def fake_llama_server(folder: Path) -> Path:
    """A `llama-server` that is the fake engine; returns what LLAMA_SERVER_PATH is to be."""
    program = folder / "llama-server"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(FAKE_ENGINE)} "$@"\n')
    program.chmod(0o755)
    return program


def environment(folder: Path, **extra: str) -> dict[str, str]:
    """The environment of a daemon whose files are all in one folder."""
    (folder / "logs").mkdir(mode=0o700, exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MODEL_RUNNER", "LLAMA_"))}
    return kept | {
        "MODELS_PATH": str(folder / "models"),
        "MODEL_RUNNER_LOG_DIR": str(folder / "logs"),
        "HOME": str(folder),
        **extra,
    }


@contextlib.contextmanager
def daemon(env: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """A daemon on a free port; yields its port and its process id."""
    process = subprocess.Popen(
        [BIN / "dmr", "serve", "--port", "0"], env=dict(env), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip().rpartition(" ")[2]
        yield urlsplit(address).port or 0, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@contextlib.contextmanager
def engine_alone(env: Mapping[str, str]) -> Iterator[int]:
    """The fake engine without a daemon in front; yields its port."""
    port = free_port()
    arguments = ["--model", "none", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*FAKE_ENGINE, *arguments], env=dict(env), stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(port)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def wait_until_ready(port: int, path: str = "/health") -> None:
    """Ask until the answer is 200; for at most half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if get(port, path)[0] == 200:
                return
        time.sleep(0.002)
    raise TimeoutError(f"nothing answers on port {port}")


def package(env: Mapping[str, str], port: int, gguf: Path, name: str) -> None:
    """Put a GGUF file into the daemon's store under a name."""
    subprocess.run(
        [BIN / "dmr", "package", "--gguf", gguf, name],
        env={**env, "MODEL_RUNNER_HOST": f"http://127.0.0.1:{port}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
