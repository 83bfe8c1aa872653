"""How one model is to be run: read from requests, merged, shown. Which one applies is in `configurations`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from modelrunner.engines.base import Options
from modelrunner.engines.flags import check_flags, check_overrides, split_flags
from modelrunner.errors import InvalidRequest
from modelrunner.models.description.config import MAX_CONTEXT_SIZE
from modelrunner.models.description.kinds import Mode
from modelrunner.units import format_keep_alive, parse_keep_alive
from modelrunner.wire.configuration import (
    ConfigureOptions,
    ConfigureRequest,
    LlamaCppOptions,
    Speculative,
    VllmOptions,
)

_EMBEDDING_FLAGS = frozenset({"--embedding", "--embeddings"})
# What a request of a stock client cannot mention, and so must not take away.
_STAYS = ("pinned", "memory-check", "record")
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How long an idle model stays: `seconds`, None for ever."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """One model's configuration; `keep_alive` is None when the daemon's own applies.

    `pinned` models stay in memory; without `memory_check` a load goes ahead that seems too large for it,
    and without `record` its requests are not recorded. `speculative` names a draft model, looked up at each
    start. `later` is what a later version of the daemon wrote into our file, under its names there.
    """

    options: Options = field(default_factory=Options)
    keep_alive: KeepAlive | None = None
    speculative: Speculative | None = None
    vllm: VllmOptions | None = None
    pinned: bool = False
    memory_check: bool = True
    record: bool = True
    later: Mapping[str, object] = field(default_factory=dict, compare=False)

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
        if self.pinned:
            options["pinned"] = True
        if not self.memory_check:
            options["memory-check"] = False
        if not self.record:
            options["record"] = False
        return options

    def for_engine(self) -> Options:
        """The options, with those that have a place of their own in a request."""
        vllm: VllmOptions = self.vllm or {}
        return replace(
            self.options,
            overrides=vllm.get("hf-overrides") or {},
            gpu_memory_utilization=vllm.get("gpu-memory-utilization"),
        )

    def runs_like(self, other: "Configuration") -> bool:
        """Whether an engine that was started with the one need not be started again for the other."""
        return _started(self) == _started(other)


def _started(configuration: Configuration) -> Configuration:
    """What of a configuration an engine is started with."""
    return replace(configuration, keep_alive=None, pinned=False, memory_check=True, record=True)


def flags_of(request: ConfigureOptions) -> tuple[str, ...]:
    """The flags of a request: the list when it has any, else the line, split.

    Raises:
        InvalidRequest: the line cannot be split.
    """
    return tuple(request.get("runtime-flags") or ()) or split_flags(request.get("raw-runtime-flags") or "")


def mode_of(request: ConfigureRequest) -> Mode | None:
    """The mode of a request: as named, else embedding when a flag asks for it, else None: the model's own.

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
    return Mode.EMBEDDING if _EMBEDDING_FLAGS.intersection(flags_of(request)) else None


def configuration(request: ConfigureOptions, engine: str) -> Configuration:
    """Read a configuration for an engine, whose list of flags is the one that counts.

    Raises:
        InvalidRequest, UnknownFlag: a value or a flag that cannot be passed on; the message names the field.
    """
    size = request.get("context-size")
    if size is not None and abs(size) > MAX_CONTEXT_SIZE:
        raise InvalidRequest(f"context size out of range: `{size}`", hint=f"at most {MAX_CONTEXT_SIZE}")
    llamacpp: LlamaCppOptions = request.get("llamacpp") or {}
    vllm: VllmOptions = request.get("vllm") or {}
    speculative: Speculative = request.get("speculative") or {}
    check_overrides(vllm.get("hf-overrides") or {})
    _check("vllm.gpu-memory-utilization", vllm.get("gpu-memory-utilization"), 0, 1)
    _check("llamacpp.reasoning-budget", llamacpp.get("reasoning-budget"), -1, _LARGEST)
    _check("speculative.num_tokens", speculative.get("num_tokens"), 0, _LARGEST)
    _check("speculative.min_acceptance_rate", speculative.get("min_acceptance_rate"), 0, 1)
    return Configuration(
        options=Options(
            context_size=size,
            flags=check_flags(engine, flags_of(request)),
            reasoning_budget=llamacpp.get("reasoning-budget"),
        ),
        keep_alive=_keep_alive(request),
        speculative=request.get("speculative") or None,
        vllm=request.get("vllm") or None,
        pinned=bool(request.get("pinned")),
        memory_check=request.get("memory-check") is not False,
        record=request.get("record") is not False,
    )


def merge(options: ConfigureOptions, changes: ConfigureOptions) -> ConfigureOptions:
    """Change some options and leave the others: a null takes one away, objects are merged inside.

    Flags are one option: those of `changes`, in either of their forms, replace all.

    Raises:
        InvalidRequest: a line of flags cannot be split.
    Source: RFC 7396, JSON Merge Patch.
    """
    patch = {**changes}
    if "raw-runtime-flags" in patch or "runtime-flags" in patch:
        patch.pop("raw-runtime-flags", None)
        patch["runtime-flags"] = list(flags_of(changes)) or None
    # The shape is checked when the options are read; the merge knows no fields.
    return cast("ConfigureOptions", _merged({**options}, patch))


def replacement(options: ConfigureOptions, request: ConfigureOptions) -> ConfigureOptions:
    """What a request puts in place of `options`: itself, and what only its own requests change."""
    kept = {name: value for name, value in options.items() if name in _STAYS and name not in request}
    # Two dictionaries of one shape have it together too.
    return cast("ConfigureOptions", {**request, **kept})


def _merged(target: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            inner = result.get(name)
            result[name] = _merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def _keep_alive(request: ConfigureOptions) -> KeepAlive | None:
    text = request.get("keep_alive")
    if text is None:
        return None
    try:
        return KeepAlive(parse_keep_alive(text))
    except InvalidRequest as exc:
        raise InvalidRequest(f"invalid `keep_alive`: {exc.message}", hint=exc.hint) from exc


def _check(name: str, value: float | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidRequest(f"invalid `{name}`: `{value}`", hint=f"a number from {low} to {high}")
