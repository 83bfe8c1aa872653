"""One child process: started, listened to, stopped, and never left behind.

A child leads a session and process group of its own, so that what it starts in turn is stopped with it. On
Linux the kernel kills it when the daemon dies. What the process is for is not known here.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import psutil

from modelrunner.runtime.processes.kernel import PR_SET_PDEATHSIG, Prctl, prctl
from modelrunner.runtime.processes.output import TAIL_BYTES, Splitter, Tail, last_lines

GRACE = 5.0  # seconds between being asked to end and being killed
_REST = 0.5  # seconds for what it has started to end after it, which may have shared memory to remove
_REST_STEP = 0.01  # seconds between two looks; nobody tells when a group has ended
_DRAIN = 0.25  # seconds that output may lag behind the exit

_SECRETS = frozenset(
    {
        "DOCKER_AUTH_CONFIG",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "SSH_AUTH_SOCK",
    }
)
# `LLAMA_API_KEY` is one that would even do harm: llama-server would answer nobody without it. `_HEADERS` are
# OpenTelemetry's, which have its credentials.
_SECRET_ENDINGS = (
    *("_TOKEN", "_PASSWORD", "_PASSWD", "_PASS", "_PWD", "_PAT", "_SECRET", "_KEY"),
    *("_CREDENTIALS", "_HEADERS"),
)
_ADDRESS_WITH_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]+@")


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Copy an environment without what is named like a credential; addresses keep their passwords."""
    return {
        name: value
        for name, value in environ.items()
        if name.upper() not in _SECRETS and not name.upper().endswith(_SECRET_ENDINGS)
    }


def environment_of_engine(environ: Mapping[str, str]) -> dict[str, str]:
    """Copy an environment without any credential that can be told: an engine has no use for one.

    Nor has it for a proxy with a password; whoever lets it out of its sandbox gives it one without.
    """
    kept = without_credentials(environ)
    return {name: value for name, value in kept.items() if _ADDRESS_WITH_PASSWORD.search(value) is None}


def _die_with(parent: int, prctl: Prctl, then: Callable[[], None] | None) -> None:
    """Run in the child before exec: have the kernel kill it when the thread that forked it ends.

    A parent that died before the call would never be noticed, hence the look at who the parent is now.
    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    if then is not None:
        then()


class _Listener(asyncio.SubprocessProtocol):
    """Hears of a child's exit on its own, not when the pipes close, which a grandchild may keep open.

    Source: python/cpython#119710, `asyncio.subprocess.Process.wait` waits for the pipes in some versions.
    """

    def __init__(self, on_line: Callable[[str], None], remembered: int) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self.tail = Tail.of(remembered)
        self._on_line = on_line
        self._splitter = Splitter()
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)  # uvloop's is no subclass of it

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        for line in self._splitter.feed(data):
            self._say(line)

    def pipe_connection_lost(self, _fd: int, _exc: Exception | None) -> None:
        self._say(self._splitter.flush())
        if not self.drained.done():
            self.drained.set_result(None)

    def process_exited(self) -> None:
        transport = self._transport
        assert transport is not None
        loop = asyncio.get_running_loop()
        pid = transport.get_pid()
        if _is_there(pid):  # what it has started does not stay behind
            _signal_group(pid, signal.SIGTERM)
            loop.call_later(_REST, _signal_group, pid, signal.SIGKILL)
        status = transport.get_returncode()
        self.exited.set_result(status if status is not None else -1)
        loop.call_later(_DRAIN, transport.close)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport.close()

    def _say(self, line: str) -> None:
        if line:
            self.tail.add(line)
            self._on_line(line)


def _signal_group(leader: int, number: signal.Signals) -> None:
    # Nobody may be left in it; macOS says EPERM when only zombies are.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _is_there(group: int) -> bool:
    """Whether anything of a group still runs; a zombie does not, and may wait long for whoever reaps it."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return any(_runs(process) for process in _family(group))


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _family(leader: int) -> Iterator[psutil.Process]:
    """A process, those in its group, and its descendants."""
    for number in psutil.pids():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(number) == leader:
                process = psutil.Process(number)
                yield process
                yield from process.children(recursive=True)


def _ports_of(process: psutil.Process) -> set[int]:
    """The TCP ports that it listens on; none when it has ended."""
    with suppress(psutil.NoSuchProcess):
        connections = process.net_connections(kind="tcp")
        return {found.laddr[1] for found in connections if found.status == psutil.CONN_LISTEN}
    return set()


class Child:
    """A running child process and what is left of it afterwards."""

    def __init__(self, transport: asyncio.SubprocessTransport, listener: _Listener) -> None:
        self._transport = transport
        self._listener = listener
        self.pid = transport.get_pid()

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        on_line: Callable[[str], None],
        before_exec: Callable[[], None] | None = None,
        remembered: int = TAIL_BYTES,
    ) -> "Child":
        """Start a process with exactly this environment; `on_line` gets each line of stdout and stderr.

        `remembered` is how many bytes of them are kept for `last_words`.

        The thread that calls this has to live as long as the child is to (see `_die_with`). On Linux,
        `before_exec` is called in the child, where next to nothing is safe; elsewhere it is not.

        Raises:
            OSError: the program is not there or cannot be run.
        """
        loop = asyncio.get_running_loop()
        first = partial(_die_with, os.getpid(), prctl(), before_exec) if sys.platform == "linux" else None
        transport, listener = await loop.subprocess_exec(
            lambda: _Listener(on_line, remembered),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=first,
        )
        return cls(transport, listener)

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done, with the status, as soon as the process is gone. Not to be cancelled.

        The status is -N when signal N killed it.
        """
        return self._listener.exited

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as is known."""
        return not self._listener.exited.done()

    @property
    def tail(self) -> str:
        """The last lines that it wrote, a few of them."""
        return last_lines(self._listener.tail.text)

    def listens_on(self, port: int) -> bool:
        """Whether it, or what it has started, listens on a TCP port. Blocks.

        True also when the system does not tell.
        """
        try:
            return any(port in _ports_of(process) for process in _family(self.pid))
        except psutil.AccessDenied:
            return True

    async def last_words(self) -> str:
        """Wait, shortly, for what an ended process has written to arrive, and give all that is remembered."""
        await asyncio.wait((self._listener.drained,), timeout=_DRAIN)
        return self._listener.tail.text

    async def stop(self, grace: float = GRACE) -> int:
        """Ask it to end, kill its group after `grace` seconds, and return the status once all are gone.

        It is asked alone, because it knows in which order its own processes end; those that are left are
        asked after it, and have a moment. May be called again and by several; whoever is cancelled while
        waiting does not stop the stopping.
        """
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            timer = asyncio.get_running_loop().call_later(grace, self.kill)
            self.exited.add_done_callback(lambda _: timer.cancel())
            await asyncio.wait((self.exited,))
        left = _REST
        while _is_there(self.pid) and left > 0:
            left -= _REST_STEP
            await asyncio.sleep(_REST_STEP)
        _signal_group(self.pid, signal.SIGKILL)
        return self.exited.result()

    def kill(self) -> None:
        """Kill the whole group now."""
        if self.alive:
            _signal_group(self.pid, signal.SIGKILL)
