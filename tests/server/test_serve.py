"""The daemon's process: where it listens, what signals do, and what it leaves behind."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from modelrunner.testing.daemon import fake_llama_server

PROGRAM = (
    "import os, sys\n"
    "from modelrunner.errors import RunnerError\n"
    "from modelrunner.server.serve import run\n"
    "from modelrunner.settings.loading import load\n"
    "try:\n"
    "    sys.exit(run(load({}, os.environ), os.environ))\n"
    "except RunnerError as exc:\n"
    "    sys.exit(f'error: {exc}\\nhint: {exc.hint}')\n"
)
CHAT = "/v1/chat/completions"


class Process:
    """A daemon that was started as a program."""

    def __init__(self, folder: Path, **variables: str) -> None:
        environ = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "MODELS_PATH": str(folder / "models"),
            "MODEL_RUNNER_PORT": "0",
            "LLAMA_SERVER_PATH": str(fake_llama_server(folder / "bin")),
            **variables,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={name: value for name, value in environ.items() if value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def says(self, words: str) -> None:
        """Read its log until it says something."""
        assert self.process.stderr is not None
        while words not in self.process.stderr.readline():
            pass

    def port(self) -> int:
        return int(self.line().rpartition(":")[2])

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and wait; the exit code and what was said on stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


@contextlib.contextmanager
def started(folder: Path, **variables: str) -> Iterator[Process]:
    daemon = Process(folder, **variables)
    try:
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.communicate()


def get(port: int, path: str, method: str = "GET", body: object = None) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        reply = connection.getresponse()
        return reply.status, reply.read()


def put_model(port: int, folder: Path) -> None:
    """Package a model, load it, and name it."""
    import asyncio

    from modelrunner.models.artifacts.packages import package_gguf
    from modelrunner.oci.layout import archive
    from modelrunner.oci.reference import parse_reference
    from modelrunner.testing.gguf import tiny_gguf

    async def pack() -> tuple[bytes, str]:
        draft = package_gguf(tiny_gguf(folder / "tiny.gguf"))
        manifest = await draft.manifest(parse_reference("docker.io/ai/tiny:latest"))
        return b"".join([piece async for piece in archive(draft, manifest)]), str(manifest.digest)

    data, model_id = asyncio.run(pack())
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", "/models/load", data)
        assert 200 == connection.getresponse().status
    assert 201 == get(port, f"/models/{model_id}/tag?repo=ai/tiny&tag=latest", "POST")[0]


def test_it_answers_where_it_says_and_ends_well(tmp_path: Path) -> None:
    """One line on stdout, the same in the file; a signal ends it with 0 and nothing is left behind."""
    with started(tmp_path, DMR_READY_FILE=str(tmp_path / "ready")) as daemon:
        line = daemon.line()
        port = int(line.rpartition(":")[2])

        assert f"listening on http://127.0.0.1:{port}" == line
        assert f"http://127.0.0.1:{port}\n" == (tmp_path / "ready").read_text()
        assert 200 == get(port, "/version")[0]
        assert 0 == daemon.end()[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_engines_end_with_the_daemon(
    tmp_path: Path, number: signal.Signals, engines_of: Callable[[int], list[psutil.Process]]
) -> None:
    """Whichever signal it was, no process of an engine and no socket is left."""
    with started(tmp_path, TMPDIR=str(tmp_path)) as daemon:
        port = daemon.port()
        put_model(port, tmp_path)
        message = {"role": "user", "content": "hi"}
        assert 200 == get(port, CHAT, "POST", {"model": "ai/tiny", "messages": [message]})[0]
        [engine] = engines_of(daemon.process.pid)
        [guardian] = [
            child
            for child in psutil.Process(daemon.process.pid).children()
            if child != engine and os.getpgid(child.pid) != os.getpgid(daemon.process.pid)
        ]

        assert 0 == daemon.end(number)[0]
        assert not engine.is_running()
        assert not guardian.is_running()


def test_a_second_signal_hurries(tmp_path: Path) -> None:
    """A stream that would be waited for is ended at once."""
    with started(tmp_path, DMR_DRAIN="5m") as daemon:
        port = daemon.port()
        put_model(port, tmp_path)
        body = {
            "model": "ai/tiny",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "fake": {"tokens": 100_000, "tokens_per_second": 10},
        }
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("POST", CHAT, json.dumps(body))
            reply = connection.getresponse()
            reply.readline()
            daemon.process.send_signal(signal.SIGTERM)
            daemon.says("stopping")
            code, _ = daemon.end()
            rest = reply.read()

    assert 0 == code
    assert b"shutting_down" in rest


def test_a_taken_port_names_the_other_model_runner(tmp_path: Path) -> None:
    """The version and the process, and a way out; the exit code is not 0."""
    with started(tmp_path) as first:
        port = first.port()
        with started(tmp_path, MODEL_RUNNER_PORT=str(port)) as second:
            _, err = second.process.communicate(timeout=30)

        assert second.process.returncode != 0
        assert f"port {port} is in use by another model runner" in err
        assert f"process {first.process.pid}" in err
        assert "--port" in err


def test_a_port_taken_by_another_program_is_called_so(tmp_path: Path) -> None:
    """It is not taken for one of ours, and not waited for."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        started(tmp_path, MODEL_RUNNER_PORT=str(other.getsockname()[1])) as daemon,
    ):
        _, err = daemon.process.communicate(timeout=30)

    assert daemon.process.returncode != 0
    assert "is in use by another program" in err


def test_a_socket_is_its_owners_alone(tmp_path: Path) -> None:
    """It answers there, a dead daemon's socket is replaced, a living one's is not, and it goes in the end."""
    path = tmp_path / "runner.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with started(tmp_path, MODEL_RUNNER_PORT="", MODEL_RUNNER_SOCK=str(path)) as daemon:
        assert f"listening on unix://{path}" == daemon.line()
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        with contextlib.closing(http.client.HTTPConnection("localhost")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(path))
            connection.request("GET", "/version")
            assert 200 == connection.getresponse().status
        with started(tmp_path, MODEL_RUNNER_PORT="", MODEL_RUNNER_SOCK=str(path)) as second:
            _, err = second.process.communicate(timeout=30)
            assert "socket is in use" in err
        assert 0 == daemon.end()[0]

    assert not path.exists()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MODELS_PATH": "/proc/nowhere"}, "/proc/nowhere"),
        ({"MODEL_RUNNER_LOG_DIR": "/proc/nowhere"}, "cannot write log files"),
        ({"LLAMA_ARGS": "--host 0.0.0.0"}, "LLAMA_ARGS"),
        ({"DMR_BIND": "no.such.host.invalid"}, "no address to listen on"),
        ({"DMR_BIND": "192.0.2.1"}, "cannot listen on"),
    ],
)
def test_what_it_cannot_do_it_says_at_once(tmp_path: Path, variables: dict[str, str], words: str) -> None:
    """A sentence and an exit code, before anything is announced."""
    with started(tmp_path, **variables) as daemon:
        out, err = daemon.process.communicate(timeout=30)

    assert daemon.process.returncode != 0
    assert "" == out
    assert [True] == [words in line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err


def test_headers_may_not_take_for_ever(tmp_path: Path) -> None:
    """More than 64 KiB of them, and the connection is closed."""
    with started(tmp_path) as daemon, socket.create_connection(("127.0.0.1", daemon.port())) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        client.settimeout(20)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
            assert b"" == client.recv(1000)


@contextlib.contextmanager
def flood(port: int) -> Iterator[None]:
    """Connect again and again meanwhile: what the daemon itself had open for a moment goes to a client."""
    over = threading.Event()

    def connect() -> None:
        with contextlib.ExitStack() as clients:
            while not over.is_set():
                clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                over.wait(0.01)

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_daemon_without_descriptors_says_so_and_recovers(tmp_path: Path) -> None:
    """One line in the log when the limit is reached, one when it is over; then it answers."""
    with started(tmp_path) as daemon:
        port = daemon.port()
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        with flood(port):
            daemon.says("nothing can be opened, clients are turned away")
        daemon.says("files can be opened again")

        assert 200 == get(port, "/version")[0]


def test_it_is_small_and_quick(tmp_path: Path) -> None:
    """No engine, terminal or chat library is imported by a daemon that idles."""
    probe = (
        "import sys, modelrunner.server.serve\n"
        "print([name for name in ('xllamacpp', 'rich', 'prompt_toolkit', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout
