"""`dmr top` as a person has it."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelrunner.testing.daemon import BIN, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.terminal import Window

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def test_top_follows_a_daemon_through_its_life(tmp_path: Path, window: "Open") -> None:
    """Rates while a model answers, keys, a small window, the daemon's end, and its return."""
    program = fake_llama_server(tmp_path / "engine")
    pace = '{"tokens_per_second": 50, "tokens": 100}'
    with running(tmp_path / "home", LLAMA_SERVER_PATH=str(program), FAKE_ENGINE=pace) as runner:
        runner.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/parrot")
        top = window(runner, "top", columns=100)
        top.wait_for("No models are in memory.")
        runner.must("run", "parrot", "hello there")
        top.wait_for("ready after")
        top.wait_for(" 0.0 tokens/s", gone=True)
        top.wait_for(" places")
        top.press("p")
        top.wait_for("pinned")
        top.resize(20, 6)
        top.wait_for("parrot  idle")
        top.resize(100, 24)
        top.press("p")
        top.wait_for("pinned", gone=True)
        top.press("u")
        top.wait_for("No models are in memory.")
        port = runner.port
        runner.stop(signal.SIGKILL)
        top.wait_for("trying again")
        runner.start("--port", str(port))
        top.wait_for("↑↓ choose")
        top.press("q")

        assert top.end() == 0
        assert "Traceback" not in top.history


_UNTOLD = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_new_size_that_nobody_told_of_is_noticed(tmp_path: Path) -> None:
    """The signal can be lost on the way: between terminals in terminals, and containers."""
    with running(tmp_path / "home") as runner:
        command: list[str | Path] = [sys.executable, "-c", _UNTOLD, BIN / "dmr", "top"]
        top = Window(tmp_path / "window", command, runner.environ, columns=100)
        with contextlib.closing(top):
            top.wait_for("No models are in memory.")
            top.resize(20, 6)
            top.wait_for("…")
            top.resize(100, 24)
            top.wait_for("No models are in memory.")
            top.press("q")

            assert top.end() == 0


def test_without_a_terminal_it_is_printed_once(tmp_path: Path) -> None:
    """Or when that is asked for."""
    with running(tmp_path / "home") as runner:
        out = runner.must("top")

        assert out == runner.must("top", "--once")
    assert out.startswith("dmr top · http://127.0.0.1:")
    assert "No models are in memory." in out
