"""Whom to believe in TLS: the system's authorities, one that a setting adds, and what Docker keeps per host.

Source: Docker Engine, "Verify repository client with certificates": `certs.d/<host:port>/*.crt` are
authorities, `*.cert` with a `*.key` of the same name are our own certificate there.
"""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from modelrunner.errors import InvalidRequest

SYSTEM_CERTIFICATES = Path("/etc/docker/certs.d")
_DEFAULT_PORT = 443


class Certificates:
    """Makes the TLS settings for each host; those of hosts without files of their own are shared.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's authorities, as everywhere with OpenSSL.
    """

    def __init__(self, authority: Path | None = None, folders: Sequence[Path] = ()) -> None:
        """Trust the authorities of the PEM file `authority` too; `folders` are like Docker's `certs.d`."""
        self._authority = authority
        self._folders = folders
        self._shared: ssl.SSLContext | None = None
        self._own: dict[str, ssl.SSLContext] = {}

    def check(self) -> None:
        """Read the authority that a setting adds, so that a mistake in it shows at once.

        Raises:
            InvalidRequest: it is no certificate, or cannot be read.
        """
        if self._authority is not None:
            self._shared = self._make(())

    def context(self, host: str, port: int) -> ssl.SSLContext:
        """The settings for a host; reads files the first time.

        Raises:
            InvalidRequest: a file is no certificate, or cannot be read.
        """
        folders = self._of(host, port)
        if not folders:
            self._shared = self._shared or self._make(())
            return self._shared
        key = f"{host}:{port}"
        if key not in self._own:
            self._own[key] = self._make(folders)
        return self._own[key]

    def _of(self, host: str, port: int) -> tuple[Path, ...]:
        if not host or host.startswith(".") or "/" in host or "\\" in host:
            return ()
        names = [f"{host}:{port}", *([host] if port == _DEFAULT_PORT else [])]
        return tuple(path for folder in self._folders for name in names if (path := folder / name).is_dir())

    def _make(self, folders: Sequence[Path]) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(("http/1.1",))
        authorities = [self._authority] if self._authority else []
        authorities += [path for folder in folders for path in sorted(folder.glob("*.crt"))]
        for path in authorities:
            _load(path, lambda path: context.load_verify_locations(cafile=path))
        for folder in folders:
            for path in sorted(folder.glob("*.cert")):
                _load(path, lambda path: context.load_cert_chain(path, path.with_suffix(".key")))
        return context


def docker_folders(home: str | None) -> tuple[Path, ...]:
    """Where Docker keeps the certificates of registries: the system's folder, and the one of a user."""
    return (*([Path(home) / ".docker" / "certs.d"] if home else []), SYSTEM_CERTIFICATES)


def _load(path: Path, take: Callable[[Path], None]) -> None:
    try:
        take(path)
    except (OSError, ValueError) as exc:  # an SSLError is an OSError
        raise InvalidRequest(
            f"certificates cannot be read: `{path}`", hint="expected a readable file in PEM format"
        ) from exc
