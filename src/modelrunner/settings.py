"""The one table of settings: flag before environment before default, read once, refused when malformed.

It is imported by every start of the command line, so it stays with the cheap half of the standard library.
Options of a single model are no settings: they are state of the daemon, set through `_configure`.
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.units import format_bytes, format_duration, parse_bytes, parse_duration, parse_keep_alive

DEFAULT_PORT = 12434
DEFAULT_TLS_PORT = 12444
_CLOUD_GPU_KEEP_ALIVE = 8 * 3600.0  # seconds
_MOST_PLACES = 8
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class Settings(NamedTuple):
    """Every setting with its value. Durations are in seconds, sizes in bytes; None means unset.

    Exactly one of `port` and `socket` is set. `keep_alive` None means for ever.
    """

    host: str
    port: int | None
    socket: Path | None
    models_path: Path
    log_dir: Path
    log_level: str
    log_size: int
    prompt_cache: int
    prompt_cache_path: Path
    responses: int
    responses_lifetime: float
    responses_path: Path
    requests: int
    requests_lifetime: float
    requests_path: Path
    redact: tuple[str, ...]
    redact_file: Path | None
    disable_metrics: bool
    otel_endpoint: str | None
    origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    tls_enabled: bool
    tls_port: int
    tls_cert: Path | None
    tls_key: Path | None
    keep_alive: float | None
    preload: tuple[str, ...]
    places: int
    memory: int | None
    queue: int
    stalled_after: float
    pulls: int
    pull_limit: int | None
    hf_endpoint: str
    body_limit: int
    remote_media: bool
    request_timeout: float | None
    drain: float
    ready_file: Path | None
    default_registry: str
    insecure_registry: bool
    insecure_registries: tuple[str, ...]
    private_realms: tuple[str, ...]
    mirrors: tuple[str, ...]
    ca_cert: Path | None
    llama_server_path: Path | None
    llama_args: tuple[str, ...]
    sandbox: str
    vllm_server_path: Path | None
    sglang_server_path: Path | None
    mlx_server_path: Path | None
    diffusers_server_path: Path | None
    whisper_server_path: Path | None
    piper_server_path: Path | None
    engines_path: Path
    search_path: str
    model_runner_host: str | None
    autostart: bool
    no_auto_install: bool
    tls: bool | None
    tls_skip_verify: bool | None
    tls_ca_cert: Path | None
    no_history: bool
    no_color: bool
    hf_token: str | None
    user_agent: str | None
    editor: str | None
    hub_endpoint: str
    websearch: str

    def __repr__(self) -> str:
        """Leave the values out: one of them is a token."""
        return f"<Settings of {self.models_path}>"


class Kind(NamedTuple):
    """How a value is read, and the words for what was expected when it cannot be."""

    parse: Callable[[str], object]
    expected: str


class Setting(NamedTuple):
    """One row of the table. `default` is text like a user's, `shown` is what the documentation says of it."""

    name: str
    environment: str
    kind: Kind
    help: str
    default: str = ""
    shown: str = ""


def home(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Find the user's home folder on `platform` (a value of `sys.platform`).

    Raises:
        InvalidRequest: none is known.
    """
    found = environ.get("USERPROFILE" if platform == "win32" else "HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where this returns "~"
    if found == "~":
        raise InvalidRequest("no home folder is known", hint="set HOME, or set MODELS_PATH and the like")
    return _pure(platform, found)


def models_dir(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the model store that Docker Model Runner uses too: `~/.docker/models`."""
    return home(platform, environ) / ".docker" / "models"


def state_dir(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the folder for what the daemon keeps between runs and nobody edits.

    Source: XDG base directory specification 0.8, `XDG_STATE_HOME`; the platforms' own conventions elsewhere.
    """
    if platform == "win32" and (local := environ.get("LOCALAPPDATA")):
        return _pure(platform, local) / "modelrunner"
    if platform == "win32":
        return home(platform, environ) / "AppData" / "Local" / "modelrunner"
    if platform == "darwin":
        return home(platform, environ) / "Library" / "Application Support" / "modelrunner"
    if (state := environ.get("XDG_STATE_HOME")) and state.startswith("/"):
        return _pure(platform, state) / "modelrunner"
    return home(platform, environ) / ".local" / "state" / "modelrunner"


def log_dir(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the folder of the daemon's log files."""
    if platform == "darwin":
        return home(platform, environ) / "Library" / "Logs" / "modelrunner"
    return state_dir(platform, environ) / "logs"


def prompt_cache_path(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the folder for what engines computed of prompts."""
    return state_dir(platform, environ) / "prompts"


def responses_path(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the file of the responses that are kept."""
    return state_dir(platform, environ) / "responses.db"


def requests_path(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the file of the requests that are recorded."""
    return state_dir(platform, environ) / "requests.db"


def engines_dir(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the folder of the engines that were installed: programs of gigabytes, which nobody edits.

    Source: XDG base directory specification 0.8, `XDG_DATA_HOME`; the platforms' own conventions elsewhere.
    """
    if platform in {"win32", "darwin"}:
        return state_dir(platform, environ) / "engines"
    if (data := environ.get("XDG_DATA_HOME")) and data.startswith("/"):
        return _pure(platform, data) / "modelrunner" / "engines"
    return home(platform, environ) / ".local" / "share" / "modelrunner" / "engines"


def history_file(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the file of the interactive prompt's history, where Docker's own client keeps it."""
    return home(platform, environ) / ".docker" / "model" / "history"


def parse_boolean(text: str) -> bool:
    """Read a boolean as the reference does: `1`, `t`, `T`, `true`, `True`, `TRUE`, and so on.

    Raises:
        InvalidRequest: any other text.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidRequest(f"invalid boolean: `{text}`", hint="write `true` or `false`")


def _pure(platform: str, text: str) -> PurePath:
    return PureWindowsPath(text) if platform == "win32" else PurePosixPath(text)


def _maybe(parse: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: parse(text) if text else None


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()


def _number(low: int, high: int) -> Kind:
    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return Kind(_maybe(parse), f"a number from {low} to {high}")


def _entries(text: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError(text)
    return seconds


def _level(text: str) -> str:
    level = {"warn": "warning"}.get(text.lower(), text.lower())
    if level not in {"debug", "info", "warning", "error"}:
        raise ValueError(text)
    return level


def _sandbox(text: str) -> str:
    setting = text.lower()
    if setting not in {"auto", "off", "require"}:
        raise ValueError(text)
    return setting


def _registry(text: str) -> str:
    return "docker.io" if text in {"index.docker.io", "registry-1.docker.io"} else text


def _host_url(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    if not urlsplit(url).netloc and not url.startswith("unix://"):
        raise ValueError(text)
    return url.rstrip("/")


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(text)
    return text


_PATH = Kind(_maybe(_path), "a path")
_LIST = Kind(_entries, "a comma-separated list")
_TEXT = Kind(_maybe(str), "a text")
_ANYTHING = Kind(bool, "anything")
_SIZE = Kind(parse_bytes, "a size such as `20MB` or `64MiB`")
_MAYBE_SIZE = Kind(_maybe(parse_bytes), _SIZE.expected)
_SWITCH = Kind(parse_boolean, "`true` or `false`")
_MAYBE_SWITCH = Kind(_maybe(parse_boolean), _SWITCH.expected)
_LEVEL = Kind(_level, "`debug`, `info`, `warn` or `error`")
_SANDBOX = Kind(_sandbox, "`auto`, `off` or `require`")
_DURATION = Kind(_seconds, "a duration such as `30s` or `5m`")
_IDLE = Kind(parse_keep_alive, f"{_DURATION.expected}, or `-1` for ever")
_URL = Kind(_maybe(_host_url), "a URL such as `http://localhost:12434`")
_ARGS = Kind(lambda text: tuple(shlex.split(text)), "arguments of llama-server, quoted as in a shell")

# Order is that of the fields of Settings; a test compares the two.
DAEMON: tuple[Setting, ...] = (
    Setting("host", "DMR_BIND", Kind(str, "an address"), "Address to listen on.", default="127.0.0.1"),
    Setting(
        "port",
        "MODEL_RUNNER_PORT",
        _number(0, 65535),
        "TCP port to listen on; 0 takes a free one. It turns the socket off.",
        shown=str(DEFAULT_PORT),
    ),
    Setting("socket", "MODEL_RUNNER_SOCK", _PATH, "Unix socket to listen on, open to its owner only."),
    Setting(
        "models_path",
        "MODELS_PATH",
        _PATH,
        "The model store, shared with Docker Model Runner.",
        shown="~/.docker/models",
    ),
    Setting(
        "log_dir",
        "MODEL_RUNNER_LOG_DIR",
        _PATH,
        "Folder of the log files; made, for its owner only, when it is missing.",
        shown="~/.local/state/modelrunner/logs",
    ),
    Setting("log_level", "LOG_LEVEL", _LEVEL, "How much the daemon writes to its log.", default="info"),
    Setting(
        "log_size",
        "DMR_LOG_SIZE",
        _SIZE,
        "Size at which a log file is set aside as `.1`, replacing the one before.",
        default="20MB",
    ),
    Setting(
        "prompt_cache",
        "DMR_PROMPT_CACHE",
        _SIZE,
        "Disk space for what engines computed of prompts, so that a model that comes back need not compute it"
        " again; 0 turns that off.",
        default="4GiB",
    ),
    Setting(
        "prompt_cache_path",
        "DMR_PROMPT_CACHE_PATH",
        _PATH,
        "Folder for that; only its owner can open it.",
        shown="~/.local/state/modelrunner/prompts",
    ),
    Setting(
        "responses",
        "DMR_RESPONSES",
        _SIZE,
        "Disk space for the responses that the Responses API keeps; those used longest ago make room.",
        default="256MiB",
    ),
    Setting(
        "responses_lifetime",
        "DMR_RESPONSES_LIFETIME",
        _DURATION,
        "How long a response is kept after it was last followed or made.",
        default="720h",
    ),
    Setting(
        "responses_path",
        "DMR_RESPONSES_PATH",
        _PATH,
        "File for that, a SQLite database; only its owner can open it.",
        shown="~/.local/state/modelrunner/responses.db",
    ),
    Setting(
        "requests",
        "DMR_REQUESTS",
        _SIZE,
        "Disk space for recorded requests and their answers; the oldest make room, and 0 records nothing.",
        default="512MiB",
    ),
    Setting(
        "requests_lifetime",
        "DMR_REQUESTS_LIFETIME",
        _DURATION,
        "How long a recorded request is kept.",
        default="720h",
    ),
    Setting(
        "requests_path",
        "DMR_REQUESTS_PATH",
        _PATH,
        "File for that, a SQLite database; only its owner can open it.",
        shown="~/.local/state/modelrunner/requests.db",
    ),
    Setting(
        "redact",
        "DMR_REDACT",
        _LIST,
        "What is replaced in recorded requests: any of `secrets`, `emails`, `cards`, `phones`, or `none`.",
        default="secrets",
    ),
    Setting(
        "redact_file",
        "DMR_REDACT_FILE",
        _PATH,
        "File with more to replace: one regular expression a line, with a name and a colon before it or not.",
    ),
    Setting(
        "disable_metrics",
        "DISABLE_METRICS",
        _SWITCH,
        "Answer nothing at `/metrics`, and count nothing.",
        default="false",
    ),
    Setting(
        "otel_endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        _TEXT,
        "Where to send traces and metrics by OpenTelemetry's protocol over HTTP; needs the extra `otel`.",
    ),
    Setting(
        "origins",
        "DMR_ORIGINS",
        _LIST,
        "More origins whose web pages may use the API; `:*` is any port, `*` is all; loopback always may.",
    ),
    Setting(
        "allowed_hosts",
        "DMR_ALLOWED_HOSTS",
        _LIST,
        "More names by which clients may address the daemon, without port; `*` is any.",
    ),
    Setting(
        "tls_enabled",
        "MODEL_RUNNER_TLS_ENABLED",
        _SWITCH,
        "Serve TLS too, on a port of its own.",
        default="false",
    ),
    Setting(
        "tls_port",
        "MODEL_RUNNER_TLS_PORT",
        _number(0, 65535),
        "TCP port for TLS; 0 takes a free one.",
        default=str(DEFAULT_TLS_PORT),
    ),
    Setting("tls_cert", "MODEL_RUNNER_TLS_CERT", _PATH, "Certificate for TLS, with its chain, as PEM."),
    Setting("tls_key", "MODEL_RUNNER_TLS_KEY", _PATH, "Key of the certificate, as PEM, without a password."),
    Setting(
        "keep_alive",
        "DMR_KEEP_ALIVE",
        _IDLE,
        "How long an idle model stays loaded, unless it was configured otherwise.",
        default="5m",
    ),
    Setting(
        "preload",
        "DMR_PRELOAD",
        _LIST,
        "Models to load at the start, after those that are pinned.",
    ),
    Setting(
        "places",
        "DMR_PLACES",
        _number(1, 1024),
        "How many engine instances may run at once.",
        shown=f"number of CPUs, at most {_MOST_PLACES}",
    ),
    Setting(
        "memory",
        "DMR_MEMORY",
        _MAYBE_SIZE,
        "How much RAM models may take in all; a model that needs more is refused.",
        shown="all but a twentieth",
    ),
    Setting(
        "queue",
        "DMR_QUEUE",
        _number(1, 1_000_000),
        "How many requests may wait for a model to load before further ones are turned away.",
        default="512",
    ),
    Setting(
        "stalled_after",
        "DMR_STALLED_AFTER",
        _DURATION,
        "For how long requests may wait while nothing at all goes on before `GET /health` says so.",
        default="2m",
    ),
    Setting("pulls", "DMR_PULLS", _number(1, 64), "How many pulls run at once; others wait.", default="2"),
    Setting(
        "pull_limit",
        "DMR_PULL_LIMIT",
        _MAYBE_SIZE,
        "How much all pulls together may fetch per second, such as `50MB`.",
        shown="no limit",
    ),
    Setting(
        "hf_endpoint",
        "HF_ENDPOINT",
        Kind(_host_url, _URL.expected),
        "Where Hugging Face's hub, or a mirror of it, is.",
        default="https://huggingface.co",
    ),
    Setting("body_limit", "DMR_BODY_LIMIT", _SIZE, "Largest body of a request to a model.", default="64MiB"),
    Setting(
        "remote_media",
        "DMR_REMOTE_MEDIA",
        _SWITCH,
        "Let messages name images by http address. The engine fetches them, which its sandbox has to allow.",
        default="false",
    ),
    Setting(
        "request_timeout",
        "DMR_REQUEST_TIMEOUT",
        Kind(_maybe(_seconds), "a duration such as `30s` or `5m`"),
        "How long a request to a model may take, unless its header X-Request-Timeout says otherwise.",
        shown="no limit",
    ),
    Setting(
        "drain",
        "DMR_DRAIN",
        _DURATION,
        "How long requests may take to finish once the daemon was told to stop.",
        default="10s",
    ),
    Setting("ready_file", "DMR_READY_FILE", _PATH, "File that receives the daemon's URL once it answers."),
    Setting(
        "default_registry",
        "DEFAULT_REGISTRY",
        Kind(_registry, "a host"),
        "Registry of names that give none.",
        default="docker.io",
    ),
    Setting(
        "insecure_registry",
        "INSECURE_REGISTRY",
        _SWITCH,
        "Speak plain HTTP to every registry.",
        default="false",
    ),
    Setting(
        "insecure_registries",
        "DMR_INSECURE_REGISTRIES",
        _LIST,
        "Registries, as `host` or `host:port`, to speak plain HTTP to.",
    ),
    Setting(
        "private_realms",
        "DMR_PRIVATE_REALMS",
        _LIST,
        "Registries, as `host` or `host:port`, that may name a token server inside your network.",
    ),
    Setting(
        "mirrors",
        "MODEL_RUNNER_REGISTRY_MIRRORS",
        _LIST,
        "Mirrors of Docker Hub, asked in this order before Docker Hub itself.",
    ),
    Setting(
        "ca_cert",
        "DMR_CA_CERT",
        _PATH,
        "Certificate authority, as PEM, that registries may have besides those of the system.",
    ),
    Setting(
        "llama_server_path",
        "LLAMA_SERVER_PATH",
        _PATH,
        "A `llama-server` program or its folder; else the one on PATH, else the embedded engine.",
    ),
    Setting("llama_args", "LLAMA_ARGS", _ARGS, "Arguments added to every start of llama.cpp."),
    Setting(
        "sandbox",
        "DMR_SANDBOX",
        _SANDBOX,
        "How engines are confined: as far as the system can, not at all, or not without Landlock.",
        default="auto",
    ),
    Setting(
        "vllm_server_path",
        "VLLM_SERVER_PATH",
        _PATH,
        "A `vllm` program, or a Python or environment that has vLLM; else the one that was installed.",
    ),
    Setting(
        "sglang_server_path",
        "SGLANG_SERVER_PATH",
        _PATH,
        "A Python or environment that has SGLang; else what was installed, or `python3` on the `PATH`.",
    ),
    Setting(
        "mlx_server_path",
        "MLX_SERVER_PATH",
        _PATH,
        "A Python or environment that has mlx-lm; else what was installed, or `python3` on the `PATH`.",
    ),
    Setting(
        "diffusers_server_path",
        "DIFFUSERS_SERVER_PATH",
        _PATH,
        "A Python or environment that has diffusers; else the one that was installed.",
    ),
    Setting(
        "whisper_server_path",
        "WHISPER_SERVER_PATH",
        _PATH,
        "A Python or environment that has faster-whisper; else the one that was installed.",
    ),
    Setting(
        "piper_server_path",
        "PIPER_SERVER_PATH",
        _PATH,
        "A Python or environment that has piper-tts; else the one that was installed.",
    ),
    Setting(
        "engines_path",
        "DMR_ENGINES_PATH",
        _PATH,
        "Folder in which engines are installed, each in an environment of its own.",
        shown="~/.local/share/modelrunner/engines",
    ),
    Setting("search_path", "PATH", Kind(str, "a list of folders"), "Where programs are looked for."),
)

CLIENT: tuple[Setting, ...] = (
    Setting(
        "model_runner_host",
        "MODEL_RUNNER_HOST",
        _URL,
        "The daemon to talk to.",
        shown=f"http://localhost:{DEFAULT_PORT}",
    ),
    Setting(
        "autostart",
        "DMR_AUTOSTART",
        _SWITCH,
        "Whether a command starts the daemon when none answers; never where MODEL_RUNNER_HOST says.",
        default="true",
    ),
    Setting("no_auto_install", "MODEL_RUNNER_NO_AUTO_INSTALL", _ANYTHING, "The same as DMR_AUTOSTART=false."),
    Setting("tls", "MODEL_RUNNER_TLS", _MAYBE_SWITCH, "Use HTTPS."),
    Setting("tls_skip_verify", "MODEL_RUNNER_TLS_SKIP_VERIFY", _MAYBE_SWITCH, "Accept any certificate."),
    Setting("tls_ca_cert", "MODEL_RUNNER_TLS_CA_CERT", _PATH, "Certificate authority to trust, as PEM."),
    Setting("no_history", "DOCKER_MODEL_NOHISTORY", _ANYTHING, "Do not save the history of prompts."),
    Setting("no_color", "NO_COLOR", _ANYTHING, "Write without colour."),
    Setting("hf_token", "HF_TOKEN", _TEXT, "Token for Hugging Face."),
    Setting("user_agent", "USER_AGENT", _TEXT, "Added to the user agent of each request."),
    Setting("editor", "EDITOR", _TEXT, "Editor for long prompts.", shown="vi"),
    Setting(
        "hub_endpoint",
        "DMR_HUB_ENDPOINT",
        _URL,
        "Where `search` asks for Docker Hub's models.",
        default="https://hub.docker.com",
    ),
    Setting(
        "websearch",
        "DMR_WEBSEARCH",
        Kind(_web_url, "an http address such as `http://localhost:8888`"),
        "Where a chat searches the web, if it is asked to: a SearXNG, or an MCP server (`.../mcp`).",
        default="https://mcp.exa.ai/mcp",
    ),
)

# What `dmr serve` takes as flags too, by name.
FLAGS = (
    "host",
    "port",
    "socket",
    "models_path",
    "log_dir",
    "log_level",
    "origins",
    "allowed_hosts",
    "keep_alive",
    "preload",
)

TABLE = (*DAEMON, *CLIENT)
# Where they are when nobody says.
_FOLDERS = {
    "models_path": models_dir,
    "log_dir": log_dir,
    "prompt_cache_path": prompt_cache_path,
    "responses_path": responses_path,
    "requests_path": requests_path,
    "engines_path": engines_dir,
}


def load(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, platform: str = sys.platform
) -> Settings:
    """Read every setting: `flags` (by name; None is not given) before `environ` before the default.

    Raises:
        InvalidRequest: a value cannot be read, or both a port and a socket are asked for; the message names
            the flag or variable, its value and what was expected.
    """
    given = {setting.name: _given(setting, flags, environ) for setting in TABLE}
    values = {
        setting.name: _parse(setting, given[setting.name], _source(setting, flags)) for setting in TABLE
    }
    values |= _listener(values, flags)
    for name, folder in _FOLDERS.items():
        values[name] = values[name] or Path(folder(platform, environ))
    values["places"] = values["places"] or min(os.cpu_count() or 1, _MOST_PLACES)
    if given["keep_alive"] is None and _is_cloud_gpu(environ):
        values["keep_alive"] = _CLOUD_GPU_KEEP_ALIVE
    return Settings(**values)


def render_markdown() -> str:
    """Print the table as `docs/reference/settings.md`."""
    parts = [
        "# Settings\n\n",
        "A flag wins over an environment variable, and that over the default. A value that cannot be\n",
        "read is an error that names it. Durations are written like `30s`, `5m` or `1h30m`, sizes like\n",
        "`20MB` or `64MiB`, booleans `true` or `false`, lists with commas.\n\n",
        "This page is generated from `src/modelrunner/settings.py`; `make docs` writes it.\n",
    ]
    for title, rows in (("The daemon", DAEMON), ("The command line", CLIENT)):
        parts += [f"\n## {title}\n\n", "| Variable | Flag | Default | Meaning |\n", "|---|---|---|---|\n"]
        parts += [_markdown(row) for row in rows]
    return "".join(parts)


def shown(setting: Setting, value: object) -> str:
    """Write a value as a user would; empty when it is not set."""
    if value is None:
        return "-1" if setting.kind is _IDLE else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return format_duration(value)
    if isinstance(value, int) and setting.kind in {_SIZE, _MAYBE_SIZE}:
        return format_bytes(value)
    return str(value)


def flag_of(setting: Setting) -> str:
    """Name the flag of `dmr serve` for a setting: `--models-path`."""
    return f"--{setting.name.replace('_', '-')}"


def _given(setting: Setting, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> str | None:
    if (flag := flags.get(setting.name)) is not None:
        return flag
    return _unquoted(environ.get(setting.environment, "").strip()) or None


def _source(setting: Setting, flags: Mapping[str, str | None]) -> str:
    return flag_of(setting) if flags.get(setting.name) is not None else setting.environment


def _unquoted(text: str) -> str:
    """Take one pair of quotes off that encloses everything, as files of variables have them."""
    inner = text[1:-1]
    return (
        inner
        if text[:1] in {'"', "'"} and text == f"{text[0]}{inner}{text[0]}" and text[0] not in inner
        else text
    )


def _parse(setting: Setting, given: str | None, source: str) -> Any:
    text = setting.default if given is None else given
    try:
        return setting.kind.parse(text)
    except (ValueError, RunnerError) as exc:
        raise InvalidRequest(
            f"invalid value for {source}: `{text}`",
            hint=f"expected {setting.kind.expected}",
        ) from exc


def _listener(values: Mapping[str, object], flags: Mapping[str, str | None]) -> dict[str, object]:
    """Decide between port and socket: a flag of either wins over a variable of the other, then the port."""
    by_port, by_socket = flags.get("port") is not None, flags.get("socket") is not None
    if by_port and by_socket:
        raise InvalidRequest("both --port and --socket are given", hint="give one of them")
    if by_socket or (values["port"] is None and values["socket"] is not None):
        return {"port": None}
    return {"port": DEFAULT_PORT if values["port"] is None else values["port"], "socket": None}


def _is_cloud_gpu(environ: Mapping[str, str]) -> bool:
    """Whether this is the reference's cloud environment with a GPU, where models stay loaded for long."""
    return environ.get("MODEL_RUNNER_ENVIRONMENT") == "cloud" and bool(environ.get("NVIDIA_VISIBLE_DEVICES"))


def _markdown(row: Setting) -> str:
    default = row.shown or row.default
    cells = (
        f"`{row.environment}`",
        f"`{flag_of(row)}`" if row.name in FLAGS else "",
        f"`{default}`" if default and " " not in default else default,
        row.help,
    )
    return f"| {' | '.join(cells)} |\n"
