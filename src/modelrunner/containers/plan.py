"""What the runner's container is to be, from what was asked for and what the Docker Engine is. Pure."""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from modelrunner.errors import InvalidRequest

NAME = "docker-model-runner"
MODELS_VOLUME = "docker-model-runner-models"
STATE_VOLUME = "docker-model-runner-state"
DEFAULT_PORT, DEFAULT_TLS_PORT = 12434, 12444
LOOPBACK = "127.0.0.1"
# Containers in this network reach the runner as they do in Docker Desktop: by this name, at the usual port.
NETWORK = "docker-model-runner"
ALIAS = "model-runner.docker.internal"
INNER_PORT = 80
# Labels by which Docker's own tools find a runner, and ours what it was made of.
# Source: docker/model-runner `cmd/cli/pkg/standalone`.
SERVICE_LABEL = "com.docker.desktop.service"
ROLE_LABEL = "com.docker.model-runner.role"
OPTIONS_LABEL = "modelrunner.options"
CONTROLLER = "controller"

HOME = "/home/modelrunner"
_CERTIFICATES = f"{HOME}/certs"
_PROXY_CERTIFICATE = f"{HOME}/certs/proxy.pem"
BACKENDS = ("llama.cpp", "vllm", "diffusers")


class Gpu(StrEnum):
    """Kinds of accelerators, as `--gpu` names them."""

    NONE = "none"
    CUDA = "cuda"
    ROCM = "rocm"
    MUSA = "musa"
    CANN = "cann"


# In this order when nobody says: the runtime that Docker was given for it.
_RUNTIMES = {"nvidia": Gpu.CUDA, "rocm": Gpu.ROCM, "mthreads": Gpu.MUSA, "cann": Gpu.CANN}
_SUFFIXES = {Gpu.CUDA: "cuda", Gpu.ROCM: "rocm"}
_NO_VARIANT = frozenset({"", "cpu", "generic"})


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. None and empty texts are what nobody said."""

    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    gpu: str = "auto"
    backend: str = ""
    do_not_track: bool = False
    debug: bool = False
    proxy_cert: str = ""
    tls: bool = False
    tls_port: int = DEFAULT_TLS_PORT
    tls_cert: str = ""
    tls_key: str = ""
    repository: str = "modelrunner"
    version: str = "latest"
    variant: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def dump(self) -> str:
        """Write them for a label."""
        return json.dumps(asdict(self))


def restored(text: str | None) -> Options:
    """Read what `dump` wrote; whatever cannot be read is as if nobody had said anything."""
    try:
        document = json.loads(text or "{}")
        known = {key: document[key] for key in Options.__dataclass_fields__ if key in document}
        return Options(**known)
    except (ValueError, TypeError):
        return Options()


@dataclass(frozen=True, slots=True)
class Facts:
    """What a Docker Engine has. `gateway` is its bridge's address, `devices` are paths on its machine."""

    runtimes: frozenset[str] = frozenset()
    gateway: str | None = None
    has_bridge: bool = True
    nvidia_toolkit: bool = False
    devices: tuple[str, ...] = ()
    render_group: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A container: its image, what the Docker Engine is told, and where it will be reached.

    `files` of this machine are copied to where the values say: the engine may be on another one, and what
    only their owner may read is to be the container's user's.
    """

    image: str
    arguments: dict[str, object]
    files: dict[str, str]
    host: str
    port: int
    gateway: str | None
    all_gpus: bool
    joins_network: bool

    @property
    def without_gateway(self) -> "Plan":
        """The same, published on its own address only."""
        ports = self.arguments["ports"]
        assert isinstance(ports, dict)
        kept = {port: [bind for bind in binds if bind[0] != self.gateway] for port, binds in ports.items()}
        return replace(self, arguments={**self.arguments, "ports": kept}, gateway=None)


def check(options: Options) -> None:
    """Refuse what cannot be.

    Raises:
        InvalidRequest: an unknown GPU or backend, no address, or a certificate without its key.
    """
    if options.gpu not in {"auto", *Gpu}:
        raise InvalidRequest(
            f'unknown GPU specification: "{options.gpu}"', hint=f"one of: auto, {', '.join(Gpu)}"
        )
    if options.backend and options.backend not in BACKENDS:
        raise InvalidRequest(f'unknown backend: "{options.backend}" (supported: {", ".join(BACKENDS)})')
    try:
        ipaddress.ip_address(options.host)
    except ValueError as exc:
        raise InvalidRequest(f"invalid host: must be a valid IP-address: {options.host}") from exc
    if options.tls and not (options.tls_cert and options.tls_key):
        raise InvalidRequest(
            "--tls needs a certificate and its key", hint="give both: `--tls-cert cert.pem --tls-key key.pem`"
        )


def choose_gpu(options: Options, facts: Facts) -> Gpu:
    """Decide which accelerator the container gets.

    Raises:
        InvalidRequest: vLLM, which needs CUDA, would get another one or none.
    """
    if options.gpu != "auto":
        gpu = Gpu(options.gpu)
    else:
        found = (gpu for name, gpu in _RUNTIMES.items() if name in facts.runtimes)
        gpu = next(found, Gpu.CUDA if facts.nvidia_toolkit else Gpu.NONE)
    if options.backend == "vllm" and gpu is not Gpu.CUDA:
        raise InvalidRequest(
            "--backend vllm requires CUDA GPU support (--gpu=cuda or auto-detected CUDA)",
            hint="`install-runner --backend vllm` alone installs it into the runner that is here",
        )
    return gpu


def image(options: Options, gpu: Gpu) -> str:
    """Name the image; a variant that was asked for by name goes before the one that fits."""
    if options.variant is not None:
        suffix = "" if options.variant in _NO_VARIANT else options.variant
    elif options.backend == "vllm":
        suffix = "vllm-cuda"
    else:
        suffix = _SUFFIXES.get(gpu, "")
    return f"{options.repository}:{options.version}{f'-{suffix}' if suffix else ''}"


def plan(options: Options, facts: Facts) -> Plan:
    """Decide everything about the container.

    Published on loopback, it is published on the bridge's gateway too, so that other containers reach it. A
    Docker Engine without a bridge lets it share the machine's network instead.

    Raises:
        InvalidRequest: what was asked for cannot be.
    """
    check(options)
    gpu = choose_gpu(options, facts)
    chosen = image(options, gpu)
    gateway = facts.gateway if facts.has_bridge and options.host == LOOPBACK else None
    arguments: dict[str, object] = {
        "name": NAME,
        "labels": {
            SERVICE_LABEL: "model-runner",
            ROLE_LABEL: CONTROLLER,
            OPTIONS_LABEL: options.dump(),
        },
        "environment": _environment(options, shares_network=not facts.has_bridge),
        "volumes": {
            MODELS_VOLUME: {"bind": "/models", "mode": "rw"},
            STATE_VOLUME: {"bind": "/var/lib/modelrunner", "mode": "rw"},
        },
        "restart_policy": {"Name": "always"},
        "init": True,
        "detach": True,
        **_devices(gpu, facts),
    }
    plain = LOOPBACK if options.tls else options.host  # who wants TLS wants no other way in from outside
    if facts.has_bridge:
        hosts = [plain, *([gateway] if gateway else [])]
        ports = {f"{INNER_PORT}/tcp": [(host, options.port) for host in hosts]}
        arguments["sysctls"] = {"net.ipv4.ip_unprivileged_port_start": str(INNER_PORT)}
        if options.tls:
            ports[f"{options.tls_port}/tcp"] = [(options.host, options.tls_port)]
        arguments["ports"] = ports
        arguments["extra_hosts"] = {"host.docker.internal": "host-gateway"}
    else:
        arguments["network_mode"] = "host"
    return Plan(
        chosen, arguments, _files(options), plain, options.port, gateway, gpu is Gpu.CUDA, facts.has_bridge
    )


def _environment(options: Options, *, shares_network: bool) -> dict[str, str]:
    environment = {
        **options.environment,
        "DMR_BIND": options.host if shares_network else "0.0.0.0",
        "MODEL_RUNNER_PORT": str(options.port if shares_network else INNER_PORT),
        "MODEL_RUNNER_ENVIRONMENT": "moby",
    }
    if options.do_not_track:
        environment["DO_NOT_TRACK"] = "1"
    if options.debug:
        environment["LOG_LEVEL"] = "debug"
    if options.proxy_cert:
        environment["DMR_CA_CERT"] = _PROXY_CERTIFICATE
    if options.tls:
        environment |= {
            "MODEL_RUNNER_TLS_ENABLED": "true",
            "MODEL_RUNNER_TLS_PORT": str(options.tls_port),
            "MODEL_RUNNER_TLS_CERT": f"{_CERTIFICATES}/cert.pem",
            "MODEL_RUNNER_TLS_KEY": f"{_CERTIFICATES}/key.pem",
        }
    return environment


def _files(options: Options) -> dict[str, str]:
    copied = {options.proxy_cert: _PROXY_CERTIFICATE}
    if options.tls:
        copied |= {options.tls_cert: f"{_CERTIFICATES}/cert.pem", options.tls_key: f"{_CERTIFICATES}/key.pem"}
    return {path: inside for path, inside in copied.items() if path}


def _devices(gpu: Gpu, facts: Facts) -> dict[str, object]:
    arguments: dict[str, object] = {}
    if facts.devices:
        arguments["devices"] = [f"{path}:{path}:rwm" for path in facts.devices]
    if facts.devices and facts.render_group is not None:
        arguments["group_add"] = [str(facts.render_group)]
    runtime = next((name for name, kind in _RUNTIMES.items() if kind is gpu and name in facts.runtimes), None)
    if runtime is not None:
        arguments["runtime"] = runtime
    return arguments
