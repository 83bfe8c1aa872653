"""How long after the daemon sent it the first character of an answer is seen, on a pseudo-terminal."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.figures import Figure, show
from modelrunner.testing.daemon import BIN

ROUNDS = 25
PATIENCE = 30.0  # seconds


class _Daemon(BaseHTTPRequestHandler):
    """Answers each chat with one word of its own, and remembers when that was sent."""

    sent: dict[str, float]

    def do_GET(self) -> None:
        body = b"[]" if self.path.startswith("/engines") else b'{"id": "x", "created": 0, "config": null}'
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if "X-Preload-Only" in self.headers:
            return
        time.sleep(0.4)  # by then the other side only waits, as it does while a prompt is read
        word = f"Answer{len(self.sent)}."
        event = {"choices": [{"delta": {"content": word}, "finish_reason": "stop"}]}
        data = f"data: {json.dumps(event)}\n\n".encode()
        self.sent[word] = time.perf_counter()
        self.wfile.write(data)

    def handle(self) -> None:
        with suppress(OSError):  # a program that was ended no longer listens
            super().handle()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving() -> Iterator[tuple[str, dict[str, float]]]:
    sent: dict[str, float] = {}
    handler = type("Handler", (_Daemon,), {"sent": sent})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()
            thread.join()


class _Terminal:
    """`dmr` on a pseudo-terminal."""

    def __init__(self, environ: dict[str, str], *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._process = subprocess.Popen(
            [BIN / "dmr", *arguments],
            env=environ,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._seen = b""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def when(self, text: str) -> float:
        """Wait until a text is seen; when that was."""
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in self._seen:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{text!r} did not appear in {self._seen[-500:]!r}")
            self._seen += os.read(self._master, 65536)
        return time.perf_counter()

    def forget(self) -> None:
        """What was seen so far has been seen."""
        self._seen = b""

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def _chat(url: str, sent: dict[str, float], environ: dict[str, str], *flags: str) -> tuple[float, ...]:
    """Milliseconds of each answer of one chat."""
    terminal = _Terminal({**environ, "MODEL_RUNNER_HOST": url}, "run", *flags, "m")
    times: list[float] = []
    try:
        for _ in range(ROUNDS + 1):
            terminal.when("for help)")
            terminal.forget()
            word = f"Answer{len(sent)}."
            terminal.type("hello\r")
            times.append(1000 * (terminal.when(word) - sent[word]))
    finally:
        terminal.close()
    return tuple(times[1:])


def _single(url: str, sent: dict[str, float], environ: dict[str, str], *flags: str) -> tuple[float, ...]:
    """Milliseconds of the answer of each of many commands."""
    times: list[float] = []
    for _ in range(ROUNDS + 1):
        word = f"Answer{len(sent)}."
        terminal = _Terminal({**environ, "MODEL_RUNNER_HOST": url}, "run", *flags, "m", "hello")
        try:
            times.append(1000 * (terminal.when(word) - sent[word]))
        finally:
            terminal.close()
    return tuple(times[1:])


def main() -> bool:
    """Measure chats and single answers, rendered and plain."""
    with tempfile.TemporaryDirectory() as folder, _serving() as (url, sent):
        home = Path(folder)
        environ = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        figures = [
            Figure("a chat, rendered", _chat(url, sent, environ), "ms", at_most=20),
            Figure("a chat, plain", _chat(url, sent, environ, "--color", "no"), "ms", at_most=20),
            Figure("one answer, rendered", _single(url, sent, environ), "ms", at_most=20),
            Figure("one answer, plain", _single(url, sent, environ, "--color", "no"), "ms", at_most=20),
        ]
    return show("first character of an answer, after the daemon sent it", figures)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
