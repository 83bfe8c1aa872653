"""What an engine may get at, as a decision."""

from pathlib import Path
from typing import Any

import pytest

from modelrunner.engines.base import Address, Launch, Network
from modelrunner.runtime.processes.landlock import Access
from modelrunner.runtime.processes.sandbox import Machine, Named, Rules, private_environment, rules

HOME = Path("/home/u")
OWN = Path("/run/dmr/1")
SOCKET = Address(socket=OWN / "engine.sock")


def decide(launch: Launch, named: Named | None = None, address: Address = SOCKET, **machine: Any) -> Rules:
    return rules(launch, address, OWN, Machine(HOME, **machine), named or Named())


def granted(decided: Rules, path: str) -> Access:
    """All rights to a path, by whichever rule."""
    found = Access(0)
    for above, access in decided.grants:
        if Path(path).is_relative_to(above):
            found |= access
    return found


def test_nothing_is_granted_that_nobody_needs() -> None:
    """Neither home nor root's files, nor other engines' places, nor anything to write to but its own."""
    decided = decide(Launch(("/usr/bin/x",)))

    for path in (
        "/",
        "/home/u/.ssh/id",
        "/etc/shadow",
        "/root/x",
        "/run/dmr/2/engine.sock",
        "/tmp/x",
        "/dev/sda",
    ):
        assert granted(decided, path) == 0
    assert {OWN} == {path for path, access in decided.grants if access & Access.MAKE_REG}
    assert Access.RUN == granted(decided, "/usr/bin/x")
    assert Access.READ == granted(decided, "/etc/ssl/certs/ca.pem")
    assert Access.WRITE == granted(decided, "/run/dmr/1/engine.sock")


def test_what_can_be_written_cannot_be_run() -> None:
    """An engine that was taken over brings no program of its own."""
    decided = decide(Launch(("x",), writes=(Path("/cache"),)))

    assert [] == [
        path for path, access in decided.grants if access & Access.WRITE_FILE and access & Access.EXECUTE
    ]


def test_no_device_can_be_made() -> None:
    """Not even by root."""
    devices = Access.MAKE_CHAR | Access.MAKE_BLOCK

    assert not any(access & devices for _, access in decide(Launch(("x",))).grants)


def test_accelerators_are_devices_to_work_with() -> None:
    """Those that are there; disks and terminals are none."""
    decided = decide(Launch(("x",)), devices=("dri", "nvidia0", "nvidiactl", "sda", "tty", "kvm"))

    assert Access.DEVICE == granted(decided, "/dev/dri/renderD128") == granted(decided, "/dev/nvidia0")
    assert [0, 0, 0] == [granted(decided, f"/dev/{name}") for name in ("sda", "tty", "kvm")]


def test_what_a_launch_names_is_granted() -> None:
    """As it says: to read, or to write too."""
    decided = decide(Launch(("x",), reads=(Path("/models/m"),), writes=(Path("/cache"),)))

    assert Access.RUN == granted(decided, "/models/m/weights")
    assert Access.WRITE == granted(decided, "/cache/x")


def test_a_program_has_its_libraries_around_it() -> None:
    """Beside it, and beside the `bin` that it is in, with what makes a virtual environment one."""
    decided = decide(Launch(("x",)), Named(programs=(Path("/home/u/llama/bin/llama-server"),)))

    for path in ("/home/u/llama/bin/libggml.so", "/home/u/llama/lib/libggml.so", "/home/u/llama/pyvenv.cfg"):
        assert Access.RUN == granted(decided, path)
    assert granted(decided, "/home/u/llama/secrets") == 0


def test_a_program_in_the_home_folder_does_not_open_it() -> None:
    """The file alone is granted then, and the same holds for our own Python."""
    program = HOME / "llama-server"
    decided = decide(
        Launch((str(program),)), Named(programs=(program,)), python=(HOME, Path("/home"), Path("/"))
    )

    assert Access.RUN == granted(decided, str(program))
    assert granted(decided, "/home/u/.ssh/id") == 0


def test_files_on_the_command_line_are_read_alone() -> None:
    """Not what lies beside them."""
    decided = decide(Launch(("x",)), Named(others=(Path("/data/lora.gguf"),)))

    assert Access.READ == granted(decided, "/data/lora.gguf")
    assert granted(decided, "/data/other") == 0


@pytest.mark.parametrize(
    ("network", "address", "ports"),
    [
        (Network.OWN, SOCKET, ()),
        (Network.OWN, Address(port=30_001), (30_001,)),
        (Network.LOOPBACK, SOCKET, None),
    ],
)
def test_ports_follow_from_the_network_and_the_address(
    network: Network, address: Address, ports: tuple[int, ...] | None
) -> None:
    """None on a socket, its own on a port, anything for engines whose processes talk by TCP."""
    assert ports == decide(Launch(("x",), network=network), address=address).ports


def test_its_own_directory_is_where_an_engine_finds_home_and_caches() -> None:
    """And where it puts temporary files, so that all of it goes with the engine."""
    assert {"HOME", "TMPDIR", "XDG_CACHE_HOME"} <= set(private_environment(OWN))
    assert {str(OWN)} == set(private_environment(OWN).values())
