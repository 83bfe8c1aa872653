"""Where the daemon is: `MODEL_RUNNER_HOST`, else the address that a daemon of this machine would take."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from modelrunner.client import Address, Tls
from modelrunner.errors import InvalidRequest
from modelrunner.settings import DEFAULT_PORT, Settings

KIND = "Docker Engine (Manual Install)"  # what the reference calls a runner that nobody manages for you
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_FROM_CONTAINERS = "host.docker.internal"


class Endpoint(NamedTuple):
    """An address, and whether a daemon may be started there when none answers."""

    address: Address
    may_start: bool

    @property
    def host_url(self) -> str:
        """The OpenAI base URL for programs on this machine, with its final slash."""
        return f"{self.address.url}/v1/"

    @property
    def container_url(self) -> str:
        """The same for programs in containers, to which the loopback address is another machine."""
        if self.address.socket is None and self.address.host in _LOOPBACK:
            return f"{self.address._replace(host=_FROM_CONTAINERS).url}/v1/"
        return self.host_url


def find(settings: Settings) -> Endpoint:
    """Tell from the settings where the daemon is.

    Raises:
        InvalidRequest: `MODEL_RUNNER_HOST` is no address.
    """
    if settings.model_runner_host:
        return Endpoint(_parse(settings.model_runner_host, settings), may_start=False)
    if settings.socket is not None:
        return Endpoint(Address(socket=str(settings.socket)), may_start=settings.autostart)
    host = _ANY.get(settings.host, settings.host)
    return Endpoint(Address(host, settings.port or DEFAULT_PORT), may_start=settings.autostart)


def _parse(text: str, settings: Settings) -> Address:
    if text.startswith("unix://"):
        return Address(socket=str(Path(text.removeprefix("unix://")).expanduser()))
    if settings.tls and text.startswith("http://"):
        raise InvalidRequest(
            f"TLS is asked for, but the address is plain HTTP: `{text}`",
            hint="write `https://` in MODEL_RUNNER_HOST, or unset MODEL_RUNNER_TLS",
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise _invalid(text) from exc
    if parts.scheme not in {"http", "https"} or not host:
        raise _invalid(text)
    secure = parts.scheme == "https"
    authority = str(settings.tls_ca_cert) if settings.tls_ca_cert else None
    return Address(
        host=host,
        port=port or (443 if secure else 80),
        prefix=parts.path.rstrip("/"),
        tls=Tls(authority, verify=not settings.tls_skip_verify) if secure else None,
    )


def _invalid(text: str) -> InvalidRequest:
    return InvalidRequest(
        f"MODEL_RUNNER_HOST is no address: `{text}`", hint="write it like `http://localhost:12434`"
    )
