"""What goes wrong outside of the commands: daemons, terminals, pipes, keys. Nothing ends in a traceback."""

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from modelrunner.cli import table

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run


@contextmanager
def _says(answer: bytes) -> Iterator[str]:
    """A program that answers every connection with the same bytes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _http(status: str, body: bytes, media: str = "text/html") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", 1, "does not answer like a model runner: it is no HTTP"),
        (b"", 5, "the connection to the daemon broke: closed without an answer"),
        (
            _http("404 Not Found", b"<html>nginx</html>"),
            1,
            "like a model runner: status 404 and <html>nginx</html>",
        ),
        (
            _http("404 Not Found", b'{"detail":"Not Found"}', "application/json"),
            1,
            'like a model runner: status 404 and {"detail":"Not Found"}',
        ),
        (_http("200 OK", b"<html>hello</html>"), 1, "unexpected answer from `"),
        (_http("404 Not Found", b"404 page not found\n", "text/plain"), 3, "does not know `GET /models`"),
        (_http("200 OK", b'{"models":[]}', "application/json"), 1, "unexpected answer from `"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[",
            5,
            "broke: it broke off before the answer was complete",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            1,
            "another protocol",
        ),
    ],
)
def test_another_program_on_the_port_is_told_as_that(
    dmr: "Run", monkeypatch: pytest.MonkeyPatch, answer: bytes, code: int, message: str
) -> None:
    """By what it says, with the variable that leads elsewhere."""
    with _says(answer) as url:
        monkeypatch.setenv("MODEL_RUNNER_HOST", url)
        outcome = dmr("list")

    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert "\n\nhint: " in outcome.err


@pytest.mark.parametrize("command", ["list", "ps", "df", "status"])
def test_a_program_that_never_answers_is_not_waited_for(
    dmr: "Run", monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Not for ever: these questions take a daemon no work."""
    monkeypatch.setattr("modelrunner.cli.session._QUICK", 0.1)
    monkeypatch.setattr("modelrunner.cli.commands.status._PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("MODEL_RUNNER_HOST", f"http://127.0.0.1:{listener.getsockname()[1]}")
        outcome = dmr(command)

    assert outcome.code in {1, 5}
    assert "the connection to the daemon broke: no answer came in time" in outcome.err


def test_a_daemon_of_another_version_is_told_as_that(daemon: "Daemon", dmr: "Run") -> None:
    """It lacks what this command asks for."""
    daemon.refuses(
        "/engines/events", "unknown_route", "nothing is at `/engines/events`", method="GET", status=404
    )

    outcome = dmr("events")

    assert outcome.code == 3
    assert "hint: it may be of another version; the `version` command tells" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["ps"], ["df"], ["show", "m"], ["rm", "m"], ["unload", "--all"], ["configure", "m"], ["logs"]],
)
def test_a_daemon_that_is_down_is_told_with_what_to_do(
    dmr: "Run", monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """By every command alike."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("MODEL_RUNNER_HOST", f"http://127.0.0.1:{port}")

    outcome = dmr(*arguments)

    assert outcome.code == 5
    assert outcome.err == (
        f"error: no daemon answers at `http://127.0.0.1:{port}`: connection refused\n\n"
        "hint: start one with `dmr serve`, or set MODEL_RUNNER_HOST to where one runs\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--jsno"], "unknown flag: --jsno (did you mean --json?)"),
        (["prune", "--dry_run=true"], "unknown flag: --dry_run (did you mean --dry-run?)"),
        (["list", "--zzz"], "unknown flag: --zzz\n"),
        (["list", "-z"], "unknown shorthand flag: 'z' in -z\n"),
    ],
)
def test_an_unknown_flag_is_told_with_the_nearest(dmr: "Run", arguments: list[str], message: str) -> None:
    """Where there is one."""
    outcome = dmr(*arguments)

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("pul", "pull"), ("lst", "list"), ("statsu", "status"), ("serach", "search"), ("inspetc", "inspect")],
)
def test_an_unknown_command_is_told_with_the_nearest(dmr: "Run", typed: str, meant: str) -> None:
    """In both programs."""
    for standalone in (True, False):
        outcome = dmr(typed, standalone=standalone)
        assert outcome.code == 2
        assert f"{meant}`?" in outcome.err


def test_a_defect_is_a_sentence(daemon: "Daemon", dmr: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who asks for it sees where it is."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("modelrunner.cli.commands.df.run", broken)
    monkeypatch.setenv("LOG_LEVEL", "info")

    outcome = dmr("df")

    assert outcome.code == 1
    assert outcome.err == (
        "error: internal error: KeyError: 'oops'\n\n"
        "hint: this is a defect, please report it; LOG_LEVEL=debug shows where it is\n"
    )
    monkeypatch.setenv("LOG_LEVEL", "debug")
    with pytest.raises(KeyError):
        dmr("df")


def _environ(daemon: "Daemon", **more: str) -> dict[str, str]:
    return {**os.environ, "MODEL_RUNNER_HOST": daemon.url, **more}


def _shell(line: str, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    program = f'dmr() {{ "{sys.executable}" -m modelrunner "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", program + line], env=environ, capture_output=True, check=False, timeout=60
    )


def test_letters_that_the_encoding_lacks_are_no_reason_to_fail(daemon: "Daemon") -> None:
    """A table is a table in an ASCII locale too, and with text that is no Unicode."""
    model = {"id": "sha256:0", "tags": ["team/größe:v1", "team/\udc80:v1"], "config": {"size": "1 µB"}}
    daemon.json("GET", "/models", [model])

    done = _shell("dmr list", _environ(daemon, PYTHONIOENCODING="ascii"))

    assert (0, b"") == (done.returncode, done.stderr)
    assert b"team/gr??e:v1" in done.stdout


@pytest.mark.parametrize("command", ["list", "--help", "completion bash", "status", "nonsense"])
def test_a_reader_that_leaves_is_met_with_silence(daemon: "Daemon", command: str) -> None:
    """Whatever it is that nobody reads."""
    daemon.json("GET", "/models", [{"id": f"sha256:{n:064}", "tags": [f"a/b:v{n}"]} for n in range(3000)])
    daemon.json("GET", "/engines/status", {})
    daemon.json("GET", "/version", {"version": "1"})

    done = _shell(f"dmr {command} 2>&1 | head -n 1 >/dev/null; exit 0", _environ(daemon))

    assert b"" == done.stderr


def _on_a_terminal(arguments: list[str], environ: dict[str, str], columns: int) -> tuple[int, str]:
    """Run a command on a terminal of some width; its exit code, and everything that it wrote."""
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "modelrunner", *arguments],
        env=environ,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    ) as process:
        os.close(follower)
        written = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            written += piece
        code = process.wait(timeout=30)
    os.close(leader)
    return code, written.decode()


def _pull(daemon: "Daemon") -> None:
    layer = {"id": "sha256:" + "a" * 64, "size": 1000, "current": 500}
    line = {"type": "progress", "message": "", "total": 1000, "layer": layer, "mode": "pull"}
    daemon.lines("/models/create", line, {"type": "success", "message": "Model pulled successfully"})


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["pull", "m"], ["status"]])
def test_a_terminal_of_twenty_columns_is_wide_enough(daemon: "Daemon", arguments: list[str]) -> None:
    """Nothing fails, and what is drawn in place stays within the line."""
    daemon.json("GET", "/models", [{"id": "sha256:0", "tags": ["ai/smollm2:latest"]}])
    daemon.json("GET", "/engines/status", {"llama.cpp": "Running: b1"})
    daemon.json("GET", "/version", {"version": "1"})
    _pull(daemon)

    code, written = _on_a_terminal(arguments, _environ(daemon, TERM="xterm"), columns=20)

    assert code == 0
    assert "Traceback" not in written
    if arguments[0] == "pull":
        drawn = [line for line in written.splitlines() if line.startswith("aaaa")]
        assert drawn
        assert max(map(len, drawn)) < 20


@pytest.mark.parametrize("arguments", [["list"], ["pull", "m"], ["status"], ["rm", "gone"]])
@pytest.mark.parametrize("terminal", [{"TERM": "dumb"}, {"TERM": "dumb", "NO_COLOR": "1"}])
def test_a_dumb_terminal_gets_plain_lines(
    daemon: "Daemon", arguments: list[str], terminal: dict[str, str]
) -> None:
    """No escape sequence, neither for colour nor to move the cursor."""
    daemon.json("GET", "/models", [{"id": "sha256:0", "tags": ["ai/smollm2:latest"]}])
    daemon.json("GET", "/engines/status", {"llama.cpp": "Running: b1"})
    daemon.json("GET", "/version", {"version": "1"})
    _pull(daemon)

    _, written = _on_a_terminal(arguments, _environ(daemon, **terminal), columns=80)

    assert written
    assert "\x1b" not in written


def _stuck(daemon: "Daemon") -> tuple[threading.Event, threading.Event]:
    """Have the daemon say nothing once it was asked, which the first tells, until the second is set."""
    arrived, gone = threading.Event(), threading.Event()

    def wait() -> None:
        arrived.set()
        gone.wait(60)

    for path in ("/models", "/logs", "/models/m"):
        daemon.sends("GET", path, b" ", media="text/plain", lost=9, wait=wait)
    daemon.sends("POST", "/models/create", b" ", media="text/plain", lost=9, wait=wait)
    return arrived, gone


@pytest.mark.parametrize("arguments", [["list"], ["pull", "m"], ["logs", "-f"], ["bench", "m"], ["status"]])
def test_ctrl_c_ends_every_command_quietly(daemon: "Daemon", arguments: list[str]) -> None:
    """While it waits for the daemon; with 130, as shells have it."""
    arrived, gone = _stuck(daemon)
    with subprocess.Popen(
        [sys.executable, "-m", "modelrunner", *arguments],
        env=_environ(daemon),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert arrived.wait(20)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    gone.set()

    assert process.returncode == 130
    assert err in {"", "pull interrupted; run it again to continue where it stopped\n"}


@pytest.mark.parametrize("name", sorted(table.COMMANDS))
def test_no_command_fails_at_nonsense(dmr: "Run", monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A flag that there is not is a wrong command line, and nothing is done."""
    outcome = dmr(name, "--no-such-flag-anywhere")

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: unknown flag: --no-such-flag-anywhere")


_DEAF = """
import signal, sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
from modelrunner.cli.main import main
sys.exit(main(sys.argv[1:], standalone=True))
"""


@pytest.mark.parametrize("arguments", [["list"], ["pull", "m"], ["logs", "-f"], ["bench", "m"]])
def test_ctrl_c_that_does_not_end_a_call_of_the_system_is_seen_all_the_same(
    daemon: "Daemon", arguments: list[str]
) -> None:
    """As when it comes between Python's last look and the call; here because another thread gets it."""
    arrived, gone = _stuck(daemon)
    with subprocess.Popen([sys.executable, "-c", _DEAF, *arguments], env=_environ(daemon)) as process:
        assert arrived.wait(20)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=20)
    gone.set()

    assert code == 130
