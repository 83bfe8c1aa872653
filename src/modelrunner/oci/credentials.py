"""Who we are at a registry: Docker's config.json, its credential helpers, and the environment.

Looking up may run a helper program and wait for it; callers on an event loop do it in a thread.
"""

import base64
import binascii
import logging
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from modelrunner.errors import Unauthorized
from modelrunner.oci.manifest import UNREADABLE
from modelrunner.oci.reference import DOCKER_HUB, HUB_ALIASES

HUB_SERVER = "https://index.docker.io/v1/"  # the name of Docker Hub in config.json and for helpers
HELPER_SECONDS = 60  # a key chain may ask the user first

_HUB_VARIABLES = (("DOCKER_USERNAME", "DOCKER_PASSWORD"), ("DOCKER_HUB_USER", "DOCKER_HUB_PASSWORD"))
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_IDENTITY_USER = "<token>"  # by which a helper says that its secret is an identity token

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name with a password, or an identity token when the name is empty.

    With `is_final` the secret is neither: it is the bearer token that the registry itself takes.
    """

    username: str
    secret: str = field(repr=False)
    is_final: bool = False

    @property
    def is_identity_token(self) -> bool:
        """Whether the secret is to be exchanged as a refresh token."""
        return not self.username and not self.is_final


class _Entry(msgspec.Struct):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


class _Config(msgspec.Struct, rename="camel"):
    auths: dict[str, _Entry | None] | None = None
    cred_helpers: dict[str, str] | None = None
    creds_store: str | None = None


class _HelperReply(msgspec.Struct, rename={"username": "Username", "secret": "Secret"}):
    username: str = ""
    secret: str = ""


class Credentials:
    """Finds the credential for a registry; reads the files each time, so that a new login counts at once."""

    def __init__(self, environ: Mapping[str, str], config_dir: Path | None = None) -> None:
        self._environ = environ
        self._config_dir = config_dir

    def lookup(self, registry: str) -> Credential | None:
        """Find the credential for a registry, named as in references; None for anonymous.

        In this order: the environment (Docker Hub only), the registry's own credential helper, the general
        helper, the plain entries. What one source does not know, the next one is asked for.

        Raises:
            Unauthorized: config.json, or the entry of this registry in it, cannot be read.
        Source: docker/cli `cli/config/configfile`. That the variables are for Docker Hub alone is ours: there
            they were offered to every registry.
        """
        server = _normal(registry)
        if server in HUB_ALIASES and (found := self._from_environment()):
            return found
        path = self._path()
        config = _read(path) if path else None
        if config is None:
            return None
        address = HUB_SERVER if server in HUB_ALIASES else server
        helpers = {_normal(key): name for key, name in sorted((config.cred_helpers or {}).items())}
        for helper in (helpers.get(_normal(address)), config.creds_store):
            if helper and (found := self._from_helper(helper, address)):
                return found
        return _from_entries(config.auths or {}, server, path)

    def _from_environment(self) -> Credential | None:
        for user, password in _HUB_VARIABLES:
            username, secret = self._environ.get(user, ""), self._environ.get(password, "")
            if username and secret:
                return Credential(username, secret)
        return None

    def _path(self) -> Path | None:
        if self._config_dir is not None:
            return self._config_dir / "config.json"
        if named := self._environ.get("DOCKER_CONFIG"):
            return Path(named) / "config.json"
        home = self._environ.get("HOME") or self._environ.get("USERPROFILE")
        return Path(home) / ".docker" / "config.json" if home else None

    def _from_helper(self, name: str, server: str) -> Credential | None:
        """Ask `docker-credential-<name>`; whatever goes wrong counts as not knowing, and is logged.

        Source: docker/docker-credential-helpers `client/command.go`: the server on stdin, JSON on stdout.
        """
        program = (
            shutil.which(f"docker-credential-{name}", path=self._environ.get("PATH"))
            if _HELPER_NAME.fullmatch(name)
            else None
        )
        if program is None:
            _log.warning("credential helper is not installed name=%s", name)
            return None
        try:
            done = subprocess.run(
                [program, "get"],
                input=server.encode(),
                capture_output=True,
                timeout=HELPER_SECONDS,
                check=False,
                env=dict(self._environ),
            )
            reply = msgspec.json.decode(done.stdout, type=_HelperReply) if done.returncode == 0 else None
        except (OSError, subprocess.TimeoutExpired, *UNREADABLE) as exc:
            _log.warning("credential helper failed name=%s reason=%s", name, type(exc).__name__)
            return None
        if reply is None or not reply.username or not reply.secret:
            return None
        return Credential("" if reply.username == _IDENTITY_USER else reply.username, reply.secret)


def _normal(server: str) -> str:
    """Reduce the spellings of a server to one: no scheme, final slash or API version; a single Docker Hub."""
    name = server.removeprefix("https://").removeprefix("http://").removesuffix("/")
    name = name.removesuffix("/v1").removesuffix("/v2")
    return DOCKER_HUB if name in HUB_ALIASES else name


def _read(path: Path) -> _Config | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Config)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise Unauthorized(
            f"Docker's credentials cannot be read: `{path}` ({exc.strerror})",
            hint="make the file readable, or name another directory with `DOCKER_CONFIG`",
        ) from exc
    except UNREADABLE as exc:
        raise Unauthorized(
            f"Docker's credentials are not valid: `{path}`",
            hint="repair the JSON in it, or remove it and run `docker login` again",
        ) from exc


def _from_entries(entries: Mapping[str, _Entry | None], server: str, path: Path | None) -> Credential | None:
    """The entry whose key means this server; of several spellings the first in order, so never by chance."""
    for key in sorted(entries, key=lambda key: (key != server, key)):
        entry = entries[key]
        if _normal(key) == server and entry and (found := _from_entry(entry, server, path)):
            return found
    return None


def _from_entry(entry: _Entry, server: str, path: Path | None) -> Credential | None:
    if entry.registrytoken:
        return Credential("", entry.registrytoken, is_final=True)
    # An identity token comes before the others: beside it, Docker leaves an `auth` without a password.
    if entry.identitytoken:
        return Credential("", entry.identitytoken)
    username, secret = entry.username or "", entry.password or ""
    if entry.auth:
        try:
            decoded = base64.b64decode(entry.auth, validate=True).decode()
        except (binascii.Error, ValueError) as exc:
            raise Unauthorized(
                f"the credentials of `{server}` in `{path}` are not valid",
                hint=f"run `docker login {server}` again",
            ) from exc
        username, _, secret = decoded.partition(":")
        secret = secret.strip("\0")
    return Credential(username, secret) if username and secret else None
