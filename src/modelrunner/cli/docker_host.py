"""Which Docker Engine the docker client would talk to: its flags, then the environment, then its contexts.

It is read here, not asked of docker, because every command of the plug-in needs it and few need the engine.
Source: docker/cli `cli/command/cli.go`, `resolveContextName` and `resolveDockerEndpoint`, v28.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from modelrunner.cli import json_file
from modelrunner.cli.docker_flags import DockerFlags
from modelrunner.errors import InvalidRequest

_DEFAULT = "default"
_SOCKET = "unix:///var/run/docker.sock"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Certificates(NamedTuple):
    """How the engine is to be trusted, and who we are to it; paths of PEM files."""

    authority: Path | None
    certificate: Path | None
    key: Path | None
    verify: bool


class DockerHost(NamedTuple):
    """A Docker Engine. `typed` tells that flags of this very command chose it."""

    url: str
    context: str = _DEFAULT
    certificates: Certificates | None = None
    typed: bool = False

    @property
    def machine(self) -> str | None:
        """The other machine that it runs on; None when it is this one."""
        parts = urlsplit(self.url)
        if parts.scheme in {"unix", "npipe", "fd"} or not parts.hostname or parts.hostname in _LOOPBACK:
            return None
        return parts.hostname

    @property
    def by_ssh(self) -> bool:
        """Whether it is reached by SSH, and nothing else of its machine is known to be."""
        return self.url.startswith("ssh://")


def config_dir(environ: Mapping[str, str]) -> Path:
    """Name docker's configuration folder.

    Raises:
        InvalidRequest: no home folder is known.
    """
    if named := environ.get("DOCKER_CONFIG"):
        return Path(named)
    from modelrunner.settings.folders import home

    return Path(home(sys.platform, environ)) / ".docker"


def find(flags: DockerFlags, environ: Mapping[str, str]) -> DockerHost:
    """Tell which engine is meant.

    Raises:
        InvalidRequest: both a host and a context are given, or there is no such context.
        StoreError: docker's configuration, or the context's, cannot be read.
    """
    if flags.context and flags.host:
        raise InvalidRequest(
            "conflicting options: cannot specify both --host and --context", hint="give one of them"
        )
    typed = bool(flags.context or flags.host)
    host = flags.host or ("" if flags.context else environ.get("DOCKER_HOST", ""))
    if host:
        return DockerHost(_url(host), certificates=_from_flags(flags, environ), typed=typed)
    folder = config_dir(environ)
    name = flags.context or environ.get("DOCKER_CONTEXT") or _current(folder)
    if name == _DEFAULT:
        return DockerHost(_SOCKET, certificates=_from_flags(flags, environ), typed=typed)
    return _of_context(name, folder)._replace(typed=typed)


def _url(text: str) -> str:
    if "://" in text:
        return text
    return f"unix://{text}" if text.startswith("/") else f"tcp://{text}"


def _current(folder: Path) -> str:
    name = json_file.read(folder / "config.json").get("currentContext")
    return name if isinstance(name, str) and name else _DEFAULT


def _of_context(name: str, folder: Path) -> DockerHost:
    """Read one of docker's contexts.

    Source: docker/cli `cli/context/store`: folders are called by the SHA-256 of the name.
    """
    import hashlib  # nobody else of a quick command needs it

    key = hashlib.sha256(name.encode()).hexdigest()
    path = folder / "contexts" / "meta" / key / "meta.json"
    document = json_file.read(path)
    if not document:
        raise InvalidRequest(
            f"docker has no context `{name}`", hint="`docker context ls` lists those that there are"
        )
    endpoints = document.get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = docker.get("Host") if isinstance(docker, dict) else None
    if not isinstance(docker, dict) or not isinstance(host, str):
        raise json_file.broken(path, "it names no host")
    secrets = folder / "contexts" / "tls" / key / "docker"
    certificates = _in_folder(secrets, verify=not docker.get("SkipTLSVerify")) if secrets.is_dir() else None
    return DockerHost(host, name, certificates)


def _from_flags(flags: DockerFlags, environ: Mapping[str, str]) -> Certificates | None:
    verify = flags.tls_verify or bool(environ.get("DOCKER_TLS_VERIFY"))
    if not (flags.tls or verify):
        return None
    folder = Path(environ.get("DOCKER_CERT_PATH") or config_dir(environ))
    usual = _in_folder(folder, verify=verify)
    return Certificates(
        Path(flags.tls_ca) if flags.tls_ca else usual.authority,
        Path(flags.tls_cert) if flags.tls_cert else usual.certificate,
        Path(flags.tls_key) if flags.tls_key else usual.key,
        verify,
    )


def _in_folder(folder: Path, *, verify: bool) -> Certificates:
    authority, certificate, key = (
        path if (path := folder / name).exists() else None for name in ("ca.pem", "cert.pem", "key.pem")
    )
    return Certificates(authority, certificate, key, verify)
