"""How single models are to be run, as users configured it: state of the daemon, gone when it stops."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from modelrunner.engines.base import Options
from modelrunner.engines.flags import check_flags, check_overrides, split_flags
from modelrunner.errors import InvalidRequest
from modelrunner.models.config import MAX_CONTEXT_SIZE
from modelrunner.models.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.plan import Key
from modelrunner.units import format_keep_alive, parse_keep_alive
from modelrunner.wire import ConfigureOptions, ConfigureRequest, LlamaCppOptions, Speculative, VllmOptions

# Modes whose instances are run like another's unless they were configured themselves.
_BORROWS = {Mode.RERANKING: Mode.COMPLETION, Mode.IMAGE: Mode.COMPLETION}
_EMBEDDING_FLAGS = frozenset({"--embedding", "--embeddings"})


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How long an idle model stays: `seconds`, None for ever."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """One model's configuration; `keep_alive` is None when the daemon's own applies.

    `speculative` and `vllm` are kept for those who ask, until an engine is here that uses them.
    """

    options: Options = field(default_factory=Options)
    keep_alive: KeepAlive | None = None
    speculative: Speculative | None = None
    vllm: VllmOptions | None = None

    def as_wire(self) -> ConfigureOptions:
        """Write it with the field names of the request, without what is unset."""
        options: ConfigureOptions = {}
        if self.options.context_size is not None:
            options["context-size"] = self.options.context_size
        if self.options.flags:
            options["runtime-flags"] = list(self.options.flags)
        if self.speculative:
            options["speculative"] = self.speculative
        if self.keep_alive is not None:
            options["keep_alive"] = format_keep_alive(self.keep_alive.seconds)
        if self.vllm:
            options["vllm"] = self.vllm
        if self.options.reasoning_budget is not None:
            options["llamacpp"] = {"reasoning-budget": self.options.reasoning_budget}
        return options


class Configurations:
    """All configurations, by engine, model and mode."""

    def __init__(self, *, keep_alive: float | None) -> None:
        """`keep_alive` is in seconds, None for ever, for models that were not configured."""
        self._default = keep_alive
        self._all: dict[Key, Configuration] = {}

    def exact(self, key: Key) -> Configuration | None:
        """What was configured for exactly this."""
        return self._all.get(key)

    def effective(self, key: Key) -> Configuration:
        """What an instance is run with: its own, else what its mode borrows, else nothing."""
        found = self._all.get(key)
        if found is None and key.mode in _BORROWS:
            found = self._all.get(Key(key.engine, key.model, _BORROWS[key.mode]))
        return found or Configuration()

    def keep_alive(self, key: Key) -> float | None:
        """How long an idle instance stays, in seconds; None for ever."""
        if not self._all:
            return self._default
        configured = self.effective(key).keep_alive
        return self._default if configured is None else configured.seconds

    def pinned(self, key: Key) -> bool:
        """Whether it stays whatever happens."""
        return self.exact(key) is None and False

    def memory_check(self, key: Key) -> bool:
        """Whether it is loaded only if its memory is there."""
        return self.exact(key) is None or True

    def put(self, key: Key, configuration: Configuration) -> None:
        """Replace what was configured."""
        self._all[key] = configuration

    def forget(self, *, engine: str | None = None, models: Sequence[Digest] | None = None) -> None:
        """Forget what concerns an engine (None: any) and some models (None: all)."""
        self._all = {
            key: kept
            for key, kept in self._all.items()
            if (engine is not None and key.engine != engine)
            or (models is not None and key.model not in models)
        }

    def items(self) -> tuple[tuple[Key, Configuration], ...]:
        """Everything that was configured, in the order in which it was."""
        return tuple(self._all.items())


def flags_of(request: ConfigureOptions) -> tuple[str, ...]:
    """The flags of a request: the list when it has any, else the line, split.

    Raises:
        InvalidRequest: the line cannot be split.
    """
    return tuple(request.get("runtime-flags") or ()) or split_flags(request.get("raw-runtime-flags") or "")


def mode_of(request: ConfigureRequest) -> Mode:
    """The mode of a request: as named, else embedding when a flag asks for it, else completion.

    Raises:
        InvalidRequest: no mode has that name.
    """
    named = request.get("mode")
    if named:
        try:
            return Mode(named)
        except ValueError as exc:
            raise InvalidRequest(
                f"invalid mode: `{named}`", hint=f"one of {', '.join(f'`{mode}`' for mode in Mode)}"
            ) from exc
    return Mode.EMBEDDING if _EMBEDDING_FLAGS.intersection(flags_of(request)) else Mode.COMPLETION


def configuration(request: ConfigureRequest, engine: str) -> Configuration:
    """Read a configuration for an engine, whose list of flags is the one that counts.

    Raises:
        InvalidRequest, UnknownFlag: a value or a flag that cannot be passed on.
    """
    size = request.get("context-size")
    if size is not None and abs(size) > MAX_CONTEXT_SIZE:
        raise InvalidRequest(f"context size out of range: `{size}`", hint=f"at most {MAX_CONTEXT_SIZE}")
    llamacpp: LlamaCppOptions = request.get("llamacpp") or {}
    check_overrides((request.get("vllm") or {}).get("hf-overrides") or {})
    keep_alive = request.get("keep_alive")
    return Configuration(
        options=Options(
            context_size=size,
            flags=check_flags(engine, flags_of(request)),
            reasoning_budget=llamacpp.get("reasoning-budget"),
        ),
        keep_alive=None if keep_alive is None else KeepAlive(parse_keep_alive(keep_alive)),
        speculative=request.get("speculative"),
        vllm=request.get("vllm"),
    )
