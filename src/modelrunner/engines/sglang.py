"""SGLang: which Python serves a model in safetensors, and by which command line. On Linux only."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from modelrunner.engines.base import (
    Address,
    Context,
    EngineSettings,
    EngineStatus,
    Launch,
    Listens,
    Network,
    Options,
    chosen_context,
)
from modelrunner.engines.denied_fields import CODE, FILES, HOSTS, OTHERS, TEMPLATES, TENSORS, DeniedFields
from modelrunner.engines.environment import LISTS, Environment, Recipe
from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.engines.interpreter import places
from modelrunner.engines.python_package import OFFLINE, Kind, PythonPackage, last_exception
from modelrunner.engines.tensor_memory import (
    TORCH_SERVERS,
    converted_bytes,
    gpus_of,
    on_gpus,
    read_cache_per_token,
    step_bytes,
)
from modelrunner.engines.vllm import has_gpu
from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.models.weights.safetensors import read_header

VERSION = "0.5.23"
IMAGE_PYTHON = Path("/opt/sglang-env/bin/python3")  # where Docker Model Runner's images have it

_READY_WITHIN = 600.0  # seconds; its processes import themselves one by one, and compile on a GPU
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - how its processes hand results to each other
_REMEMBERED = 64 << 10  # bytes: what failed is told before the last of its processes has said so
_UNNAMED = "model"
# Source: sglang 0.5.23, entrypoints/openai/protocol.py.
_DENIED: DeniedFields = {
    "lora_path": FILES,
    **dict.fromkeys(("custom_logit_processor", "custom_params"), CODE),
    **dict.fromkeys(("bootstrap_host", "bootstrap_port", "bootstrap_room"), HOSTS),
    **dict.fromkeys(("rid", "session_params"), OTHERS),
    "input_embeds": TENSORS,
    **TEMPLATES,
}
_PART = 0.95  # of a GPU: for weights, cache and one step together. Source: sglang 0.5.23, memory_hook.py
_TOKENS, _SEQUENCES = 8192, 256  # computed in one go, at most; and conversations
_CONTEXT = 8192  # tokens that are counted with when nobody says how long a context is


class Sglang:
    """The engine plug-in that comes after vLLM for models in safetensors."""

    name = "sglang"
    display = "SGLang"
    formats = frozenset({Format.SAFETENSORS})
    modes = frozenset({Mode.COMPLETION, Mode.EMBEDDING, Mode.RERANKING})
    native = frozenset({"openai"})
    listens = Listens.PORT

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        gpu: bool | None = None,
        system: str | None = None,
        image_python: Path = IMAGE_PYTHON,
    ) -> None:
        """`gpu` and `system`, as `platform.system` names it, are looked up when they are None."""
        recipe = Recipe("sglang", VERSION, module="sglang", lists=(LISTS / "sglang.txt",))
        kind = Kind(
            name=self.name,
            display=self.display,
            distribution="sglang",
            machines=(("Linux", ""),),
            unfit="only supported on Linux",
            recipe=recipe if (has_gpu() if gpu is None else gpu) else None,
            place=image_python,
            on_path=True,
        )
        self._package = PythonPackage(kind, settings or EngineSettings(), system=system)

    @property
    def environment(self) -> Environment | None:
        """What the daemon installs; nothing without a GPU, which all that it would install is for."""
        return self._package.environment

    def probe(self) -> EngineStatus:
        """Find a Python that has it."""
        return self._package.probe()

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:  # noqa: ARG002 - nothing is known of it
        """Refuse nothing: what SGLang can serve is said by the model's own files."""
        return None

    def context(self, config: ModelConfig, options: Options) -> Context | None:
        """The context of one request: what was chosen, else packaged."""
        return chosen_context(config, options)

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        """Describe the server process.

        Raises:
            UnsupportedModel: a mode or files that SGLang cannot serve.
            EngineNotInstalled: it is not here any more.
        Source: Docker Model Runner's order. A colon in a model's name begins an adapter's in SGLang.
        """
        if mode not in self.modes:
            raise UnsupportedModel(f"unsupported backend mode `{mode}`", hint="SGLang makes text, not images")
        if not bundle.weights or bundle.weights[0].suffix != ".safetensors":
            raise UnsupportedModel("SGLang needs safetensors files, and the model has none")
        python = self._package.python()
        served = (options.name or _UNNAMED).replace(":", "_")
        argv = (
            *(str(python), "-P", "-m", "sglang.launch_server"),
            *("--model-path", str(bundle.weights[0].parent)),
            *("--host", address.host, "--port", str(address.port)),
            *(("--is-embedding",) if mode is Mode.EMBEDDING else ()),
            *self._context_arguments(bundle.config, options),
            *("--served-model-name", served),
            *(("--weight-version", options.name) if options.name else ()),
        )
        return Launch(
            argv=argv,
            env=OFFLINE,
            ready_within=_READY_WITHIN,
            reads=places(python),
            writes=(_SHARED_MEMORY,),
            network=Network.LOOPBACK,
            remembered=_REMEMBERED,
            model_name=served,
            denied_fields=_DENIED,
        )

    def estimate(
        self,
        bundle: Bundle,
        mode: Mode,  # noqa: ARG002 - the same server in every mode
        options: Options,
        devices: Sequence[Device],
    ) -> Estimate | None:
        """Say what the server needs: of a GPU the part that it takes, of the RAM what the model asks for.

        Blocks.
        """
        if not bundle.weights:
            return None
        headers = [read_header(path) for path in bundle.weights]
        chosen = self.context(bundle.config, options)
        context = chosen.tokens if chosen is not None else _CONTEXT
        weights = converted_bytes(headers, 16)
        if gpus := gpus_of(devices):
            return on_gpus(weights, gpus, count=1, part=_PART, context=context, program=TORCH_SERVERS)
        per_token = read_cache_per_token(bundle.weights[0].parent)
        found = Estimate(
            device=RAM,
            context=context,
            weights=weights,
            cache=context * per_token,
            compute=step_bytes(headers, _TOKENS, _SEQUENCES),
            overhead=TORCH_SERVERS,
        )
        fixed = found.needed - found.cache
        return replace(found, needed_at=lambda tokens: fixed + tokens * per_token)

    def diagnose(self, tail: str) -> str | None:
        """Name the cause of a failed start: the last exception, since the first process repeats it."""
        return last_exception(self.display, tail)

    def _context_arguments(self, config: ModelConfig, options: Options) -> Iterator[str]:
        context = self.context(config, options)
        if context is not None:
            yield from ("--context-length", str(context.tokens))
