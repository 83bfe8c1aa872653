"""The table: every setting in one row, with its type, its variable, its kind, its words and its default."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple, ParamSpec

from modelrunner.settings import folders, kinds
from modelrunner.settings.kinds import Kind

DEFAULT_PORT = 12434
DEFAULT_TLS_PORT = 12444
MOST_PLACES = 8

Folder = Callable[[str, Mapping[str, str]], PurePath]  # of a platform and an environment
P = ParamSpec("P")


class Setting(NamedTuple):
    """What is to be known of a setting besides its name and type.

    `default` is text like a user's, `folder` finds the default of a path, and `shown` is what the
    documentation says of either. `flag` is whether `dmr serve` takes it as a flag too, `client` whether it is
    the command line's and not the daemon's.
    """

    environment: str
    kind: Kind
    help: str
    default: str = ""
    shown: str = ""
    folder: Folder | None = None
    flag: bool = False
    client: bool = False


def _as_default(make: Callable[P, Setting]) -> Callable[P, Any]:
    """Let a row stand where the default of a field would; the table takes it from there."""
    return make


_setting = _as_default(Setting)


class Settings(NamedTuple):
    """Every setting with its value. Durations are in seconds, sizes in bytes; None means unset.

    Exactly one of `port` and `socket` is set. `keep_alive` None means for ever.
    """

    host: str = _setting("DMR_BIND", kinds.ADDRESS, "Address to listen on.", default="127.0.0.1", flag=True)
    port: int | None = _setting(
        "MODEL_RUNNER_PORT",
        kinds.number(0, 65535),
        "TCP port to listen on; 0 takes a free one. It turns the socket off.",
        shown=str(DEFAULT_PORT),
        flag=True,
    )
    socket: Path | None = _setting(
        "MODEL_RUNNER_SOCK",
        kinds.PATH,
        "Unix socket to listen on, open to its owner only.",
        flag=True,
    )
    models_path: Path = _setting(
        "MODELS_PATH",
        kinds.PATH,
        "The model store, shared with Docker Model Runner.",
        shown="~/.docker/models",
        folder=folders.models_dir,
        flag=True,
    )
    log_dir: Path = _setting(
        "MODEL_RUNNER_LOG_DIR",
        kinds.PATH,
        "Folder of the log files; made, for its owner only, when it is missing.",
        shown="~/.local/state/modelrunner/logs",
        folder=folders.log_dir,
        flag=True,
    )
    log_level: str = _setting(
        "LOG_LEVEL",
        kinds.LEVEL,
        "How much the daemon writes to its log.",
        default="info",
        flag=True,
    )
    log_size: int = _setting(
        "DMR_LOG_SIZE",
        kinds.SIZE,
        "Size at which a log file is set aside as `.1`, replacing the one before.",
        default="20MB",
    )
    prompt_cache: int = _setting(
        "DMR_PROMPT_CACHE",
        kinds.SIZE,
        "Disk space for what engines computed of prompts, so that a model that comes back need not compute it"
        " again; 0 turns that off.",
        default="4GiB",
    )
    prompt_cache_path: Path = _setting(
        "DMR_PROMPT_CACHE_PATH",
        kinds.PATH,
        "Folder for that; only its owner can open it.",
        shown="~/.local/state/modelrunner/prompts",
        folder=folders.prompt_cache_path,
    )
    responses: int = _setting(
        "DMR_RESPONSES",
        kinds.SIZE,
        "Disk space for the responses that the Responses API keeps; those used longest ago make room.",
        default="256MiB",
    )
    responses_lifetime: float = _setting(
        "DMR_RESPONSES_LIFETIME",
        kinds.DURATION,
        "How long a response is kept after it was last followed or made.",
        default="720h",
    )
    responses_path: Path = _setting(
        "DMR_RESPONSES_PATH",
        kinds.PATH,
        "File for that, a SQLite database; only its owner can open it.",
        shown="~/.local/state/modelrunner/responses.db",
        folder=folders.responses_path,
    )
    requests: int = _setting(
        "DMR_REQUESTS",
        kinds.SIZE,
        "Disk space for recorded requests and their answers; the oldest make room, and 0 records nothing.",
        default="512MiB",
    )
    requests_lifetime: float = _setting(
        "DMR_REQUESTS_LIFETIME",
        kinds.DURATION,
        "How long a recorded request is kept.",
        default="720h",
    )
    requests_path: Path = _setting(
        "DMR_REQUESTS_PATH",
        kinds.PATH,
        "File for that, a SQLite database; only its owner can open it.",
        shown="~/.local/state/modelrunner/requests.db",
        folder=folders.requests_path,
    )
    redact: tuple[str, ...] = _setting(
        "DMR_REDACT",
        kinds.LIST,
        "What is replaced in recorded requests: any of `secrets`, `emails`, `cards`, `phones`, or `none`.",
        default="secrets",
    )
    redact_file: Path | None = _setting(
        "DMR_REDACT_FILE",
        kinds.PATH,
        "File with more to replace: one regular expression a line, with a name and a colon before it or not.",
    )
    disable_metrics: bool = _setting(
        "DISABLE_METRICS",
        kinds.SWITCH,
        "Answer nothing at `/metrics`, and count nothing.",
        default="false",
    )
    otel_endpoint: str | None = _setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        kinds.TEXT,
        "Where to send traces and metrics by OpenTelemetry's protocol over HTTP; needs the extra `otel`.",
    )
    origins: tuple[str, ...] = _setting(
        "DMR_ORIGINS",
        kinds.LIST,
        "More origins whose web pages may use the API; `:*` is any port, `*` is all; loopback always may.",
        flag=True,
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "DMR_ALLOWED_HOSTS",
        kinds.LIST,
        "More names by which clients may address the daemon, without port; `*` is any.",
        flag=True,
    )
    tls_enabled: bool = _setting(
        "MODEL_RUNNER_TLS_ENABLED",
        kinds.SWITCH,
        "Serve TLS too, on a port of its own.",
        default="false",
    )
    tls_port: int = _setting(
        "MODEL_RUNNER_TLS_PORT",
        kinds.number(0, 65535),
        "TCP port for TLS; 0 takes a free one.",
        default=str(DEFAULT_TLS_PORT),
    )
    tls_cert: Path | None = _setting(
        "MODEL_RUNNER_TLS_CERT",
        kinds.PATH,
        "Certificate for TLS, with its chain, as PEM.",
    )
    tls_key: Path | None = _setting(
        "MODEL_RUNNER_TLS_KEY",
        kinds.PATH,
        "Key of the certificate, as PEM, without a password.",
    )
    keep_alive: float | None = _setting(
        "DMR_KEEP_ALIVE",
        kinds.KEEP_ALIVE,
        "How long an idle model stays loaded, unless it was configured otherwise.",
        default="5m",
        flag=True,
    )
    preload: tuple[str, ...] = _setting(
        "DMR_PRELOAD",
        kinds.LIST,
        "Models to load at the start, after those that are pinned.",
        flag=True,
    )
    places: int = _setting(
        "DMR_PLACES",
        kinds.number(1, 1024),
        "How many engine instances may run at once.",
        shown=f"number of CPUs, at most {MOST_PLACES}",
    )
    memory: int | None = _setting(
        "DMR_MEMORY",
        kinds.MAYBE_SIZE,
        "How much RAM models may take in all; a model that needs more is refused.",
        shown="all but a twentieth",
    )
    queue: int = _setting(
        "DMR_QUEUE",
        kinds.number(1, 1_000_000),
        "How many requests may wait for a model to load before further ones are turned away.",
        default="512",
    )
    stalled_after: float = _setting(
        "DMR_STALLED_AFTER",
        kinds.DURATION,
        "For how long requests may wait while nothing at all goes on before `GET /health` says so.",
        default="2m",
    )
    pulls: int = _setting(
        "DMR_PULLS",
        kinds.number(1, 64),
        "How many pulls run at once; others wait.",
        default="2",
    )
    pull_limit: int | None = _setting(
        "DMR_PULL_LIMIT",
        kinds.MAYBE_SIZE,
        "How much all pulls together may fetch per second, such as `50MB`.",
        shown="no limit",
    )
    hf_endpoint: str = _setting(
        "HF_ENDPOINT",
        kinds.ENDPOINT,
        "Where Hugging Face's hub, or a mirror of it, is.",
        default="https://huggingface.co",
    )
    body_limit: int = _setting(
        "DMR_BODY_LIMIT",
        kinds.SIZE,
        "Largest body of a request to a model.",
        default="64MiB",
    )
    remote_media: bool = _setting(
        "DMR_REMOTE_MEDIA",
        kinds.SWITCH,
        "Let messages name images by http address. The engine fetches them, which its sandbox has to allow.",
        default="false",
    )
    request_timeout: float | None = _setting(
        "DMR_REQUEST_TIMEOUT",
        kinds.MAYBE_DURATION,
        "How long a request to a model may take, unless its header X-Request-Timeout says otherwise.",
        shown="no limit",
    )
    drain: float = _setting(
        "DMR_DRAIN",
        kinds.DURATION,
        "How long requests may take to finish once the daemon was told to stop.",
        default="10s",
    )
    ready_file: Path | None = _setting(
        "DMR_READY_FILE",
        kinds.PATH,
        "File that receives the daemon's URL once it answers.",
    )
    default_registry: str = _setting(
        "DEFAULT_REGISTRY",
        kinds.REGISTRY,
        "Registry of names that give none.",
        default="docker.io",
    )
    insecure_registry: bool = _setting(
        "INSECURE_REGISTRY",
        kinds.SWITCH,
        "Speak plain HTTP to every registry.",
        default="false",
    )
    insecure_registries: tuple[str, ...] = _setting(
        "DMR_INSECURE_REGISTRIES",
        kinds.LIST,
        "Registries, as `host` or `host:port`, to speak plain HTTP to.",
    )
    private_realms: tuple[str, ...] = _setting(
        "DMR_PRIVATE_REALMS",
        kinds.LIST,
        "Registries, as `host` or `host:port`, that may name a token server inside your network.",
    )
    mirrors: tuple[str, ...] = _setting(
        "MODEL_RUNNER_REGISTRY_MIRRORS",
        kinds.LIST,
        "Mirrors of Docker Hub, asked in this order before Docker Hub itself.",
    )
    ca_cert: Path | None = _setting(
        "DMR_CA_CERT",
        kinds.PATH,
        "Certificate authority, as PEM, that registries may have besides those of the system.",
    )
    llama_server_path: Path | None = _setting(
        "LLAMA_SERVER_PATH",
        kinds.PATH,
        "A `llama-server` program or its folder; else the one on PATH, else the embedded engine.",
    )
    llama_args: tuple[str, ...] = _setting(
        "LLAMA_ARGS",
        kinds.ARGUMENTS,
        "Arguments added to every start of llama.cpp.",
    )
    sandbox: str = _setting(
        "DMR_SANDBOX",
        kinds.SANDBOX,
        "How engines are confined: as far as the system can, not at all, or not without Landlock.",
        default="auto",
    )
    vllm_server_path: Path | None = _setting(
        "VLLM_SERVER_PATH",
        kinds.PATH,
        "A `vllm` program, or a Python or environment that has vLLM; else the one that was installed.",
    )
    sglang_server_path: Path | None = _setting(
        "SGLANG_SERVER_PATH",
        kinds.PATH,
        "A Python or environment that has SGLang; else what was installed, or `python3` on the `PATH`.",
    )
    mlx_server_path: Path | None = _setting(
        "MLX_SERVER_PATH",
        kinds.PATH,
        "A Python or environment that has mlx-lm; else what was installed, or `python3` on the `PATH`.",
    )
    diffusers_server_path: Path | None = _setting(
        "DIFFUSERS_SERVER_PATH",
        kinds.PATH,
        "A Python or environment that has diffusers; else the one that was installed.",
    )
    whisper_server_path: Path | None = _setting(
        "WHISPER_SERVER_PATH",
        kinds.PATH,
        "A Python or environment that has faster-whisper; else the one that was installed.",
    )
    piper_server_path: Path | None = _setting(
        "PIPER_SERVER_PATH",
        kinds.PATH,
        "A Python or environment that has piper-tts; else the one that was installed.",
    )
    engines_path: Path = _setting(
        "DMR_ENGINES_PATH",
        kinds.PATH,
        "Folder in which engines are installed, each in an environment of its own.",
        shown="~/.local/share/modelrunner/engines",
        folder=folders.engines_dir,
    )
    search_path: str = _setting("PATH", kinds.FOLDERS, "Where programs are looked for.")

    model_runner_host: str | None = _setting(
        "MODEL_RUNNER_HOST",
        kinds.URL,
        "The daemon to talk to.",
        shown=f"http://localhost:{DEFAULT_PORT}",
        client=True,
    )
    autostart: bool = _setting(
        "DMR_AUTOSTART",
        kinds.SWITCH,
        "Whether a command starts the daemon when none answers; never where MODEL_RUNNER_HOST says.",
        default="true",
        client=True,
    )
    no_auto_install: bool = _setting(
        "MODEL_RUNNER_NO_AUTO_INSTALL",
        kinds.ANYTHING,
        "The same as DMR_AUTOSTART=false.",
        client=True,
    )
    tls: bool | None = _setting("MODEL_RUNNER_TLS", kinds.MAYBE_SWITCH, "Use HTTPS.", client=True)
    tls_skip_verify: bool | None = _setting(
        "MODEL_RUNNER_TLS_SKIP_VERIFY",
        kinds.MAYBE_SWITCH,
        "Accept any certificate.",
        client=True,
    )
    tls_ca_cert: Path | None = _setting(
        "MODEL_RUNNER_TLS_CA_CERT",
        kinds.PATH,
        "Certificate authority to trust, as PEM.",
        client=True,
    )
    no_history: bool = _setting(
        "DOCKER_MODEL_NOHISTORY",
        kinds.ANYTHING,
        "Do not save the history of prompts.",
        client=True,
    )
    no_color: bool = _setting("NO_COLOR", kinds.ANYTHING, "Write without colour.", client=True)
    hf_token: str | None = _setting("HF_TOKEN", kinds.TEXT, "Token for Hugging Face.", client=True)
    user_agent: str | None = _setting(
        "USER_AGENT",
        kinds.TEXT,
        "Added to the user agent of each request.",
        client=True,
    )
    editor: str | None = _setting("EDITOR", kinds.TEXT, "Editor for long prompts.", shown="vi", client=True)
    hub_endpoint: str = _setting(
        "DMR_HUB_ENDPOINT",
        kinds.URL,
        "Where `search` asks for Docker Hub's models.",
        default="https://hub.docker.com",
        client=True,
    )
    websearch: str = _setting(
        "DMR_WEBSEARCH",
        kinds.WEB_ADDRESS,
        "Where a chat searches the web, if it is asked to: a SearXNG, or an MCP server (`.../mcp`).",
        default="https://mcp.exa.ai/mcp",
        client=True,
    )

    def __repr__(self) -> str:
        """Leave the values out: one of them is a token."""
        return f"<Settings of {self.models_path}>"


TABLE: Mapping[str, Setting] = Settings._field_defaults
DAEMON = {name: setting for name, setting in TABLE.items() if not setting.client}
CLIENT = {name: setting for name, setting in TABLE.items() if setting.client}


def flag_of(name: str) -> str:
    """Name the flag of `dmr serve` for a setting: `--models-path`."""
    return f"--{name.replace('_', '-')}"
