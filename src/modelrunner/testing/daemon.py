"""A daemon as a user has it: `dmr serve` as a process, with a home folder of its own, asked by `dmr`."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
FAKE_ENGINE = (sys.executable, "-m", "modelrunner.testing.engine")

# A test run that is killed leaves no daemon behind, where there is a program for that.
_WITH_US = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()

# What this machine's user may have set, and a test must not see.
_LEFT_OUT = (
    "DEFAULT_REGISTRY",
    "DMR_",
    "DOCKER_",
    "HF_",
    "INSECURE_",
    "LLAMA_",
    "MODELS_PATH",
    "MODEL_RUNNER",
    "PYTHONDONTWRITEBYTECODE",  # what is never compiled starts slowly
    "XDG_",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Runner:
    """A home folder with a daemon in it. `url` is where the daemon answers, once it was started."""

    home: Path
    extra: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every process here."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_LEFT_OUT)}
        kept |= {"HOME": str(self.home), **self.extra}
        return kept | ({"MODEL_RUNNER_HOST": self.url} if self.url else {})

    @property
    def port(self) -> int:
        """The port on loopback where the daemon listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self.process is not None, "the daemon is not running"
        return self.process.pid

    @property
    def log(self) -> str:
        """What the daemon wrote to stderr so far."""
        return (self.home / "serve.log").read_text()

    def start(self, *flags: str) -> None:
        """Start the daemon on a free port; returns when it has said where it listens.

        Raises:
            RuntimeError: it ended instead.
        """
        with (self.home / "serve.log").open("a") as log:
            self.process = subprocess.Popen(
                [*_WITH_US, BIN / "dmr", "serve", "--port", "0", *flags],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        self.url = line.rpartition(" ")[2]
        if not self.url.startswith("http://"):
            raise RuntimeError(f"the daemon did not start: {line}\n{self.log}")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon; its exit code.

        Raises:
            TimeoutExpired: it went on, and was killed.
        """
        process = self.process
        assert process is not None, "the daemon is not running"
        process.send_signal(with_signal)
        try:
            return process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            assert process.stdout is not None
            process.stdout.close()
            self.process, self.url = None, ""

    def run(self, *arguments: str | Path, stdin: str = "", program: str = "dmr") -> Outcome:
        """Run one command, its output caught."""
        done = subprocess.run(
            [BIN / program, *arguments],
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def must(self, *arguments: str | Path, stdin: str = "") -> str:
        """Run one command that has to succeed; what it printed on stdout.

        Raises:
            RuntimeError: it failed; the message holds what it said.
        """
        outcome = self.run(*arguments, stdin=stdin)
        if outcome.code != 0:
            raise RuntimeError(f"`dmr {' '.join(map(str, arguments))}` ended with {outcome}")
        return outcome.out


@contextlib.contextmanager
def running(home: Path, **extra: str) -> Iterator[Runner]:
    """Run a daemon for as long as the block lasts; `extra` is its environment."""
    home.mkdir(parents=True, exist_ok=True)
    runner = Runner(home, extra)
    runner.start()
    try:
        yield runner
    finally:
        if runner.process is not None:
            runner.stop()


def fake_llama_server(folder: Path) -> Path:
    """Make a `llama-server` that is the scripted engine; what `LLAMA_SERVER_PATH` is to be."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "llama-server"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(FAKE_ENGINE)} "$@"\n')
    program.chmod(0o755)
    return program
