"""A connection to a Docker Engine, what it is, and its refusals as errors of ours."""

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig
from requests.exceptions import RequestException

from modelrunner.containers.plan import Facts
from modelrunner.errors import Conflict, DockerFailed, InvalidRequest

_PATIENCE = 60  # seconds for one answer; a large image takes its time to be deleted
_GREETED_WITHIN = 10  # seconds; whoever does not say its version by then hangs
_DESKTOP = "Docker Desktop"
_DEVICES = ("/dev/dri", "/dev/kfd", "/dev/accel", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
_DEVICE_GLOBS = ("davinci[0-9]*",)


def connect(
    url: str, authority: str, certificate: str, key: str, *, tls: bool, verify: bool
) -> docker.DockerClient:
    """Connect to the engine at `url`; with `tls`, by certificates whose paths may be empty.

    Raises:
        DockerFailed: nobody answers.
        InvalidRequest: there is no such address.
    """
    config: TLSConfig | bool = False
    if tls:
        config = TLSConfig(
            client_cert=(certificate, key) if certificate and key else None,
            ca_cert=authority or None,
            verify=verify,
        )
    with translated(url):
        if url.startswith("unix://"):  # the SDK leaves a socket open that leads nowhere
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(url.removeprefix("unix://"))
        try:
            client = docker.DockerClient(
                base_url=url, tls=config, timeout=_GREETED_WITHIN, use_ssh_client=True, version="auto"
            )
            client.ping()
            client.api.timeout = _PATIENCE
        except (TypeError, ValueError) as exc:
            raise InvalidRequest(f"no address of a Docker Engine: `{url}`") from exc
    return client


def facts(client: docker.DockerClient, *, local: bool) -> Facts:
    """Ask what there is; devices are looked for when the engine is on this machine."""
    with translated():
        info = client.info()
        bridges = client.networks.list(names=["bridge"])
    bridge = next((network for network in bridges if network.name == "bridge"), None)
    rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
    reachable = not rootless and info.get("OperatingSystem") != _DESKTOP
    return Facts(
        runtimes=frozenset(info.get("Runtimes") or ()),
        gateway=_gateway(bridge.attrs) if bridge is not None and reachable else None,
        has_bridge=bridge is not None,
        nvidia_toolkit=local and _on_path("nvidia-container-runtime"),
        devices=tuple(_devices()) if local else (),
        render_group=_render_group() if local else None,
    )


@contextlib.contextmanager
def translated(url: str = "") -> Iterator[None]:
    """Make of what the SDK raises something that a user can be told.

    Raises:
        Conflict: a port, or a name, is taken.
        DockerFailed: anything else.
    """
    try:
        yield
    except APIError as exc:
        text = str(exc.explanation or exc).strip()
        if "already in use" in text or "already allocated" in text:
            raise Conflict(
                f"Docker says: {text}",
                hint="another runner may be there: `status` tells; or take another port: `--port`",
            ) from exc
        raise DockerFailed(f"Docker says: {text}") from exc
    except (DockerException, RequestException, OSError) as exc:
        where = f" at `{url}`" if url else ""
        raise DockerFailed(
            f"no Docker Engine answers{where}: {_innermost(exc)}",
            hint="start Docker, or choose another engine by DOCKER_HOST or `docker context use`; "
            "`dmr serve` needs none",
        ) from exc


def _innermost(exc: BaseException) -> str:
    """The reason at the bottom of a chain of wrappers."""
    cause: BaseException | None = exc
    reason = exc
    while cause is not None:
        reason = cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason)


def _gateway(network: dict[str, object]) -> str | None:
    addressing = network.get("IPAM")
    entries = addressing.get("Config") if isinstance(addressing, dict) else None
    for entry in entries or ():
        if isinstance(gateway := entry.get("Gateway"), str) and ":" not in gateway:
            return gateway
    return None


def _devices() -> Iterator[str]:
    yield from (path for path in _DEVICES if Path(path).exists())
    for pattern in _DEVICE_GLOBS:
        yield from (str(path) for path in sorted(Path("/dev").glob(pattern)) if _is_device(path))


def _is_device(path: Path) -> bool:
    return stat.S_ISCHR(path.stat().st_mode)


def _render_group() -> int | None:
    """The group whose members may use the GPU, by its number on this machine."""
    if sys.platform == "win32":
        return None
    import grp  # noqa: PLC0415 - there is none on Windows

    try:
        return grp.getgrnam("render").gr_gid
    except KeyError:
        return None


def _on_path(name: str) -> bool:
    return any(os.access(Path(folder) / name, os.X_OK) for folder in os.defpath.split(os.pathsep))
