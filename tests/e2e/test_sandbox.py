"""A daemon whose `llama-server` tries to get out, as a user has it."""

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from modelrunner.runtime.processes import landlock
from modelrunner.testing.daemon import Runner, running
from modelrunner.testing.gguf import tiny_gguf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no sandbox, and say so")

WITHIN = 30.0  # seconds


@contextmanager
def imprisoned(folder: Path, *attempts: str, **environ: str) -> Iterator[Runner]:
    """A daemon with the model `ai/tiny`, whose engine makes these attempts."""
    program = folder / "engine" / "llama-server"
    program.parent.mkdir()
    command = shlex.join((sys.executable, "-m", "modelrunner.testing.escape", *attempts))
    version = 'case "$1" in --version) echo "version: 1 (escape)"; exit;; esac'
    program.write_text(f'#!/bin/sh\n{version}\nexec {command} "$@"\n')
    program.chmod(0o755)
    with running(folder / "home", LLAMA_SERVER_PATH=str(program), **environ) as runner:
        runner.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf"), "ai/tiny")
        yield runner


def said(runner: Runner, attempt: str) -> str:
    """What came of an attempt, from the log of the model, once it is there."""
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        for line in runner.must("logs", "--model", "ai/tiny").splitlines():
            if f" {attempt} " in line:
                return line.partition(f" {attempt} ")[2]
        time.sleep(0.05)  # the log is another program's to write
    raise AssertionError(f"{attempt} was never made:\n{runner.log}")


def test_an_engine_gets_at_nothing_of_its_user(tmp_path: Path) -> None:
    """Not at secrets, nor at the store, nor at the daemon; what it tries is in its model's log."""
    home = tmp_path / "home"
    blobs = home / ".docker" / "models" / "blobs" / "sha256"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id").write_text("secret")
    attempts = (
        *(f"read:{home}/.ssh/id", f"append:{home}/.bashrc", f"append:{blobs}/{'0' * 64}"),
        *(f"list:{blobs}", f"append:{home}/.docker/models/models.json", f"read:{home}/serve.log"),
    )
    with imprisoned(tmp_path, *attempts) as runner:
        runner.must("configure", "ai/tiny")
        outcomes = {attempt: said(runner, attempt) for attempt in attempts}
        status = runner.must("status")

    if landlock.version() == 0:
        assert "no sandbox: the kernel has no Landlock" in status
        assert {"done"} == {outcome.split()[0] for outcome in outcomes.values()}
    else:
        assert {"refused"} == {outcome.split()[0] for outcome in outcomes.values()}


def test_kill_9_of_the_daemon_ends_the_workers_of_its_engines(tmp_path: Path) -> None:
    """Those that ignore signals, and those that have left the group of their engine."""
    with imprisoned(tmp_path, "workers:4") as runner:
        runner.must("configure", "ai/tiny")
        workers = [psutil.Process(int(word)) for word in said(runner, "workers:4").split()[1:]]
        assert all(worker.is_running() for worker in workers)
        runner.stop(signal.SIGKILL)
        gone, alive = psutil.wait_procs(workers, timeout=WITHIN)
        runner.start()

    assert alive == []
    assert len(gone) == 4


def test_unloading_a_model_ends_the_workers_of_its_engine(tmp_path: Path) -> None:
    """With the engine, not with the daemon."""
    with imprisoned(tmp_path, "workers:2") as runner:
        runner.must("configure", "ai/tiny")
        workers = [psutil.Process(int(word)) for word in said(runner, "workers:2").split()[1:]]
        runner.must("unload", "ai/tiny")
        _, alive = psutil.wait_procs(workers, timeout=WITHIN)

    assert alive == []
