"""The engine contract: a plug-in describes a process and understands its words; it starts nothing itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from modelrunner.engines.ask import Ask
from modelrunner.engines.denied_fields import DeniedFields
from modelrunner.engines.environment import Environment
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_PROGRAMS: Mapping[str, Path] = MappingProxyType({})
_NO_OVERRIDES: Mapping[str, object] = MappingProxyType({})
_OUTPUT_LIMIT = 4096  # characters of an engine's own output that an error message carries


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the daemon was configured with, as far as engines care.

    `server_path` is the user's own server program or the directory that holds it; `search_path` is the
    environment's list of program directories, `extra_args` are arguments for every start, already split.
    Those three are llama.cpp's. `programs` are the programs or environments that the user named for other
    engines, by engine; `environments` is the folder in which engines are installed, None when they cannot be.
    """

    server_path: Path | None = None
    search_path: str = ""
    extra_args: tuple[str, ...] = ()
    programs: Mapping[str, Path] = field(default_factory=lambda: _NO_PROGRAMS)
    environments: Path | None = None


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
class Draft:
    """A small model that guesses for a large one, which then checks several tokens at once.

    `weights` has the first shard first. `tokens` is how many it guesses at most, `probability` how likely a
    guess must be, from 0 to 1; the engine decides what is None.
    """

    weights: tuple[Path, ...]
    tokens: int | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How one model is to be run: what a user configured, and what the daemon adds.

    `context_size` is in tokens, -1 as large as the model allows, None unset. `reasoning_budget` is in tokens,
    -1 without limit. `flags` were checked against the engine's list when they came in. `name` is what the
    engine calls the model in its answers; some print the path of the file when it is None. `states` is the
    folder for an engine that saves what it computed of prompts (`states.SavesStates`); None, it shall not.
    `overrides` are for the model's own `config.json`, and `gpu_memory_utilization` is from 0 to 1; both are
    vLLM's.
    """

    context_size: int | None = None
    flags: tuple[str, ...] = ()
    reasoning_budget: int | None = None
    name: str | None = None
    draft: Draft | None = None
    states: Path | None = None
    overrides: Mapping[str, object] = field(default_factory=lambda: _NO_OVERRIDES)
    gpu_memory_utilization: float | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine is to listen: a Unix socket when `socket` is set, else host and port.

    The socket's name ends in `.sock`: llama.cpp takes anything else for a host name.
    """

    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0


class Listens(StrEnum):
    """Where an engine can listen; see `listens_on`."""

    SOCKET = "a Unix socket"
    PORT = "a TCP port"


class Network(StrEnum):
    """What an engine does with the network, besides answering at its address."""

    OWN = "listens where it is told to, and connects to nobody"
    LOOPBACK = "its own processes talk to each other over sockets and TCP on this machine"


@dataclass(frozen=True, slots=True)
class Sleep:
    """How an engine is put to sleep, in which it gives the memory of GPUs back, and how it is woken.

    It answers with 200 when that is done, each time within so many seconds. What it holds while it sleeps
    is said by its estimate (`estimate.Estimate.asleep`).
    """

    sleep: Ask
    wake: Ask
    within: float = 120.0


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start, how to know that it is ready, and what it needs to get at.

    `ready_within` is in seconds. Everything that is not named is out of its reach where the system can see to
    that: it reads the model, the files that its command line names, the system's libraries and our own Python
    anyway, and writes into a directory of its own, which is its home, its place for temporary files and its
    cache, until it ends. `reads` and `writes` are further files and directories, of which those to write to
    are made when they are missing; what it writes there stays. `largest_file` is in bytes.
    `remembered` is how many bytes of its last output `diagnose` is to get.

    `model_name` is what requests have to call the model; None when the engine takes any name. `sleep` is how
    it sleeps, if it can. `denied_fields` are fields of requests that it must not get.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    cwd: Path | None = None
    health: str = "/health"
    ready_within: float = 300.0
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    network: Network = Network.OWN
    largest_file: int = 16 << 30
    remembered: int = 4096
    model_name: str | None = None
    sleep: Sleep | None = None
    denied_fields: DeniedFields = field(default_factory=dict)


class Engine(Protocol):
    """An engine plug-in. `native` names the dialects that the engine speaks without translation.

    An entry point of the group `modelrunner.engines` is a callable that takes `EngineSettings` and returns an
    engine. `testing.contract` holds the tests that each must pass. An engine that cannot listen on a Unix
    socket has an attribute more, `listens = Listens.PORT`, and is given a port each time.
    """

    name: str
    display: str
    formats: frozenset[Format]
    modes: frozenset[Mode]
    native: frozenset[str]

    def probe(self) -> EngineStatus:
        """Say whether the engine is here and in which version. May run a quick command; blocks."""
        ...

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:
        """Say why this model cannot be served in this mode, in a clause; None when it can. Pure and quick.

        Asked only for formats and modes that the engine declares.
        """
        ...

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        """Describe the process that serves this model in this mode; pure."""
        ...

    def diagnose(self, tail: str) -> str | None:
        """Turn the last lines of its output into one sentence that a user can act on, or None."""
        ...


class Origin(StrEnum):
    """Where a value that is in force comes from."""

    CONFIGURED = "configured"
    PACKAGED = "packaged"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Context:
    """The context that a model is run with, in tokens, and who chose it."""

    tokens: int
    origin: Origin


def chosen_context(config: ModelConfig, options: Options) -> Context | None:
    """The context that a user chose, else the packaged one; None when the model's own length counts."""
    if options.context_size is not None and options.context_size > 0:
        return Context(options.context_size, Origin.CONFIGURED)
    packaged = config.context_size
    return Context(packaged, Origin.PACKAGED) if packaged is not None and packaged > 0 else None


@runtime_checkable
class KnowsContext(Protocol):
    """An engine that can say which context a model will have; not every one can before it has started."""

    def context(self, config: ModelConfig, options: Options) -> Context | None:
        """Say it, None when only the engine's program knows; pure."""
        ...


@runtime_checkable
class Parallel(Protocol):
    """What an engine may offer besides: to say how many requests it works on at the same time."""

    def slots(self, options: Options) -> int:
        """Say how many requests an instance with these options serves at once; further ones wait in it."""
        ...


def listens_on(engine: Engine) -> Listens:
    """Say where an engine listens: on a Unix socket, unless it says otherwise."""
    listens: Listens = getattr(engine, "listens", Listens.SOCKET)
    return listens


@runtime_checkable
class Installable(Protocol):
    """An engine that the daemon can install and remove; `environment` is None where it cannot."""

    @property
    def environment(self) -> Environment | None:
        """What is installed, and where."""
        ...


def explain(sentence: str | None, tail: str) -> str:
    """Join a diagnosis and the engine's own last words; only the latter when there is no diagnosis.

    Source: the layout in which Docker Model Runner reports a failed load.
    """
    words = tail.strip()
    if sentence is None:
        return words
    if len(words) > _OUTPUT_LIMIT:
        words = f"{words[:_OUTPUT_LIMIT]}\n...[truncated]"
    return f"{sentence}\n\nVerbose output:\n{words}" if words else sentence
