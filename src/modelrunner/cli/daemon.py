"""Starts the daemon when a command finds none; two commands at once start one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelrunner.cli.output import is_terminal, note
from modelrunner.client import Address
from modelrunner.errors import DaemonUnreachable, StoreError

LOG_NAME = "daemon-start.log"
_START_PATIENCE = 30.0  # seconds; a start takes less than one
_CONNECT_PATIENCE, _ANSWER_PATIENCE = 1.0, 5.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2  # seconds
_LAST_WORDS = 2048  # bytes
_LAST_LINES = 6


def ensure_running(address: Address, log_dir: Path, environ: Mapping[str, str]) -> None:
    """Start `dmr serve` in a session of its own, and return once it answers.

    Whoever holds the lock starts; the others wait for it and then find the daemon running.

    Raises:
        DaemonUnreachable: it ended at once, with its last words, or did not answer in time.
        StoreError: its log cannot be written.
    """
    with _lock(log_dir):
        if _listens(address):
            return
        if is_terminal(sys.stderr):
            note("Starting the Model Runner daemon...")
        log = log_dir / LOG_NAME
        _wait(_spawn(log, environ), address, log)


def _spawn(log: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    environment = {
        name: value for name, value in environ.items() if not name.startswith("DOCKER_CLI_PLUGIN_")
    }
    with _opened(log) as output:
        return subprocess.Popen(
            # -P: no module comes from the folder that we happen to be called in.
            [sys.executable, "-P", "-m", "modelrunner", "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            close_fds=True,
        )


def _wait(process: subprocess.Popen[bytes], address: Address, log: Path) -> None:
    """Poll until the daemon answers; each pause is half as long again as the one before."""
    deadline = time.monotonic() + _START_PATIENCE
    pause = _FIRST_PAUSE
    while not _answers(address):
        ended = process.poll() is not None
        # The one that ended may have lost a race against a daemon that somebody else started.
        if ended and _listens(address):
            return
        if ended or time.monotonic() > deadline:
            what = "ended at once" if ended else f"did not answer within {_START_PATIENCE:.0f} seconds"
            raise DaemonUnreachable(
                f"the daemon was started but {what}{_last_words(log)}",
                hint=f"its whole log is in `{log}`; `dmr serve` runs it in the foreground",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    process.returncode = 0  # it lives on without us; without this, Python warns of an unwatched child


def _listens(address: Address) -> bool:
    """Whether somebody takes connections at the address."""
    with _socket(address) as probe:
        return _reaches(probe, address)


def _answers(address: Address) -> bool:
    """Whether somebody answers there: a daemon listens before it is ready, and may still fail in between."""
    with _socket(address) as probe:
        if not _reaches(probe, address):
            return False
        try:
            probe.settimeout(_ANSWER_PATIENCE)
            probe.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return probe.recv(16).startswith(b"HTTP/")
        except OSError:
            return False


def _socket(address: Address) -> socket.socket:
    if address.socket is not None:
        return socket.socket(socket.AF_UNIX)
    return socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)


def _reaches(probe: socket.socket, address: Address) -> bool:
    probe.settimeout(_CONNECT_PATIENCE)
    try:
        probe.connect(address.socket or (address.host, address.port))
    except OSError:
        return False
    return True


def _last_words(log: Path) -> str:
    try:
        tail = log.read_bytes()[-_LAST_WORDS:].decode(errors="replace")
    except OSError:
        return ""
    lines = [line for line in tail.splitlines() if line.strip()][-_LAST_LINES:]
    return "".join(f"\n  {line}" for line in lines)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open the log anew: what an earlier start said explains nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as exc:
        raise StoreError(
            f"the daemon's log cannot be written: `{path}` ({exc.strerror})", hint="set MODEL_RUNNER_LOG_DIR"
        ) from exc
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the right to start a daemon; waits for whoever holds it. The lock goes with its process."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with _opened(folder / "daemon-start.lock") as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
