"""The engine contract: a plug-in describes a process and understands its words; it starts nothing itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from modelrunner.models.bundle import Bundle
from modelrunner.models.kinds import Format, Mode

_NOTHING: Mapping[str, str] = MappingProxyType({})


class EngineState(StrEnum):
    """Whether an engine can be used; the values are what `/engines/status` prints."""

    RUNNING = "Running"
    ERROR = "Error"
    NOT_INSTALLED = "Not Installed"
    INSTALLING = "Installing"


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What a probe found out. `detail` is for people: a version, a path, a reason."""

    state: EngineState
    version: str | None = None
    detail: str = ""

    @property
    def usable(self) -> bool:
        """Whether a model can be given to this engine now."""
        return self.state is EngineState.RUNNING

    def __str__(self) -> str:
        return f"{self.state}: {self.detail}" if self.detail else str(self.state)


@dataclass(frozen=True, slots=True)
class Options:
    """How one model is to be run, as a user configured it.

    `context_size` is in tokens, -1 as large as the model allows, None unset. `reasoning_budget` is in tokens,
    -1 without limit. `flags` were checked against the engine's list when they came in.
    """

    context_size: int | None = None
    flags: tuple[str, ...] = ()
    reasoning_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine is to listen: a Unix socket when `socket` is set, else host and port."""

    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start and how to know that it is ready. `ready_within` is in seconds."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default=_NOTHING)
    cwd: Path | None = None
    health: str = "/health"
    ready_within: float = 300.0


class Engine(Protocol):
    """An engine plug-in. `native` names the dialects that the engine speaks without translation."""

    name: str
    display: str
    formats: frozenset[Format]
    modes: frozenset[Mode]
    native: frozenset[str]

    def probe(self) -> EngineStatus:
        """Say whether the engine is here and in which version. May run a quick command; blocks."""
        ...

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        """Describe the process that serves this model in this mode; pure."""
        ...

    def diagnose(self, tail: str) -> str | None:
        """Turn the last lines of stderr into one sentence that a user can act on, or None."""
        ...
