"""How an engine is kept to its rules: prepared before the fork, given up by the child before it runs.

On Linux an engine has no new privileges, no core dumps, bounded files, as root only the capabilities that it
has a use for, no calls that lead out of it (`seccomp`), and, where the kernel has Landlock, only the files
and ports that it was granted. Elsewhere nothing is done, and said so.
"""

import logging
import os
import platform
import resource
import shutil
import site
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modelrunner.engines.base import Address, Launch
from modelrunner.errors import InvalidRequest
from modelrunner.runtime.processes import landlock, seccomp
from modelrunner.runtime.processes.kernel import PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, prctl, syscall
from modelrunner.runtime.processes.sandbox import Machine, Named, Rules, private_environment, rules

_log = logging.getLogger(__name__)

_OF_A_PREFIX = ("bin", "lib", "lib64", "libexec", "share", "include", "etc", "ssl", "pyvenv.cfg")
# linux/capability.h: files of other users (DAC_OVERRIDE, DAC_READ_SEARCH), pinned memory (IPC_LOCK), and the
# placing of threads on cores (SYS_NICE).
_KEPT_CAPABILITIES = frozenset({1, 2, 14, 23})
_MOST_CAPABILITIES = 64  # they are bits of a number; those that a kernel does not have are no matter
_OPEN_FILES = 65_536
_FAILED = 126  # as of a shell that cannot run a program


class Sandboxing(StrEnum):
    """The setting: as much as the system can do, nothing, or nothing less than Landlock."""

    AUTO = "auto"
    OFF = "off"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class System:
    """What this system can do: `abi` is the version of Landlock, 0 for none, `architecture` that of filters.

    `superfluous` are the capabilities that a process of ours has, and an engine has no use for.
    """

    abi: int = 0
    architecture: seccomp.Architecture | None = None
    superfluous: tuple[int, ...] = ()

    @classmethod
    def find(cls) -> "System":
        """Ask the kernel."""
        architecture = seccomp.ARCHITECTURES.get(platform.machine())
        if architecture is not None and not seccomp.has_filters(architecture):
            architecture = None
        return cls(landlock.version(), architecture, tuple(_superfluous_capabilities()))


class Confinement:
    """What one engine is about to give up. Its parent makes it and closes it, its child enters it."""

    def __init__(self, rules: Rules, system: System) -> None:
        """Prepare everything that a forked child must not do.

        Raises:
            OSError: the kernel does not take the rules.
        """
        self._prctl, self._syscall = prctl(), syscall()
        self._capabilities = system.superfluous
        self._limits = tuple(_limits(rules))
        self._filter = self._filter_by = None
        if system.architecture is not None:
            answers_only, tcp = rules.ports is not None, rules.ports != ()
            code = seccomp.program(system.architecture, answers_only=answers_only, tcp=tcp)
            self._filter = seccomp.Filter(code)
            self._filter_by = system.architecture.calls["seccomp"]
        self._ruleset = landlock.ruleset(system.abi, rules.grants, rules.ports) if system.abi else None

    def enter(self) -> None:
        """Give it up, between fork and exec; a child that cannot does not run."""
        for kind, bounds in self._limits:
            resource.setrlimit(kind, bounds)
        for capability in self._capabilities:
            self._prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # in some containers root may not even do that
        failed = self._prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if self._ruleset is not None:
            failed |= self._syscall(landlock.RESTRICT_SELF, self._ruleset, 0, 0, 0)
        if self._filter is not None and self._filter_by is not None:
            flags = seccomp.SPEC_ALLOW
            failed |= self._syscall(self._filter_by, seccomp.SET_MODE_FILTER, flags, self._filter.address, 0)
        if failed:
            os._exit(_FAILED)

    def close(self) -> None:
        """Let go of what was prepared."""
        if self._ruleset is not None:
            os.close(self._ruleset)
            self._ruleset = None


class Sandbox:
    """The daemon's way to confine engines. `caveat` says why there is no sandbox, None when there is."""

    def __init__(self, setting: Sandboxing, home: Path) -> None:
        """Find out what the system has; a shortcoming is logged, once.

        Raises:
            InvalidRequest: Landlock is required, and is not here.
        """
        self._setting = setting
        self._home = home
        self._python = tuple(dict.fromkeys(_python()))
        usable = sys.platform == "linux" and setting is not Sandboxing.OFF
        self._system = System.find() if usable else None
        self.caveat = None if self._system and self._system.abi else _caveat(setting)
        if setting is Sandboxing.REQUIRE and self.caveat is not None:
            raise InvalidRequest(
                "DMR_SANDBOX is `require`, and this system has no Landlock",
                hint="it takes Linux 5.13 with Landlock turned on; or set DMR_SANDBOX to `auto`",
            )
        if self.caveat is not None:
            _log.warning("engines run without a sandbox reason=%s", self.caveat)

    def environment(self, directory: Path) -> Mapping[str, str]:
        """The variables that lead an engine into its own directory; none when the sandbox is turned off."""
        if self._setting is Sandboxing.OFF:
            return {}
        base = {"PYTHONUSERBASE": site.getuserbase()} if site.ENABLE_USER_SITE else {}  # it is found by HOME
        return {**base, **private_environment(directory)}

    def confine(self, launch: Launch, address: Address, directory: Path) -> Confinement | None:
        """Prepare what an engine gives up; None where nothing is done.

        Raises:
            OSError: a directory that it is to write to cannot be made, or the kernel does not take the rules.
        """
        if self._system is None:
            return None
        for path in launch.writes:
            if not path.exists():
                path.mkdir(mode=0o700, parents=True)
        machine = Machine(self._home, self._python, _names_in(Path("/dev")))
        wanted = rules(launch, address, directory, machine, _named(launch.argv))
        return Confinement(wanted, self._system)


def _caveat(setting: Sandboxing) -> str:
    if setting is Sandboxing.OFF:
        return "it is turned off by DMR_SANDBOX"
    return "the kernel has no Landlock" if sys.platform == "linux" else f"there is none on {sys.platform}"


def _limits(rules: Rules) -> Iterator[tuple[int, tuple[int, int]]]:
    """Limits as `setrlimit` takes them, none above what we have ourselves."""
    wanted = ((resource.RLIMIT_CORE, 0, 0),)
    yield from ((kind, (soft, hard)) for kind, soft, hard in wanted)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield resource.RLIMIT_NOFILE, (_within(_OPEN_FILES, hard), hard)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = _within(rules.largest_file, hard)
    yield resource.RLIMIT_FSIZE, (largest, largest)


def _within(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _superfluous_capabilities() -> Iterator[int]:
    """What a process of root could do and an engine need not; nothing for anybody else."""
    if os.geteuid() == 0:
        yield from (number for number in range(_MOST_CAPABILITIES) if number not in _KEPT_CAPABILITIES)


def _python() -> Iterator[Path]:
    """Where our own interpreter, its library and our packages are, also in an editable installation."""
    for prefix in dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)):
        yield from (Path(prefix, name) for name in _OF_A_PREFIX)
    yield from (Path(entry) for entry in sys.path if entry.startswith("/"))
    yield Path(__file__).parents[3]


def _names_in(folder: Path) -> tuple[str, ...]:
    with suppress(OSError):
        return tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - names, not paths
    return ()


def _named(argv: tuple[str, ...]) -> Named:
    """Find the files among the words of a command line, also behind `--flag=`."""
    program = shutil.which(argv[0])
    values = (word.partition("=")[2] if word.startswith("-") else word for word in argv[1:])
    files = [Path(value) for value in values if value.startswith("/") and os.path.isfile(value)]  # noqa: PTH113 - it takes any text
    programs = (Path(program).absolute(), Path(program).resolve()) if program else ()
    return Named(programs, tuple(files))
