"""What an engine may get at, decided from its launch; pure. How it is kept to that is in `confinement`.

Memory is bounded elsewhere. Processes are not counted, because the kernel counts those of the user, not of
the engine.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelrunner.engines.base import Address, Launch, Network
from modelrunner.runtime.processes.landlock import Access

_PROGRAMS = """
    /usr /bin /sbin /lib /lib32 /lib64 /libx32 /nix/store /gnu/store /run/opengl-driver
    /opt/rocm /opt/amdgpu /opt/intel /opt/nvidia /opt/cuda
"""
# Of /etc only what libraries look at: root, as whom a container's daemon runs, could read the rest too.
_FACTS = """
    /proc /sys /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/ld.so.preload /etc/alternatives
    /etc/ssl /etc/pki /etc/ca-certificates /etc/ca-certificates.conf /etc/crypto-policies
    /etc/localtime /etc/timezone /etc/locale.conf /etc/locale.alias /etc/os-release /etc/mime.types
    /etc/passwd /etc/group /etc/nsswitch.conf /etc/hosts /etc/host.conf /etc/resolv.conf /etc/gai.conf
    /etc/OpenCL /etc/vulkan /etc/nvidia /etc/nvidia-container-runtime /etc/python3 /etc/fonts
"""
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ACCELERATORS = ("nvidia", "dri", "kfd", "dxg", "accel")  # how the names of their nodes begin
_OF_EVERYBODY = (
    *((Path(text), Access.RUN) for text in _PROGRAMS.split()),
    *((Path(text), Access.READ) for text in _FACTS.split()),
)
_BESIDE_BIN = ("lib", "lib64", "pyvenv.cfg")


@dataclass(frozen=True, slots=True)
class Machine:
    """What rules depend on besides the launch.

    `python` are the places of our own interpreter and packages, `devices` the names of what is in `/dev`.
    """

    home: Path
    python: tuple[Path, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """The files that a command line names: the program, as written and without links, and others."""

    programs: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """What an engine may do. `ports` may be listened on, and nothing else done with TCP; None is anything."""

    grants: tuple[tuple[Path, Access], ...]
    ports: tuple[int, ...] | None
    largest_file: int


def rules(launch: Launch, address: Address, directory: Path, machine: Machine, named: Named) -> Rules:
    """Decide what an engine may get at; `directory` is its own.

    What is guessed, rather than told, never opens the user's home as a whole.
    """
    guessed = (*machine.python, *_around(named.programs))
    devices = (*_DEVICES, *(name for name in machine.devices if name.startswith(_ACCELERATORS)))
    grants = (
        *_OF_EVERYBODY,
        *((Path("/dev", name), Access.DEVICE) for name in devices),
        *((path, Access.RUN) for path in guessed if not machine.home.is_relative_to(path)),
        *((path, Access.RUN) for path in (*named.programs, *launch.reads)),
        *((path, Access.READ) for path in named.others),
        *((path, Access.WRITE) for path in (*launch.writes, directory)),
    )
    return Rules(grants, _ports(launch, address), launch.largest_file)


def private_environment(directory: Path) -> Mapping[str, str]:
    """Variables that lead an engine into its own directory with what it otherwise writes elsewhere."""
    names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
    return dict.fromkeys(names, str(directory))


def _around(programs: Iterable[Path]) -> Iterator[Path]:
    """Where a program has its libraries: beside it, or beside the `bin` that it is in."""
    for program in programs:
        yield program.parent
        if program.parent.name == "bin":
            yield from (program.parent.parent / name for name in _BESIDE_BIN)


def _ports(launch: Launch, address: Address) -> tuple[int, ...] | None:
    if launch.network is Network.LOOPBACK:
        return None
    return () if address.socket is not None else (address.port,)
