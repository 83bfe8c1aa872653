"""Find the engines that are installed and choose one for a model. Only the daemon loads entry points."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from threading import Lock

from modelrunner.engines.base import Engine, EngineSettings, EngineState, EngineStatus, Installable
from modelrunner.errors import EngineNotFound, EngineNotInstalled, RunnerError, UnsupportedModel
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Mode

_log = logging.getLogger(__name__)

GROUP = "modelrunner.engines"
DEFAULT = "llama.cpp"
_MEANT_FOR = {
    Mode.COMPLETION: "it is a model that talks: use /v1/chat/completions",
    Mode.EMBEDDING: "it is a model for embeddings: use /v1/embeddings",
    Mode.RERANKING: "it is a model that ranks documents: use /v1/rerank",
    Mode.IMAGE: "it is a model that makes images: use /v1/images/generations",
    Mode.TRANSCRIPTION: "it is a model that hears: use /v1/audio/transcriptions",
    Mode.SPEECH: "it is a model that speaks: use /v1/audio/speech",
}
# Of the engines that fit a model and are installed, the first is taken; others follow by name.
PREFERENCE = (DEFAULT, "vllm", "sglang", "mlx", "diffusers", "whisper", "piper")
_RETRY_AFTER = 1.0  # seconds until an engine that could not be used is looked for again


class Engines:
    """The engines of this daemon, in the order in which they are tried.

    A probe that succeeded is believed until `statuses` asks again, so that choosing for a loaded model costs
    neither a process nor a look at the disk.
    """

    def __init__(
        self,
        engines: Iterable[Engine],
        *,
        broken: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take engines in order of preference; `broken` says by name why a plug-in could not be loaded."""
        self._engines = {engine.name: engine for engine in engines}
        self._broken = dict(broken or {})
        self._clock = clock
        self._probed: dict[str, tuple[float, EngineStatus]] = {}
        self._probing = Lock()
        self._installing: dict[str, str] = {}

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())

    @property
    def names(self) -> tuple[str, ...]:
        """All engines that were loaded, usable or not."""
        return tuple(self._engines)

    def get(self, name: str) -> Engine:
        """Find an engine by its name.

        Raises:
            EngineNotFound: there is none of that name.
        """
        try:
            return self._engines[name]
        except KeyError:
            known = ", ".join(f"`{known}`" for known in self._engines)
            reason = f"it could not be loaded: {self._broken[name]}" if name in self._broken else None
            raise EngineNotFound(
                f"backend not found: `{name}`", hint=reason or f"known backends: {known or 'none'}"
            ) from None

    def choose(self, config: ModelConfig, mode: Mode, named: str | None = None) -> Engine:
        """Choose the engine for a model: the named one if it fits the model, else the first that does.

        An engine that fits but is not installed is passed over, unless it was named. The first call may run
        a probe, which blocks; afterwards this is quick.

        Raises:
            EngineNotFound: no engine has the name.
            UnsupportedModel: no engine fits; the message gives each one's reason.
            EngineNotInstalled: those that fit cannot be used here; the message says why.
        """
        first = self.get(named) if named is not None else None
        unfit: dict[str, str] = {}
        unusable: dict[str, str] = {}
        for engine in self._in_order(first):
            reason = unfit_because(engine, config, mode)
            if reason is not None:
                unfit[engine.name] = reason
                continue
            status = self.status(engine)
            if status.usable:
                return engine
            unusable[engine.name] = str(status)
            if engine is first:
                break
        if unusable:
            raise EngineNotInstalled(
                f"no usable backend for this model ({_reasons(unusable)})", hint=self._install_hint(unusable)
            )
        raise UnsupportedModel(
            f"no backend can serve this model for {mode} ({_reasons(unfit)})", hint=self._hint(config, mode)
        )

    def natural_mode(self, config: ModelConfig) -> Mode:
        """Say what a model is for, when nobody says: the first thing that some engine can do with it."""
        for mode in Mode:
            if any(unfit_because(engine, config, mode) is None for engine in self):
                return mode
        return Mode.COMPLETION

    def _in_order(self, first: Engine | None) -> Iterator[Engine]:
        if first is not None:
            yield first
        yield from (engine for engine in self if engine is not first)

    def _install_hint(self, names: Iterable[str]) -> str | None:
        """Say how to install the first of some engines that the daemon can install."""
        for name in names:
            engine = self._engines[name]
            if isinstance(engine, Installable) and engine.environment is not None:
                return (
                    f"install one: `docker model install-runner --backend {name}`,"
                    f" or `dmr install-runner --backend {name}`"
                )
        return None

    def _hint(self, config: ModelConfig, mode: Mode) -> str | None:
        """The way out when the model is for something else than somebody wanted."""
        natural = self.natural_mode(config)
        return None if natural is mode else _MEANT_FOR.get(natural)

    def status(self, engine: Engine) -> EngineStatus:
        """What is known of an engine; probes it when nothing good is known yet. Blocks when it probes."""
        known = self._probed.get(engine.name)
        if known and (known[1].usable or self._clock() - known[0] < _RETRY_AFTER):
            return known[1]
        return self._probe(engine)

    def note(self, name: str, doing: str | None) -> None:
        """Take note that an engine is being installed, and what is done for it; None when that is over."""
        if doing is not None:
            self._installing[name] = doing
            return
        self._installing.pop(name, None)
        self._probed.pop(name, None)

    def statuses(self) -> Mapping[str, EngineStatus]:
        """Probe every engine now and say how it is, by name. Blocks: call it in a thread."""
        found = {engine.name: self._probe(engine) for engine in self}
        for name, doing in tuple(self._installing.items()):
            found[name] = EngineStatus(EngineState.INSTALLING, detail=doing)
        for name, reason in self._broken.items():
            found[name] = EngineStatus(EngineState.ERROR, detail=reason)
        return found

    def _probe(self, engine: Engine) -> EngineStatus:
        with self._probing:
            try:
                status = engine.probe()
            except RunnerError as exc:
                status = EngineStatus(EngineState.ERROR, detail=exc.message)
            self._probed[engine.name] = (self._clock(), status)
        return status


def unfit_because(engine: Engine, config: ModelConfig, mode: Mode) -> str | None:
    """Say why an engine cannot serve a model in a mode, whether it is installed or not; None when it can.

    A model whose format is unknown fits every engine: the engine's own words are then the better answer.
    """
    if config.format is not None and config.format not in engine.formats:
        return f"does not run models of the format `{config.format}`"
    if mode not in engine.modes:
        return f"does not do {mode}"
    return engine.refuse(config, mode)


def _rank(name: str) -> int:
    return PREFERENCE.index(name) if name in PREFERENCE else len(PREFERENCE)


def _reasons(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "none is installed"


def load_engines(settings: EngineSettings, found: Iterable[EntryPoint] | None = None) -> Engines:
    """Make every engine that an installed distribution registers, in the order of `PREFERENCE`.

    A plug-in that cannot be loaded is logged, and listed by `statuses` with the reason.

    Raises:
        RunnerError: the settings are wrong for an engine, for example a forbidden extra argument.
    """
    points = entry_points(group=GROUP) if found is None else found
    engines: list[Engine] = []
    broken: dict[str, str] = {}
    for point in sorted(points, key=lambda point: (_rank(point.name), point.name)):
        try:
            factory: Callable[[EngineSettings], Engine] = point.load()
            engines.append(factory(settings))
        except RunnerError:
            raise
        except Exception as exc:  # noqa: BLE001 - a foreign plug-in may raise anything
            _log.warning("engine plug-in not loaded name=%s", point.name, exc_info=True)
            broken[point.name] = f"{type(exc).__name__}: {exc}"
    return Engines(engines, broken=broken)
