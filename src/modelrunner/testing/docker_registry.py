"""Starts the real registry server, `docker-registry`, for tests: what the protocol means in practice."""

import json
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROGRAM = "docker-registry"

_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")
_START_SECONDS = 20
_STOP_SECONDS = 5


@contextmanager
def docker_registry(root: Path, *, users: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a registry that keeps its blobs under `root`; yield its address, `127.0.0.1:<port>`.

    With `users`, names and bcrypt hashes of passwords, everything needs basic authentication.

    Raises:
        FileNotFoundError: the program is not installed (Debian: `apt-get install docker-registry`).
        RuntimeError: it did not start; the message has what it said.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise FileNotFoundError(f"`{PROGRAM}` is not installed")
    config = root / "config.yml"
    config.write_text(json.dumps(_configuration(root, users)))  # JSON is YAML
    process = subprocess.Popen(
        [program, "serve", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = _Log(process)
    try:
        yield log.address()
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


class _Log:
    """Reads what the server says, so that it never waits for a reader, until it has said its address."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._tail: deque[str] = deque(maxlen=20)
        self._address = ""
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._read, name=PROGRAM, daemon=True)
        self._thread.start()

    def address(self) -> str:
        self._settled.wait(_START_SECONDS)
        if not self._address:
            raise RuntimeError(f"`{PROGRAM}` does not start: {''.join(self._tail)}")
        return self._address

    def close(self) -> None:
        self._thread.join()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self._tail.append(line)
            if found := _LISTENING.search(line):
                self._address = found[1]
                self._settled.set()
        self._settled.set()


def _configuration(root: Path, users: Mapping[str, str] | None) -> dict[str, object]:
    storage = root / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    configuration: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0"},
    }
    if users is not None:
        table = root / "htpasswd"
        table.write_text("".join(f"{name}:{hashed}\n" for name, hashed in users.items()))
        configuration["auth"] = {"htpasswd": {"realm": "test", "path": str(table)}}
    return configuration
