"""Confinement, tried by an engine that wants out.

Each attempt names since which version of Landlock the kernel stops it. On a kernel that does not, the test
asserts that the attempt succeeds: a sandbox that is not there must not look as if it were.
"""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from modelrunner.engines.base import Address, Launch, Network
from modelrunner.errors import EngineFailed, InvalidRequest
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.processes import confinement, landlock
from modelrunner.runtime.processes.confinement import Sandbox, Sandboxing
from modelrunner.runtime.processes.guardian import Guardian
from modelrunner.runtime.processes.run_directory import RunDirectory
from modelrunner.runtime.processes.workspace import Workspaces

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no sandbox, and say so")

ABI = landlock.version()
FILTERS = confinement.System.find().architecture is not None if sys.platform == "linux" else False
ALWAYS = 0  # of attempts that are stopped without Landlock
NEVER = 1000  # of attempts that only a filter stops


def stopped(outcome: str, since: int = 1) -> bool:
    """Whether an attempt ended as it has to on this kernel; filters stop what Landlock does from 4 on."""
    return outcome.startswith("refused") == (since <= ABI or (since > 3 and FILTERS))


class Prison:
    """Starts engines that try to escape."""

    def __init__(self, folder: Path, workspaces: Workspaces, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "weights").write_bytes(b"weights")
        self.workspaces = workspaces
        self._stack = stack
        self.lines: list[str] = []

    async def try_to(
        self, *attempts: str, address: Address | None = None, launch: Launch | None = None
    ) -> dict[str, str]:
        """Start an engine that makes these attempts; what came of each."""
        self.lines = []
        workspace = self.workspaces.open()
        where = address or Address(socket=workspace.socket)
        told = (
            ("--host", str(where.socket))
            if where.socket
            else ("--host", where.host, "--port", str(where.port))
        )
        argv = (sys.executable, "-m", "modelrunner.testing.escape", *told, *attempts)
        launch = replace(launch or Launch(()), argv=argv, ready_within=30)
        launch = replace(launch, reads=(*launch.reads, self.model))
        instance = await Instance.start(
            launch,
            where,
            "escape",
            self.lines.append,
            lambda _: None,
            environ=os.environ,
            workspace=workspace,
        )
        self._stack.push_async_callback(instance.stop)
        self.instance = instance
        self.workspace = workspace
        return {
            text: line.removeprefix(f"{text} ")
            for text in attempts
            for line in self.lines
            if line.startswith(f"{text} ")
        }


MakePrison = Callable[[Sandboxing], Awaitable[Prison]]


@pytest.fixture
async def make_prison(short_path: Path) -> AsyncIterator[MakePrison]:
    async with AsyncExitStack() as stack:

        async def make(setting: Sandboxing) -> Prison:
            run = RunDirectory.create([short_path])
            stack.callback(run.close)
            guardian = Guardian(run.path)
            stack.push_async_callback(guardian.close)
            await guardian.open()
            return Prison(short_path, Workspaces(run, Sandbox(setting, short_path / "home"), guardian), stack)

        yield make


@pytest.fixture
async def prison(make_prison: MakePrison) -> Prison:
    return await make_prison(Sandboxing.AUTO)


async def test_an_engine_reads_its_model_and_writes_into_its_own_directory(prison: Prison) -> None:
    """What it is there for is not in its way."""
    tries = (
        f"read:{prison.model}/weights",
        f"list:{prison.model}",
        "append:/dev/null",
        "append:$TMPDIR/x",
        "read:/proc/self/stat",
    )
    outcomes = await prison.try_to(*tries)
    own = await prison.try_to("environment:TMPDIR", "environment:HOME", "environment:XDG_CACHE_HOME")

    assert [] == [text for text in tries if not outcomes[text].startswith("done")]
    assert {f"done {prison.workspace.directory}"} == set(own.values())


async def test_an_engine_writes_nowhere_else(prison: Prison) -> None:
    """Not to its model, nor home, nor the store, nor to the directory of another engine."""
    await prison.try_to()
    other = prison.workspace.directory / "other"
    other.touch()
    (prison.folder / "store").mkdir()
    tries = (
        f"append:{prison.model}/weights",
        f"truncate:{prison.model}/weights",
        f"link:{prison.model}/weights",
        f"append:{prison.home}/.bashrc",
        f"append:{prison.folder}/store/blob",
        f"append:{other}",
        f"append:{prison.folder}/escaped",
    )
    outcomes = await prison.try_to(*tries)
    assert [] == [
        (text, outcomes[text])
        for text in tries
        if not stopped(outcomes[text], 3 if "truncate" in text else 1)
    ]
    assert ABI < 3 or (prison.model / "weights").read_bytes() == b"weights"


async def test_an_engine_reads_no_secrets(prison: Prison) -> None:
    """Not the user's, nor root's when it runs as root, nor the daemon's environment or memory."""
    (prison.home / ".ssh").mkdir()
    (prison.home / ".ssh" / "id").write_text("secret")
    tries = (
        f"read:{prison.home}/.ssh/id",
        f"symlink:{prison.home}/.ssh/id",
        f"list:{prison.home}",
        f"read:/proc/{os.getpid()}/environ",
        f"read:/proc/{os.getpid()}/root{prison.home}/.ssh/id",
        "list:/var/log",
    )
    outcomes = await prison.try_to(*tries)
    shadow = await prison.try_to("read:/etc/shadow")

    assert [] == [(text, outcomes[text]) for text in tries if not stopped(outcomes[text])]
    assert stopped(shadow["read:/etc/shadow"], 1 if os.geteuid() == 0 else ALWAYS)


async def test_an_engine_on_a_unix_socket_has_no_network(prison: Prison) -> None:
    """It connects to nobody, by whatever way, and listens on no port; not even over sockets on the disk."""
    loopback = socket.create_server(("127.0.0.1", 0))
    abstract, bus, log = (socket.socket(socket.AF_UNIX, kind) for kind in (1, 1, socket.SOCK_DGRAM))
    with loopback, abstract, bus, log:
        there = f"127.0.0.1:{loopback.getsockname()[1]}"
        abstract.bind(f"\0escape-{os.getpid()}")
        bus.bind(str(prison.folder / "bus"))
        log.bind(str(prison.folder / "log"))
        for listening in (abstract, bus):
            listening.listen()
        tries = {
            f"connect:{there}": 4,
            f"fast-open:{there}": 4,
            "bind:0": 4,
            f"unix:@escape-{os.getpid()}": 6,
            f"unix:{prison.folder}/bus": 9,
            f"unix-datagram:{prison.folder}/log": 9,
            f"datagram:{there}": NEVER,
            "ring:": NEVER,
        }
        outcomes = await prison.try_to(*tries)

    assert [] == [
        (text, outcomes[text]) for text, since in tries.items() if not stopped(outcomes[text], since)
    ]


async def test_an_engine_on_a_port_has_only_that_port(prison: Prison) -> None:
    """It listens there, and nowhere else, and connects to nobody."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Address(port=free.getsockname()[1])
        free.close()
        there = f"127.0.0.1:{server.getsockname()[1]}"
        tries = {f"connect:{there}": 4, f"fast-open:{there}": 4, f"datagram:{there}": NEVER}
        outcomes = await prison.try_to(*tries, "bind:0", address=address)

    assert prison.instance.alive
    assert [] == [
        (text, outcomes[text]) for text, since in tries.items() if not stopped(outcomes[text], since)
    ]
    assert outcomes["bind:0"].startswith("refused") == (ABI >= 4)  # a filter does not see which port it is


async def test_an_engine_whose_processes_talk_by_tcp_may(prison: Prison) -> None:
    """When its launch says so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = f"connect:127.0.0.1:{server.getsockname()[1]}"
        outcomes = await prison.try_to(text, "bind:0", launch=Launch((), network=Network.LOOPBACK))

    assert {text: "done connected", "bind:0": "done listening"} == outcomes


async def test_an_engine_gets_at_what_its_launch_names(prison: Prison) -> None:
    """It reads more, and writes more; a directory to write to is made when it is missing, and stays."""
    cache, more = prison.folder / "cache" / "x", prison.folder / "more"
    more.write_text("more")
    launch = Launch((), reads=(more,), writes=(cache,))
    outcomes = await prison.try_to(f"read:{more}", f"append:{cache}/x", f"append:{more}", launch=launch)
    await prison.instance.stop()

    assert "done 4 bytes" == outcomes[f"read:{more}"]
    assert "done written" == outcomes[f"append:{cache}/x"]
    assert stopped(outcomes[f"append:{more}"])
    assert (cache / "x").read_text() == "escaped"


async def test_an_engine_leaves_other_processes_alone(prison: Prison) -> None:
    """It neither signals nor traces the daemon, or anything that it has not started."""
    pid = os.getpid()
    outcomes = await prison.try_to(f"signal:{pid}", f"trace:{os.getppid()}")

    assert outcomes[f"signal:{pid}"].startswith("refused") == (ABI >= 6)
    assert stopped(outcomes[f"trace:{os.getppid()}"])


async def test_an_engine_gains_no_privileges(prison: Prison) -> None:
    """Whether the kernel has Landlock or not; of root's capabilities there are those that it has use for."""
    mine = shutil.which("id")
    assert mine is not None
    other = prison.folder / "id"
    shutil.copyfile(mine, other)
    other.chmod(0o4755)
    if os.geteuid() == 0:
        os.chown(other, 65534, 65534)
        other.chmod(0o4755)  # a change of owner takes the bit away
    outcomes = await prison.try_to(
        "status:NoNewPrivs", "status:CapBnd", f"run:{other}", launch=Launch((), reads=(other,))
    )

    assert "done 1" == outcomes["status:NoNewPrivs"]
    assert f"done {os.geteuid()}" == outcomes[f"run:{other}"]
    if os.geteuid() == 0:
        kept = sum(1 << number for number in confinement._KEPT_CAPABILITIES)
        assert 0 == int(outcomes["status:CapBnd"].split()[1], 16) & ~kept


async def test_an_engine_has_limits(prison: Prison) -> None:
    """No core dumps, files no larger than its launch says, and many open ones."""
    outcome = (await prison.try_to("limits:", launch=Launch((), largest_file=1 << 20)))["limits:"]

    assert "RLIMIT_CORE=(0, 0)" in outcome
    assert "RLIMIT_FSIZE=(1048576, 1048576)" in outcome


async def test_nothing_is_left_of_an_engine(prison: Prison) -> None:
    """When it is stopped its directory goes, and its workers go, also those that left its group."""
    outcome = (await prison.try_to("workers:4"))["workers:4"]
    workers = [psutil.Process(int(word)) for word in outcome.split()[1:]]
    directory = prison.workspace.directory
    assert directory.is_dir()
    await prison.instance.stop()
    _, alive = await asyncio.to_thread(psutil.wait_procs, workers, timeout=20)

    assert len(workers) == 4
    assert alive == []
    assert not directory.exists()


async def test_an_engine_that_cannot_be_run_is_an_error_with_its_name(prison: Prison) -> None:
    """In a sandbox as well; the caller keeps the workspace."""
    workspace = prison.workspaces.open()
    with pytest.raises(EngineFailed, match="`/no/engine`"):
        await Instance.start(
            Launch(("/no/engine",)),
            Address(workspace.socket),
            "x",
            print,
            lambda _: None,
            environ={},
            workspace=workspace,
        )
    workspace.close()

    assert not workspace.directory.exists()


@pytest.mark.parametrize("setting", [Sandboxing.AUTO, Sandboxing.OFF])
async def test_an_engine_that_fails_for_want_of_something_points_at_the_sandbox(
    make_prison: MakePrison, setting: Sandboxing
) -> None:
    """If there is one; else it was refused by somebody else."""
    prison = await make_prison(setting)
    workspace = prison.workspaces.open()
    code = "import sys; sys.exit('model.gguf: Permission denied')"
    with pytest.raises(EngineFailed) as caught:
        await Instance.start(
            Launch((sys.executable, "-c", code)),
            *(Address(workspace.socket), "x", prison.lines.append, lambda _: None),
            environ={},
            workspace=workspace,
        )

    assert ("DMR_SANDBOX" in (caught.value.hint or "")) == (setting is Sandboxing.AUTO and ABI > 0)


async def test_a_sandbox_can_be_turned_off(make_prison: MakePrison) -> None:
    """Then what is refused otherwise succeeds; the directory still goes."""
    prison = await make_prison(Sandboxing.OFF)
    (prison.home / "secret").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(prison.folder / "bus"))
        bus.listen()
        there = f"127.0.0.1:{server.getsockname()[1]}"
        tries = (
            *(f"read:{prison.home}/secret", f"link:{prison.model}/weights", f"append:{prison.home}/x"),
            *(f"read:/proc/{os.getpid()}/environ", f"signal:{os.getpid()}", f"connect:{there}"),
            *(f"fast-open:{there}", f"datagram:{there}", f"unix:{prison.folder}/bus", "bind:0", "ring:"),
        )
        outcomes = await prison.try_to(*tries, launch=Launch((), env={"TMPDIR": str(prison.folder)}))
        asked = await prison.try_to("status:NoNewPrivs", "environment:HOME")
    await prison.instance.stop()

    assert [] == [(text, outcomes[text]) for text in tries if not outcomes[text].startswith("done")]
    assert {"status:NoNewPrivs": "done 0", "environment:HOME": f"done {os.environ['HOME']}"} == asked
    assert not prison.workspace.directory.exists()


async def test_without_landlock_the_rest_is_done_and_the_lack_is_told(
    make_prison: MakePrison, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An old kernel: files are open, privileges are not; the log and the status say so, once."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    prison = await make_prison(Sandboxing.AUTO)
    (prison.home / "secret").write_text("x")
    outcomes = await prison.try_to(f"read:{prison.home}/secret", "status:NoNewPrivs", "environment:HOME")

    assert "done 1 bytes" == outcomes[f"read:{prison.home}/secret"]
    assert "done 1" == outcomes["status:NoNewPrivs"]
    assert f"done {prison.workspace.directory}" == outcomes["environment:HOME"]
    assert prison.workspaces.sandbox.caveat == "the kernel has no Landlock"
    assert ["engines run without a sandbox reason=the kernel has no Landlock"] == caplog.messages


def test_a_sandbox_that_is_required_is_there_or_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start of the daemon, with the way out."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    with pytest.raises(InvalidRequest, match="has no Landlock"):
        Sandbox(Sandboxing.REQUIRE, tmp_path)

    monkeypatch.setattr(landlock, "version", lambda: 1)
    assert Sandbox(Sandboxing.REQUIRE, tmp_path).caveat is None
