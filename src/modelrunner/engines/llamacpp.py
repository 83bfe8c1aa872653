"""llama.cpp: by which command line a model is served, which models, and what the program's last words mean.

Which program that is, `llamacpp_program.py` finds; all of them take the same arguments.
"""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from modelrunner.engines import llamacpp_memory as memory
from modelrunner.engines.base import (
    Address,
    Context,
    Draft,
    EngineSettings,
    EngineStatus,
    Launch,
    Options,
    Origin,
)
from modelrunner.engines.denied_fields import DeniedFields, at_least
from modelrunner.engines.diagnosis import diagnose
from modelrunner.engines.estimate import Device, Estimate
from modelrunner.engines.llamacpp_program import EMBEDDED, Program, Programs
from modelrunner.engines.llamacpp_states import LlamaCppStates
from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.models.memory.shape import ENCODERS

DEFAULT_CONTEXT = 8192
"""Tokens of context when nobody chose a size, for all slots together: one conversation may fill it, and the
cache of an 8B model then takes 1 GiB instead of the 16 that its training length would."""

_CONTROLLED_NAMES = """
    -m --model -mu --model-url -dr --docker-repo -hf -hfr --hf-repo -hff --hf-file -a --alias
    --host --port --reuse-port --path --api-prefix --api-key --api-key-file --ssl-key-file --ssl-cert-file
    --embedding --embeddings --rerank --reranking -mm --mmproj -mmu --mmproj-url --no-metrics
    --models-dir --models-preset --chat-template-file --log-file -h --help --version --list-devices
    --slot-save-path --no-slots
"""
_CONTROLLED = frozenset(_CONTROLLED_NAMES.split())
_CONTEXT_FLAGS = frozenset({"-c", "--ctx-size", "-fitc", "--fit-ctx"})
_BATCH_FLAGS = frozenset({"-b", "--batch-size", "-ub", "--ubatch-size"})
_BATCH, _MOST_BATCH = 2048, 8192  # tokens of one input to embed or rank
_PARALLEL_FLAGS = frozenset({"-np", "--parallel"})
_RANKS = "4"  # llama.cpp's LLAMA_POOLING_TYPE_RANK, as `ModelConfig.metadata` writes numbers
_NOWHERE = Address(socket=Path("nowhere.sock"))
_SLOTS = 4  # llama-server's own number; they share one cache, so that one conversation may fill it
# Numbers that llama-server takes as they are, and goes by. Source: CVE-2026-21869, of which the first is one.
_DENIED: DeniedFields = {
    "n_discard": at_least(0),
    **dict.fromkeys(("n_indent", "n_probs", "min_keep", "n_cache_reuse"), at_least(0)),
    **dict.fromkeys(("n_keep", "repeat_last_n", "dry_penalty_last_n"), at_least(-1)),
}


_ENVIRONMENT = {
    # Without this, a failed check starts a debugger, if there is one, and takes seconds to die.
    "GGML_NO_BACKTRACE": "1",
    # How often a thread looks before it sleeps, where OpenMP is GNU's. By default it looks for so long that
    # two engines at work on the same cores bring each other down to a thirtieth of their speed; like this to
    # a quarter, while one alone loses a twentieth at most.
    "GOMP_SPINCOUNT": "1000",
}


_PROMPT_CACHE = "LLAMA_ARG_CACHE_RAM"  # servers that are too old for the flag pass over a variable


class LlamaCpp:
    """The engine plug-in for GGUF models."""

    name = "llama.cpp"
    display = "llama.cpp"
    formats = frozenset({Format.GGUF})
    modes = frozenset({Mode.COMPLETION, Mode.EMBEDDING, Mode.RERANKING})
    # Its own Anthropic and Responses routes differ from what official clients expect; the daemon translates.
    native = frozenset({"openai"})

    def __init__(self, settings: EngineSettings | None = None) -> None:
        """Keep where to look for a server and what to add to every command line.

        Raises:
            InvalidRequest: an extra argument that the daemon itself controls.
        """
        self._settings = settings or EngineSettings()
        self._extra = check_extra(self._settings.extra_args)
        self._programs = Programs(self._settings)
        self._program: Program | None = None

    def probe(self) -> EngineStatus:
        """Find the server program and ask it for its version; an unchanged program is asked once."""
        self._program = self._programs.find()
        return self._program.status

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:
        """Say that a model which only embeds or ranks cannot talk, and that a projector is no model."""
        architecture = _architecture(config)
        if architecture == "clip":
            return "the file is a vision projector, not a model"
        if mode is Mode.RERANKING:
            return None
        if config.metadata.get(f"{architecture}.pooling_type") == _RANKS:
            return "the model ranks documents, it makes neither text nor embeddings"
        if mode is not Mode.COMPLETION:
            return None
        if _encodes(config):
            return f"models of the architecture `{architecture}` make embeddings, they do not generate text"
        return None

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        """Describe the server process.

        Raises:
            UnsupportedModel: a mode or files that llama.cpp cannot serve.
        """
        if mode not in self.modes:
            raise UnsupportedModel(
                f"unsupported backend mode `{mode}`", hint="llama.cpp makes text, not images"
            )
        if not bundle.weights:
            raise UnsupportedModel("llama.cpp needs a GGUF file, and the model has none")
        program = self._program or self._programs.find()
        arguments = (
            *base_arguments(platform.system(), platform.machine(), os.cpu_count() or 1),
            *self._extra,
            *("--model", str(bundle.weights[0])),
            *_listen(address),
            *(("--alias", options.name) if options.name else ()),
            *_mode_arguments(bundle, mode, options),
            *self._batch_arguments(bundle.config, mode, options),
            *self._context(bundle.config, options),
            *_spelled_out(options.flags),
            *(("--mmproj", str(bundle.projector)) if bundle.projector else ("--jinja",)),
            *(_draft_arguments(options.draft) if options.draft and mode is Mode.COMPLETION else ()),
            *_adapter_arguments(bundle),
            *(("--slots", "--slot-save-path", f"{options.states}{os.sep}") if options.states else ()),
        )
        kept = str(memory.prompt_cache(bundle.config.metadata, (*program.argv, *arguments)))
        if program.argv == EMBEDDED:  # a flag that comes later goes before
            argv = (*program.argv, "--cache-ram", kept, *arguments)
            return Launch(argv=argv, env=_ENVIRONMENT, denied_fields=_DENIED)
        env = {**_ENVIRONMENT, _PROMPT_CACHE: kept}
        return Launch(argv=(*program.argv, *arguments), env=env, denied_fields=_DENIED)

    def estimate(
        self, bundle: Bundle, mode: Mode, options: Options, devices: Sequence[Device]
    ) -> Estimate | None:
        """Say what the server that `launch` describes needs; blocks."""
        launch = self.launch(bundle, mode, options, Address())
        kept = launch.env.get(_PROMPT_CACHE)
        return memory.estimate((*(("--cache-ram", kept) if kept else ()), *launch.argv), devices)

    def context(self, config: ModelConfig, options: Options) -> Context | None:
        """The context of all slots together: a flag's, else what was chosen, else the default."""
        for arguments in (options.flags, self._extra if context_size(config, options) is None else ()):
            given = _context_flag(arguments)
            if given is not None:
                tokens = given or _trained(config)
                return None if tokens is None else Context(tokens, Origin.CONFIGURED)
        size = context_size(config, options)
        if size is None:
            return Context(default_context(config), Origin.DEFAULT)
        by_user = context_size(ModelConfig(), options) is not None
        tokens = size or _trained(config)
        return None if tokens is None else Context(tokens, Origin.CONFIGURED if by_user else Origin.PACKAGED)

    def slots(self, options: Options) -> int:
        """Say how many requests are worked on at once: as many as a flag says, else llama-server's four."""
        said = _last_value((*self._extra, *_spelled_out(options.flags)), _PARALLEL_FLAGS)
        return int(said) if said is not None and said.isdecimal() and int(said) > 0 else _SLOTS

    def states(self, bundle: Bundle, mode: Mode, options: Options) -> LlamaCppStates | None:
        """Say how states of prompts are saved: not with images, and not when no prompt is to be cached.

        The key is the command line, which has the model's digest in its paths, and the program's version.
        """
        flags = {_name(token) for token in (*self._extra, *options.flags)}
        if mode is not Mode.COMPLETION or bundle.projector is not None or "--no-cache-prompt" in flags:
            return None
        version = (self._program or self._programs.find()).status.version
        launch = self.launch(bundle, mode, replace(options, name=None, states=None), _NOWHERE)
        return LlamaCppStates(key="\0".join((version or "", *launch.argv)))

    def diagnose(self, tail: str) -> str | None:
        """Name the cause of a failed start from llama.cpp's words, in a sentence; None for words unknown."""
        return diagnose(tail)

    def _batch_arguments(self, config: ModelConfig, mode: Mode, options: Options) -> Iterator[str]:
        """How long an input may be that has to be taken in one go: up to the context, within bounds.

        Of a model that generates, results for all its words are computed for each token of it. Cut to the
        context, a batch that is no multiple of the slots makes the engine fail a check as it starts.
        Source: llama.cpp, `server_slot::can_split`; tools/server/server.cpp, for the batches of embeddings.
        """
        given = {_name(token) for token in (*self._extra, *options.flags)}
        if mode is Mode.COMPLETION or given & _BATCH_FLAGS:
            return
        context, slots = self.context(config, options), self.slots(options)
        size = _BATCH
        if context is not None:
            size = min(context.tokens, _MOST_BATCH if _encodes(config) else _BATCH)
            size = max(1, size // slots) * slots
        yield from ("--batch-size", str(size), "--ubatch-size", str(size))

    def _context(self, config: ModelConfig, options: Options) -> tuple[str, ...]:
        size = context_size(config, options)
        if size is None:
            given = {_name(token) for token in (*self._extra, *options.flags)}
            size = None if given & _CONTEXT_FLAGS else default_context(config)
        return () if size is None else ("--ctx-size", str(size))


def base_arguments(system: str, machine: str, cpus: int) -> tuple[str, ...]:
    """The arguments of every start on a platform; `system` and `machine` as `platform` names them.

    Source: Docker Model Runner's defaults.
    """
    arguments = ["-ngl", "999", "--metrics"]
    if system == "Darwin":
        arguments.append("--no-mmap")
    if machine.lower() in {"arm64", "aarch64"}:
        arguments += ["--threads", str(max(2, cpus // 2))]
    return tuple(arguments)


def context_size(config: ModelConfig, options: Options) -> int | None:
    """The context that somebody chose, in tokens: the user, else the packager; None when nobody did.

    0 means the model's training length: llama.cpp's word for what a user writes as -1. Packaging copies the
    training length of the weights into the config, so a packaged size equal to it is nobody's choice.
    """
    packaged = config.context_size if config.context_size != _trained(config) else None
    for chosen in (options.context_size, packaged):
        if chosen is not None and chosen > 0:
            return chosen
        if chosen == -1:
            return 0
    return None


def _context_flag(arguments: Sequence[str]) -> int | None:
    """The last context size among arguments, as llama-server takes it; 0 is the training length."""
    found = None
    for flag, value in pairwise((*_spelled_out(arguments), "")):
        if _name(flag) in {"-c", "--ctx-size"} and value.isascii() and value.isdecimal():
            found = int(value)
    return found


def default_context(config: ModelConfig) -> int:
    """The context when nobody chose one, in tokens: bounded, and within the training length."""
    trained = _trained(config)
    return min(trained, DEFAULT_CONTEXT) if trained else DEFAULT_CONTEXT


def check_extra(arguments: Sequence[str]) -> tuple[str, ...]:
    """Refuse extra arguments that would take the model, the address or the mode out of the daemon's hands.

    Raises:
        InvalidRequest: in any spelling that llama-server takes.
    """
    for argument in arguments:
        if _name(argument) in _CONTROLLED:
            raise InvalidRequest(
                f"invalid LLAMA_ARGS: LLAMA_ARGS cannot override `{_name(argument)}`,"
                " which is controlled by the model runner",
                hint="remove it from LLAMA_ARGS",
            )
    return tuple(_spelled_out(arguments))


def _name(token: str) -> str:
    """A flag's name as llama-server reads it: it takes underscores for dashes in long names."""
    key = token.partition("=")[0]
    return key.replace("_", "-") if key.startswith("--") else key


def _spelled_out(flags: Sequence[str]) -> Iterator[str]:
    """Write flags as every llama-server reads them: no `--flag=value`, no bare `--flash-attn`."""
    for index, token in enumerate(flags):
        if token.startswith("-") and "=" in token:
            key, _, value = token.partition("=")
            yield from (key, value)
            continue
        yield token
        following = flags[index + 1] if index + 1 < len(flags) else "-"
        if token in {"-fa", "--flash-attn"} and following.startswith("-"):
            yield "on"


def _listen(address: Address) -> tuple[str, ...]:
    if address.socket is not None:
        return ("--host", str(address.socket))
    return ("--host", address.host, "--port", str(address.port))


def _mode_arguments(bundle: Bundle, mode: Mode, options: Options) -> Iterator[str]:
    if mode is Mode.COMPLETION and bundle.template is not None:
        yield from ("--chat-template-file", str(bundle.template))
    if mode in {Mode.EMBEDDING, Mode.RERANKING}:
        yield "--embeddings"
    if mode is Mode.RERANKING:
        yield "--reranking"
    if mode is Mode.EMBEDDING and _lacks_pooling(bundle.config):
        # Asked for an embedding, a chat model answers an error unless it is told how to make one of many.
        yield from ("--pooling", "mean")
    if options.reasoning_budget is not None:
        yield from ("--reasoning-budget", str(options.reasoning_budget))


def _draft_arguments(draft: Draft) -> Iterator[str]:
    """Source: Docker Model Runner, which writes the probability with two decimals."""
    yield from ("--model-draft", str(draft.weights[0]))
    if draft.tokens is not None and draft.tokens > 0:
        yield from ("--spec-draft-n-max", str(draft.tokens))
    if draft.probability is not None and draft.probability > 0:
        yield from ("--spec-draft-p-min", f"{draft.probability:.2f}")


def _adapter_arguments(bundle: Bundle) -> Iterator[str]:
    for adapter in bundle.adapters:
        name = str(adapter)
        # The value is a row of comma-separated paths.
        yield from ("--lora", '"{}"'.format(name.replace('"', '""')) if {",", '"'} & set(name) else name)


def _last_value(tokens: Sequence[str], names: frozenset[str]) -> str | None:
    """The value of the last flag that has one of the names."""
    found = [value for token, value in pairwise(tokens) if _name(token) in names]
    return found[-1] if found else None


def _architecture(config: ModelConfig) -> str:
    return config.metadata.get("general.architecture") or config.architecture


def _encodes(config: ModelConfig) -> bool:
    """Whether it only makes embeddings, or ranks, and generates nothing."""
    return _architecture(config) in ENCODERS or _looks_both_ways(config)


def _looks_both_ways(config: ModelConfig) -> bool:
    """Whether the weights say that they are an encoder: no causal attention, and a way to pool."""
    architecture = _architecture(config)
    causal = config.metadata.get(f"{architecture}.attention.causal")
    return causal == "false" and f"{architecture}.pooling_type" in config.metadata


def _lacks_pooling(config: ModelConfig) -> bool:
    """Whether the header of the weights is known and says nothing of pooling."""
    architecture = config.metadata.get("general.architecture")
    return architecture is not None and f"{architecture}.pooling_type" not in config.metadata


def _trained(config: ModelConfig) -> int | None:
    """The training length of the weights, in tokens, if their header says it."""
    text = config.metadata.get(f"{_architecture(config)}.context_length", "")
    return int(text) if text.isascii() and text.isdecimal() and int(text) > 0 else None
