"""The apps that `launch` knows, and what each needs to use our models: a table, and what follows from it.

An app is a program of this machine or an image. Its texts may have these in braces: `base`, the daemon's
address; `openai`, `v1` and `anthropic`, its APIs; `key`, for apps that insist on one; `model`, if given.
Users add apps in the same form, in `apps.toml`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from modelrunner.errors import InvalidRequest

_HOST = "host.docker.internal"  # as containers name the machine that they run on
KEY = "sk-docker-model-runner"  # nobody checks it; many apps do not start without one


class App(NamedTuple):
    """One app; `program` or `image` is set. The fields with `model` in the name count when one is given."""

    name: str
    description: str
    program: str = ""
    arguments: Sequence[str] = ()
    image: str = ""
    container_port: int = 0
    port: int = 0  # on the host
    volumes: Sequence[str] = ()
    environment: Mapping[str, str] = {}
    model_arguments: Sequence[str] = ()
    model_environment: Mapping[str, str] = {}
    notes: Sequence[str] = ()  # what has to be told besides, because the app takes it from no variable
    files: str = ""  # which files are written when a model is given

    @property
    def takes_model(self) -> bool:
        """Whether there is a place for a model's name."""
        return bool(self.model_arguments or self.model_environment or self.files)


class Bases(NamedTuple):
    """The daemon's address as containers and as programs of this machine have it, without a final slash."""

    container: str
    host: str


def _openai(address: str) -> dict[str, str]:
    """What programs read an OpenAI address and its key from, under all of the names that are in use."""
    urls = dict.fromkeys(("OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_API_BASE_URL"), address)
    return urls | dict.fromkeys(("OPENAI_API_KEY", "OPEN_AI_KEY"), "{key}")


_CLAW = "openclaw config set models.providers.docker-model-runner"
BUILT_IN = (
    App(
        "anythingllm",
        "A desktop for documents and agents, in a container",
        image="mintplexlabs/anythingllm:latest",
        container_port=3001,
        port=3001,
        volumes=("anythingllm_storage:/app/server/storage",),
        environment={
            "STORAGE_DIR": "/app/server/storage",
            "LLM_PROVIDER": "docker-model-runner",
            "DOCKER_MODEL_RUNNER_BASE_PATH": "{base}",
        },
        model_environment={"DOCKER_MODEL_RUNNER_LLM_MODEL_PREF": "{model}"},
    ),
    App(
        "claude",
        "Claude Code, a coding agent in the terminal",
        program="claude",
        environment={"ANTHROPIC_BASE_URL": "{anthropic}", "ANTHROPIC_API_KEY": "{key}"},
        model_environment={"ANTHROPIC_MODEL": "{model}", "ANTHROPIC_SMALL_FAST_MODEL": "{model}"},
    ),
    App(
        "codex",
        "Codex, a coding agent in the terminal",
        program="codex",
        environment=_openai("{v1}"),
        model_arguments=("--model", "{model}"),
    ),
    App(
        "openclaw",
        "OpenClaw, a personal assistant",
        program="openclaw",
        notes=(
            "Base URL: {openai}",
            "API type: openai-completions",
            "API key:  {key}",
            "",
            f"{_CLAW}.baseUrl {{openai}}",
            f"{_CLAW}.api openai-completions",
            f"{_CLAW}.apiKey {{key}}",
        ),
    ),
    App(
        "opencode",
        "OpenCode, a coding agent in the terminal",
        program="opencode",
        environment=_openai("{openai}"),
        files="opencode",
    ),
    App(
        "openwebui",
        "Open WebUI, a chat in the browser, in a container",
        image="ghcr.io/open-webui/open-webui:latest",
        container_port=8080,
        port=3000,
        volumes=("openwebui_data:/app/backend/data",),
        environment=_openai("{openai}") | {"WEBUI_AUTH": "false"},
    ),
)


class Use(NamedTuple):
    """One use of an app: what `launch` was told."""

    bases: Bases
    model: str | None = None
    port: int | None = None
    image: str | None = None
    detach: bool = False
    arguments: Sequence[str] = ()


def environment(app: App, use: Use) -> dict[str, str]:
    """The variables that are set for an app."""
    given = {**app.environment, **(app.model_environment if use.model else {})}
    return {name: _fill(text, app, use) for name, text in given.items()}


def notes(app: App, use: Use) -> list[str]:
    """What the user is told to set by hand."""
    return [_fill(text, app, use) for text in app.notes]


def command(app: App, use: Use) -> list[str]:
    """The words that start an app: its program, or docker with its image."""
    if app.program:
        own = [*app.arguments, *(app.model_arguments if use.model else ())]
        return [app.program, *(_fill(text, app, use) for text in own), *use.arguments]
    words = ["docker", "run", "--rm", *(["-d"] if use.detach else [])]
    if _HOST in use.bases.container:  # which Docker Desktop knows, and nobody else
        words += ["--add-host", f"{_HOST}:host-gateway"]
    if app.container_port:
        words += ["-p", f"{use.port or app.port}:{app.container_port}"]
    for volume in app.volumes:
        words += ["-v", volume]
    for name, value in environment(app, use).items():
        words += ["-e", f"{name}={value}"]
    return [*words, use.image or app.image, *app.arguments, *use.arguments]


def _fill(text: str, app: App, use: Use) -> str:
    """Replace what stands in braces; other braces stay."""
    base = use.bases.container if app.image else use.bases.host
    known = {
        "base": base,
        "openai": f"{base}/engines/v1",
        "v1": f"{base}/v1",
        "anthropic": f"{base}/anthropic",
        "key": KEY,
        "model": use.model or "",
    }
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text


_TEXTS = ("description", "program", "image")
_NUMBERS = ("container_port", "port")
_LISTS = ("arguments", "volumes", "model_arguments", "notes")
_TABLES = ("environment", "model_environment")


def parse_apps(document: Mapping[str, object], where: str) -> list[App]:
    """Read a user's own apps; `where` names the file in messages.

    Raises:
        InvalidRequest: an app has a field that there is not, or of another kind, or nothing to start.
    """
    return [_app(name, fields, where) for name, fields in document.items()]


def _app(name: str, fields: object, where: str) -> App:
    if not isinstance(fields, dict):
        raise _wrong(where, f"`{name}` is no table")
    for key, value in fields.items():
        if not _is_right(key, value):
            raise _wrong(where, f"`{name}.{key}` is unknown or of the wrong kind")
    app = App(name.lower(), **{"description": "", **fields})
    if bool(app.program) == bool(app.image):
        raise _wrong(where, f"`{name}` needs `program` or `image`, and not both")
    return app


def _is_right(key: str, value: object) -> bool:
    if key in _TEXTS:
        return isinstance(value, str)
    if key in _NUMBERS:
        return isinstance(value, int) and 0 < value < 65536
    if key in _LISTS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return (
        key in _TABLES and isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    )


def _wrong(where: str, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"`{where}` cannot be read: {what}",
        hint=f"an app has {', '.join((*_TEXTS, *_NUMBERS, *_LISTS, *_TABLES))}",
    )
