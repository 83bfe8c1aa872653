"""MLX: which Python serves a model in safetensors, and by which command line.

It is made for Apple silicon. On Linux it computes on the processor, and takes a third of a gigabyte of disk
where vLLM takes several.

The server of mlx-lm listens on a port, not on a socket, and takes the name in a request for the path of a
model to load, but for one: `default_model` is the model that it was started with.
"""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace

from modelrunner.engines.base import (
    Address,
    EngineSettings,
    EngineStatus,
    Launch,
    Listens,
    Options,
    Origin,
    chosen_context,
)
from modelrunner.engines.denied_fields import FILES, TEMPLATES, DeniedFields
from modelrunner.engines.environment import LISTS, Environment, Recipe
from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.engines.interpreter import places
from modelrunner.engines.python_package import APPLE, OFFLINE, Kind, PythonPackage, last_exception
from modelrunner.engines.tensor_memory import read_cache_per_token, step_bytes, stored_bytes
from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.models.weights.safetensors import read_header

VERSION = "0.32.2"

_MODULE = "mlx_lm.server"
_KIND = Kind(
    name="mlx",
    display="MLX",
    distribution="mlx-lm",
    machines=(("Linux", ""), *APPLE),
    unfit="only supported on Linux and Apple Silicon",
    recipe=Recipe("mlx-lm", VERSION, module=_MODULE, lists=(LISTS / "mlx.txt",)),
    on_path=True,
)
_LINUX = replace(_KIND, recipe=Recipe("mlx-lm", VERSION, module=_MODULE, lists=(LISTS / "mlx-cpu.txt",)))
# There, MLX would have a compiler make programs while it answers; without one it is no slower.
_UNCOMPILED = {"MLX_DISABLE_COMPILE": "1"}
_ONLY_MODEL = "default_model"
# Source: mlx-lm 0.32.2, `server.py`: paths, or names of the hub, that it loads instead of its model.
_DENIED: DeniedFields = {"adapters": FILES, "draft_model": FILES, **TEMPLATES}
_MIB = 1 << 20
_PROGRAM = 400 * _MIB  # Python, MLX and the tokenizer
_STEP = 2048  # tokens of a prompt in one go
_RESULTS = 8  # sequences in one step of as many prompts
_CONTEXT = 8192  # tokens that are counted with when nobody chose: packagers copy the training length
_LEAST_KEPT = 256 * _MIB  # for conversations that are kept


class Mlx:
    """The engine plug-in for models in safetensors on Apple silicon, and on the processor on Linux."""

    name = "mlx"
    display = "MLX"
    formats = frozenset({Format.SAFETENSORS})
    modes = frozenset({Mode.COMPLETION})  # its server has no path for embeddings, nor for ranking
    native = frozenset({"openai"})
    listens = Listens.PORT

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        system: str | None = None,
        machine: str | None = None,
    ) -> None:
        """`system` and `machine`, as `platform` names them, are looked up when they are None."""
        self._linux = (system or platform.system()) == "Linux"
        kind = _LINUX if self._linux else _KIND
        self._package = PythonPackage(kind, settings or EngineSettings(), system=system, machine=machine)

    @property
    def environment(self) -> Environment | None:
        """What the daemon installs; nothing where it does not run, or when the user named a Python."""
        return self._package.environment

    def probe(self) -> EngineStatus:
        """Find a Python that has it."""
        return self._package.probe()

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:  # noqa: ARG002 - nothing is known of it
        """Refuse nothing: what mlx-lm can serve is said by the model's own files."""
        return None

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        """Describe the server process.

        Raises:
            UnsupportedModel: a mode or files that mlx-lm cannot serve.
            EngineNotInstalled: it is not here any more.
        Source: mlx-lm 0.32.2, `mlx_lm/server.py`, for what Docker Model Runner passes and that server lacks.
        """
        if mode not in self.modes:
            raise UnsupportedModel(f"unsupported backend mode `{mode}`", hint="MLX only makes text")
        if not bundle.weights or bundle.weights[0].suffix != ".safetensors":
            raise UnsupportedModel("MLX needs safetensors files, and the model has none")
        python = self._package.python()
        argv = (
            *(str(python), "-P", "-m", _MODULE, "--model", str(bundle.weights[0].parent)),
            *("--host", address.host, "--port", str(address.port)),
            *("--prompt-cache-bytes", str(_kept(bundle, options))),
            *_longest_answer(bundle.config, options),
        )
        env = {**OFFLINE, **_UNCOMPILED} if self._linux else OFFLINE
        return Launch(argv=argv, env=env, reads=places(python), model_name=_ONLY_MODEL, denied_fields=_DENIED)

    def estimate(
        self,
        bundle: Bundle,
        mode: Mode,  # noqa: ARG002 - it has but one
        options: Options,
        devices: Sequence[Device],  # noqa: ARG002 - it has but one memory
    ) -> Estimate | None:
        """Say what the server needs for one conversation, and those that it keeps; blocks."""
        if not bundle.weights:
            return None
        headers = [read_header(path) for path in bundle.weights]
        context = _counted_context(bundle.config, options)
        per_token = read_cache_per_token(bundle.weights[0].parent)
        found = Estimate(
            device=RAM,
            context=context,
            weights=stored_bytes(headers),
            cache=context * per_token,
            compute=step_bytes(headers, _STEP, _RESULTS),
            prompts=_kept(bundle, options),
            overhead=_PROGRAM,
        )
        fixed = found.needed - found.cache - found.prompts
        return replace(
            found, needed_at=lambda tokens: fixed + tokens * per_token + _bounded(tokens * per_token)
        )

    def diagnose(self, tail: str) -> str | None:
        """Name the cause of a failed start: the last exception."""
        return last_exception(self.display, tail)


def _counted_context(config: ModelConfig, options: Options) -> int:
    """The context that memory is set aside for: what a user chose, else a usual one. mlx-lm bounds none."""
    chosen = chosen_context(config, options)
    if chosen is None:
        return _CONTEXT
    return chosen.tokens if chosen.origin is Origin.CONFIGURED else min(chosen.tokens, _CONTEXT)


def _kept(bundle: Bundle, options: Options) -> int:
    """Bytes for what was computed of conversations, which mlx-lm would keep without bound; reads a file."""
    tokens = _counted_context(bundle.config, options)
    return _bounded(tokens * read_cache_per_token(bundle.weights[0].parent))


def _bounded(conversation: int) -> int:
    return max(conversation, _LEAST_KEPT)


def _longest_answer(config: ModelConfig, options: Options) -> Iterator[str]:
    """Not the context, which mlx-lm does not bound, but how long an answer may be that names no length."""
    context = chosen_context(config, options)
    if context is not None:
        yield from ("--max-tokens", str(context.tokens))
