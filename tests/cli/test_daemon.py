"""Starting a daemon when none answers."""

import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from modelrunner.cli.daemon import LOG_NAME, ensure_running
from modelrunner.client import Address
from modelrunner.errors import DaemonUnreachable, StoreError

# Stands in for the package in the child: found first because of PYTHONPATH.
STUB = """
import os, pathlib, socket, sys
folder = pathlib.Path(os.environ["STUB_FOLDER"])
(folder / f"started-{os.getpid()}").write_text(repr({"argv": sys.argv[1:], "env": sorted(os.environ)}))
print("hello from the start")
if "STUB_FAILS" in os.environ:
    sys.exit("error: port 1 is taken")
with socket.create_server(("127.0.0.1", int(os.environ["STUB_PORT"]))) as listener:
    while True:
        connection, _ = listener.accept()
        with connection:
            if connection.recv(1000):
                connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
"""


class Stub:
    """A folder whose `modelrunner` is the stub, and the address where that will listen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        package = folder / "modelrunner"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "__main__.py").write_text(STUB)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = Address("127.0.0.1", port)
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "STUB_FOLDER": str(folder),
            "STUB_PORT": str(port),
            "DOCKER_CLI_PLUGIN_SOCKET": "@x",
        }

    @property
    def started(self) -> dict[int, str]:
        return {int(path.name[8:]): path.read_text() for path in self.folder.glob("started-*")}

    def ensure(self) -> None:
        ensure_running(self.address, self.folder / "logs", self.environ)


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    stub = Stub(tmp_path)
    yield stub
    for pid in stub.started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def test_a_daemon_is_started_in_a_session_of_its_own(stub: Stub) -> None:
    """Ctrl-C in our terminal does not reach it, and docker's marks are not inherited."""
    stub.ensure()

    [(pid, what)] = stub.started.items()
    assert os.getsid(pid) == pid
    assert "'argv': ['serve']" in what
    assert "DOCKER_CLI_PLUGIN" not in what
    log = stub.folder / "logs" / LOG_NAME
    assert log.is_file()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_one_that_answers_is_left_alone(stub: Stub) -> None:
    """Asking twice starts one."""
    stub.ensure()
    stub.ensure()

    assert len(stub.started) == 1


def test_two_commands_at_once_start_one_daemon(stub: Stub) -> None:
    """The second waits for the first, and then finds it running."""
    threads = [threading.Thread(target=stub.ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(stub.started) == 1


def test_one_that_ends_at_once_has_its_last_words_shown(stub: Stub) -> None:
    """Instead of waiting for what will never come."""
    stub.environ["STUB_FAILS"] = "1"

    with pytest.raises(DaemonUnreachable) as caught:
        stub.ensure()

    assert caught.value.message.startswith("the daemon was started but ended at once\n")
    assert "  error: port 1 is taken" in caught.value.message
    assert "dmr serve" in (caught.value.hint or "")


def test_no_module_comes_from_the_folder_we_are_called_in(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downloaded folder with a `modelrunner` in it does not become the daemon."""
    evil = stub.folder / "evil"
    (evil / "modelrunner").mkdir(parents=True)
    (evil / "modelrunner" / "__main__.py").write_text("raise SystemExit('evil')")
    monkeypatch.chdir(evil)

    stub.ensure()

    assert len(stub.started) == 1


def test_a_log_that_cannot_be_written_is_told(stub: Stub) -> None:
    """With the setting that moves it."""
    (stub.folder / "logs").write_text("a file in the way")

    with pytest.raises(StoreError, match="log cannot be written") as caught:
        stub.ensure()

    assert caught.value.hint == "set MODEL_RUNNER_LOG_DIR"
