"""The daemon's second listener, for TLS: its certificate, and the port that it is bound to."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelrunner.errors import Conflict, InvalidRequest
from modelrunner.settings.table import Settings


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket, and how connections to it are made safe."""

    socket: socket.socket
    context: ssl.SSLContext

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.socket.getsockname()[:2]
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[Listener | None]:
    """Bind the port for TLS, if it was asked for.

    Raises:
        InvalidRequest: certificate or key are missing, cannot be read, or do not belong together.
        Conflict: the port is taken.
    """
    if not settings.tls_enabled:
        yield None
        return
    if settings.tls_cert is None or settings.tls_key is None:
        raise InvalidRequest(
            "TLS is enabled without a certificate or its key",
            hint="set MODEL_RUNNER_TLS_CERT and MODEL_RUNNER_TLS_KEY to files in PEM",
        )
    context = _context(settings.tls_cert, settings.tls_key)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.tls_port))
            listener.listen(2048)
        except OSError as exc:
            raise Conflict(
                f"cannot listen on `{settings.host}:{settings.tls_port}` for TLS: {exc.strerror}",
                hint="set MODEL_RUNNER_TLS_PORT to another port",
            ) from exc
        yield Listener(listener, context)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as exc:
        reason = exc.strerror or getattr(exc, "reason", None) or str(exc)
        raise InvalidRequest(
            f"the certificate `{certificate}` and its key `{key}` cannot be used: {reason}",
            hint="both have to be PEM, belong together, and be readable by the daemon's user",
        ) from exc
    return context
