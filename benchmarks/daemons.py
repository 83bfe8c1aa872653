"""An engine without a daemon in front, and small questions to either."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

from modelrunner.testing.daemon import FAKE_ENGINE


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


def awaited(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until the server of this process says that it is ready; raises when it has ended."""
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"the engine exited with {process.returncode}")


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


@contextlib.contextmanager
def engine_alone() -> Iterator[int]:
    """The fake engine without a daemon in front; yields its port."""
    port = free_port()
    arguments = ["--model", "none", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*FAKE_ENGINE, *arguments], stderr=subprocess.DEVNULL)
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
