"""Where the daemon is.

In this order: `MODEL_RUNNER_HOST`; the active context; the container that `install-runner` made; for `docker
model` the machine of the Docker Engine, if it is another one; the address that a daemon of this machine would
take. Docker's flags, when they were typed in front of this very command, go before the context, which was
chosen earlier.
"""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from modelrunner.cli import contexts, installed
from modelrunner.cli.docker_host import DockerHost
from modelrunner.client import Address, Tls
from modelrunner.errors import InvalidRequest
from modelrunner.settings.table import DEFAULT_PORT, Settings

KIND = "Docker Engine (Manual Install)"  # what the reference calls a runner that nobody manages for you
CONTAINER_KIND = "Docker Engine"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_FROM_CONTAINERS = "host.docker.internal"
_VARIABLE = "MODEL_RUNNER_HOST"


class Endpoint(NamedTuple):
    """An address, and whether a daemon may be started there when none answers."""

    address: Address
    may_start: bool
    kind: str = KIND
    gateway: str | None = None  # of the engine's network, by which containers reach the runner
    hint: str | None = None  # what to do when nobody answers there

    @property
    def host_url(self) -> str:
        """The OpenAI base URL for programs on this machine, with its final slash."""
        return f"{self.address.url}/v1/"

    @property
    def container_url(self) -> str:
        """The same for programs in containers, to which the loopback address is another machine."""
        if self.address.socket is None and self.address.host in _LOOPBACK:
            return f"{self.address._replace(host=self.gateway or _FROM_CONTAINERS).url}/v1/"
        return self.host_url


def find(
    settings: Settings,
    folder: Path | None = None,
    docker: DockerHost | None = None,
    *,
    elsewhere: bool = False,
) -> Endpoint:
    """Tell where the daemon is.

    `folder` is docker's configuration, `docker` the engine that is meant, if any. With `elsewhere` another
    machine's engine leads to that machine.

    Raises:
        InvalidRequest: what was configured is no address.
        ContextNotFound: the active context is gone.
        StoreError: the contexts cannot be read.
    """
    if settings.model_runner_host:
        return Endpoint(parse(settings.model_runner_host, settings), may_start=False)
    typed = docker is not None and docker.typed
    if folder is not None and not typed and (active := contexts.read(contexts.path_in(folder)).active()):
        return _of_context(*active, settings)
    if docker is not None and folder is not None:
        runner = installed.read(installed.path_in(folder), docker.url)
        if runner is not None and runner.port:
            return of_container(runner)
        if elsewhere and docker.machine is not None:
            return _elsewhere(docker, docker.machine)
    may_start = settings.autostart and not settings.no_auto_install
    if settings.socket is not None:
        return Endpoint(Address(socket=str(settings.socket)), may_start=may_start)
    host = _ANY.get(settings.host, settings.host)
    return Endpoint(Address(host, settings.port or DEFAULT_PORT), may_start=may_start)


def check_url(text: str) -> None:
    """Check that a URL names a daemon.

    Raises:
        InvalidRequest: it has no scheme or host, or one that nobody speaks.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise InvalidRequest(f"invalid --host URL: {exc}") from exc
    if "://" not in text or not host:
        raise InvalidRequest(
            f"invalid --host URL: `{text}`", hint="write it like `http://192.168.1.100:12434`"
        )
    if parts.scheme not in {"http", "https"}:
        raise InvalidRequest(f'unsupported scheme "{parts.scheme}" (must be http or https)')


def _of_context(name: str, context: contexts.Context, settings: Settings) -> Endpoint:
    """Make the address of a context; what the environment says of TLS goes before what it says."""
    chosen = settings._replace(
        tls=context.tls if settings.tls is None else settings.tls,
        tls_skip_verify=context.skip_verify if settings.tls_skip_verify is None else settings.tls_skip_verify,
        tls_ca_cert=settings.tls_ca_cert or (Path(context.ca_cert) if context.ca_cert else None),
    )
    address = parse(context.host, chosen, source=f"the host of the context `{name}`")
    hint = f"the context `{name}` says so; `context use {contexts.DEFAULT}` leaves it"
    return Endpoint(address, may_start=False, hint=hint)


def of_container(runner: installed.Installed) -> Endpoint:
    """Make the address of a runner in a container."""
    host = _ANY.get(runner.host, runner.host)
    return Endpoint(
        Address(host, runner.port),
        may_start=False,
        kind=CONTAINER_KIND,
        gateway=runner.gateway,
        hint="its container may have been stopped: `start-runner` starts it, `uninstall-runner` forgets it",
    )


def _elsewhere(docker: DockerHost, machine: str) -> Endpoint:
    """Make the address of a runner on another machine's Docker Engine.

    Raises:
        InvalidRequest: that is reached by SSH, through which there is no way to a port.
    """
    if docker.by_ssh:
        port = DEFAULT_PORT
        raise InvalidRequest(
            f"the Docker Engine is reached by SSH (`{docker.url}`), its model runner is not",
            hint=f"open a tunnel, `ssh -N -L {port}:127.0.0.1:{port} {docker.url.removeprefix('ssh://')}`, "
            f"and set {_VARIABLE}=http://localhost:{port}",
        )
    return Endpoint(
        Address(machine, DEFAULT_PORT),
        may_start=False,
        kind=CONTAINER_KIND,
        hint=f"it is the machine of the Docker Engine at `{docker.url}`; its runner has to be installed with "
        f"`install-runner --host 0.0.0.0`, or {_VARIABLE} to be set",
    )


def parse(text: str, settings: Settings, source: str = _VARIABLE) -> Address:
    """Read an address; `source` is where it was written.

    Raises:
        InvalidRequest: it is none.
    """
    if text.startswith("unix://"):
        return Address(socket=str(Path(text.removeprefix("unix://")).expanduser()))
    if settings.tls and text.startswith("http://"):
        raise InvalidRequest(
            f"TLS is asked for, but the address is plain HTTP: `{text}`",
            hint=f"write `https://` in {source}, or unset MODEL_RUNNER_TLS",
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise _invalid(text, source) from exc
    if parts.scheme not in {"http", "https"} or not host:
        raise _invalid(text, source)
    secure = parts.scheme == "https"
    authority = str(settings.tls_ca_cert) if settings.tls_ca_cert else None
    return Address(
        host=host,
        port=port or (443 if secure else 80),
        prefix=parts.path.rstrip("/"),
        tls=Tls(authority, verify=not settings.tls_skip_verify) if secure else None,
    )


def _invalid(text: str, source: str) -> InvalidRequest:
    return InvalidRequest(f"{source} is no address: `{text}`", hint="write it like `http://localhost:12434`")
