"""Real child processes, on both event loops."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from modelrunner.runtime.processes.process import Child, environment_of_engine, without_credentials


class Log:
    """The lines of a child, to wait for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    async def wait_for(self, text: str) -> str:
        async with asyncio.timeout(20):
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def log() -> Log:
    return Log()


async def python(code: str, log: Log, **env: str) -> Child:
    return await Child.start((sys.executable, "-c", code), env={"PATH": "/bin:/usr/bin", **env}, on_line=log)


async def status_of(child: Child) -> int:
    async with asyncio.timeout(20):
        await asyncio.wait((child.exited,))
    return child.exited.result()


def gone(pid: int) -> bool:
    """Whether a process does not run any more; a zombie does not, and somebody else's to reap."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while not gone(pid):  # noqa: ASYNC110 - the process is no child of ours; there is no event to wait for
            await asyncio.sleep(0.005)


async def test_both_outputs_are_read_line_by_line(log: Log) -> None:
    """In the order in which they were written, the last without an end too."""
    child = await python(
        "import os; os.write(1, b'one\\n'); os.write(2, b'two\\nthr'); os.write(1, b'ee')", log
    )
    await status_of(child)

    assert await child.last_words() == "one\ntwo\nthree"
    assert ["one", "two", "three"] == log.lines


async def test_the_exit_status_is_known(log: Log) -> None:
    """As the process gave it."""
    child = await python("raise SystemExit(3)", log)

    assert await status_of(child) == 3
    assert not child.alive


async def test_a_killed_process_has_the_signal_s_number_negated(log: Log) -> None:
    """As in the subprocess module."""
    child = await python("import os; os.kill(os.getpid(), 9)", log)

    assert await status_of(child) == -signal.SIGKILL


async def test_an_exit_is_noticed_though_a_grandchild_keeps_the_pipe_open(log: Log) -> None:
    """The exit counts, not the end of the output; and what the child has started goes with it."""
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
    )
    child = await python(code, log)

    assert await status_of(child) == 0
    await until_gone(int(await log.wait_for("")))


async def test_an_exit_is_noticed_though_an_escaped_grandchild_keeps_the_pipe_open(log: Log) -> None:
    """Even one in a session of its own, which no signal to the group reaches."""
    code = (
        "import subprocess, sys\n"
        "argv = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "print(subprocess.Popen(argv, start_new_session=True).pid, flush=True)\n"
    )
    child = await python(code, log)

    assert await status_of(child) == 0
    assert await child.last_words() == log.lines[0]
    os.kill(int(log.lines[0]), signal.SIGKILL)


async def test_stopping_asks_first(log: Log) -> None:
    """A process that ends when asked to ends as it likes."""
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'bye'), sys.exit(4)))\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )
    child = await python(code, log)
    await log.wait_for("here")

    assert await child.stop() == 4
    assert await child.last_words() == "here\nbye"


async def test_stopping_kills_what_does_not_listen(log: Log) -> None:
    """After the grace, and then at once."""
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )
    child = await python(code, log)
    await log.wait_for("here")
    begun = time.monotonic()

    assert await child.stop(grace=0.2) == -signal.SIGKILL
    assert 0.2 <= time.monotonic() - begun < 5


async def test_stopping_reaches_the_whole_group(log: Log) -> None:
    """What the child has started is stopped with it."""
    code = (
        "import signal, subprocess, sys, time\n"
        "ignore = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " print(1, flush=True); time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', ignore], stdout=subprocess.PIPE)\n"
        "child.stdout.read(1)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    child = await python(code, log)
    grandchild = int(await log.wait_for(""))

    assert await child.stop() == -signal.SIGTERM
    await until_gone(grandchild)


TIDY = """
import os, signal, subprocess, sys, time
tidy = '''
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
sys.stdin.read()
time.sleep(0.05)
open(sys.argv[1], "w").close()
'''
worker = subprocess.Popen([sys.executable, "-c", tidy, FILE], stdin=subprocess.PIPE)
if END:
    time.sleep(0.3)
    os.kill(os.getpid(), 9)
time.sleep(600)
"""


@pytest.mark.parametrize("ends_by_itself", [False, True])
async def test_what_is_left_of_a_process_may_tidy_up(
    log: Log, tmp_path: Path, *, ends_by_itself: bool
) -> None:
    """Python's own tracker of shared memory does, when its process is gone, whichever way it went."""
    file = tmp_path / "tidied"
    code = TIDY.replace("END", str(ends_by_itself)).replace("FILE", repr(str(file)))
    child = await python(code, log)
    await log.wait_for("here")
    if ends_by_itself:
        await status_of(child)
    await child.stop()

    assert file.exists()


async def test_a_process_is_asked_before_what_it_has_started(log: Log) -> None:
    """It ends its workers itself, in the order that it knows."""
    code = (
        "import os, signal, subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "def end(*_):\n"
        "    os.write(1, str(worker.poll()).encode())\n"
        "    worker.kill()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )
    child = await python(code, log)
    await log.wait_for("here")

    assert await child.stop() == 0
    assert await child.last_words() == "here\nNone"


async def test_stopping_goes_on_when_nobody_waits_for_it(log: Log) -> None:
    """A cancelled wait leaves neither the process nor the others who wait."""
    child = await python(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(600)", log
    )
    one, two = (asyncio.create_task(child.stop(grace=0.1)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()

    assert await two < 0
    assert one.cancelled()


async def test_no_zombies_are_left(log: Log) -> None:
    """An ended child is reaped without being asked about."""
    child = await python("", log)
    await status_of(child)

    assert not psutil.pid_exists(child.pid)


async def test_the_environment_is_exactly_what_was_given(log: Log) -> None:
    """Nothing comes from the daemon's own."""
    child = await python("import os; print(sorted(os.environ))", log, GIVEN="1")
    await status_of(child)

    # LC_CTYPE is what Python itself sets under the C locale.
    assert eval(await child.last_words()) == ["GIVEN", "LC_CTYPE", "PATH"]


async def test_a_program_that_is_not_there_is_an_os_error(log: Log) -> None:
    """To be translated by who knows what was to be started."""
    with pytest.raises(FileNotFoundError):
        await Child.start(("/no/such/program",), env={}, on_line=log)


async def test_very_long_lines_are_cut(log: Log) -> None:
    """Output without an end of line does not fill the memory."""
    child = await python("import sys; sys.stdout.write('x' * 1_000_000 + '\\nend\\n')", log)
    await status_of(child)
    await child.last_words()

    assert [64 * 1024, 3] == [len(line) for line in log.lines]


PARENT = """
import asyncio, sys
import uvloop
from modelrunner.runtime.processes.process import Child

async def main():
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    here = asyncio.Event()
    child = await Child.start((sys.executable, "-c", code), env={}, on_line=lambda line: here.set())
    await here.wait()
    print(child.pid, flush=True)
    await asyncio.wait((child.exited,))

RUN(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_a_killed_parent_leaves_no_child(run: str) -> None:
    """Even with SIGKILL, and even a child that ignores SIGTERM."""
    argv = (sys.executable, "-c", PARENT.replace("RUN", run))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        asyncio.run(until_gone(child))


def test_credentials_are_not_inherited() -> None:
    """Neither known names nor what is named like one."""
    environ = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "0",
        "HF_HOME": "/models",
        "HF_TOKEN": "x",
        "DOCKER_PASSWORD": "x",
        "DOCKER_AUTH_CONFIG": "x",
        "LLAMA_API_KEY": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "some_secret": "x",
        "GITHUB_PAT": "x",
        "MYSQL_PWD": "x",
        "SMTP_PASS": "x",
        "STRIPE_KEY": "x",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x",
        "HTTPS_PROXY": "http://ada:x@proxy:3128",
        "DATABASE_URL": "postgres://ada:x@db/x",
        "MODEL_RUNNER_REGISTRY_MIRRORS": "http://a.example,http://ada:x@b.example",
        "http_proxy": "http://proxy:3128",
        "PWD": "/home/ada",
    }

    kept = {"PATH", "CUDA_VISIBLE_DEVICES", "HF_HOME", "http_proxy", "PWD"}
    assert kept == set(environment_of_engine(environ))
    # pip, which installs an engine, has to come through the proxy and into the index
    addresses = {"HTTPS_PROXY", "DATABASE_URL", "MODEL_RUNNER_REGISTRY_MIRRORS"}
    assert kept | addresses == set(without_credentials(environ))
