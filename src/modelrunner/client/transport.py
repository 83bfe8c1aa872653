"""One request, one connection: TCP, TLS or a Unix socket, and errors as the daemon meant them."""

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, cast
from urllib.parse import urlencode

from modelrunner import errors
from modelrunner.client.exchange import NoHttp, Response, exchange
from modelrunner.client.shape import Expected, T, fits
from modelrunner.errors import DaemonUnreachable, EngineFailed, RunnerError

TRANSIENT = {"transient": True}  # the mark of errors after which another try makes sense

ACCEPT = f"application/json, {errors.MEDIA_TYPE}"
_CONNECT_PATIENCE = 10.0  # seconds
_SHOWN = 100  # bytes of what another program says
_NO_ROUTE = errors.UnknownRoute.code
_GO_NO_ROUTE = b"404 page not found"  # which is what a server written in Go says of itself
_MAX_ERROR = 64 * 1024  # bytes of an error's body that are read
_TRANSIENT_CODES = frozenset({"busy", "shutting_down"})
_BY_STATUS: dict[int, type[RunnerError]] = {
    400: errors.InvalidRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.ModelNotFound,
    409: errors.Conflict,
    412: errors.EngineNotInstalled,
    413: errors.RequestTooLarge,
    422: errors.UnsupportedModel,
    504: errors.NotReadyInTime,
    507: errors.InsufficientMemory,
}


class Tls(NamedTuple):
    """How the daemon's certificate is judged; `authority` is the path of a PEM file."""

    authority: str | None
    verify: bool


class Address(NamedTuple):
    """Where a daemon listens: the Unix socket when there is one, else host and port."""

    host: str = "127.0.0.1"
    port: int = 12434
    socket: str | None = None
    prefix: str = ""
    tls: Tls | None = None

    @property
    def url(self) -> str:
        """The base URL, without a final slash."""
        if self.socket is not None:
            return f"unix://{self.socket}"
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        """Host and port, as requests name them."""
        if self.socket is not None:
            return "localhost"
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Transport:
    """Sends requests to one address; asks `revive` once to start a daemon when nobody listens there."""

    def __init__(
        self,
        address: Address,
        *,
        user_agent: str,
        revive: Callable[[], None] | None = None,
        patience: float | None = None,
        hint: str | None = None,
    ) -> None:
        """`patience` bounds the wait for each piece of an answer, in seconds; None waits for ever.

        `hint` is what to do when nobody answers.
        """
        self.address = address
        self._user_agent = user_agent
        self._revive = revive
        self._patience = patience
        self._hint = hint or "start one with `dmr serve`, or set MODEL_RUNNER_HOST to where one runs"
        self._answered = False

    def call(
        self,
        method: str,
        path: str,
        expected: Expected[T],
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> T:
        """Exchange JSON.

        Raises:
            RunnerError: the answer is not what is expected, so this is no daemon of ours.
        """
        with self.open(method, path, query=query, body=body) as response:
            raw = response.read()
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, type(expected.shape)):
            raise self._not_ours(raw)
        return self.checked(document, expected)

    def checked(self, document: object, expected: Expected[T]) -> T:
        """Return a document if it can be read.

        Raises:
            RunnerError: it cannot, so this is no daemon of ours.
        """
        if not fits(document, expected.shape):
            raise self._stranger()
        return cast("T", document)

    def do(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> None:
        """Exchange what only the status tells."""
        with self.open(method, path, query=query, body=body) as response:
            response.read()

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        allowed: int | None = None,
    ) -> Iterator[Response]:
        """Send a request and hand out the response; whatever happens, the connection is closed.

        `allowed` is a status that is no error here.
        """
        connection = self._connect()
        try:
            target = f"{self.address.prefix}{path}{f'?{urlencode(query)}' if query else ''}"
            response = self._send(connection, method, target, body, headers or {})
            self._answered = True
            with response:
                if response.status >= 400 and response.status != allowed:
                    raise self._refusal(response, f"{method} {path}")
                yield response
        except (OSError, NoHttp) as exc:
            if isinstance(exc, NoHttp) and not self._answered:
                raise self._stranger(str(exc)) from exc
            raise DaemonUnreachable(
                f"the connection to the daemon broke: {_reason(exc)}",
                hint="the `logs` command shows why",
                detail=TRANSIENT,
            ) from exc
        finally:
            connection.close()

    def _send(
        self,
        connection: socket.socket,
        method: str,
        target: str,
        body: object,
        headers: Mapping[str, str],
    ) -> Response:
        fixed = {"Accept": ACCEPT, "User-Agent": self._user_agent, "Connection": "close"}
        sent = {"Host": self.address.authority, **fixed, **headers}
        raw: bytes | Iterable[bytes] | None = None
        if "Content-Type" in sent:  # a body that brings its own type; without a length it goes in chunks
            raw = cast("Iterable[bytes]", body)
        elif body is not None:
            raw = json.dumps(body, ensure_ascii=False).encode()
            sent["Content-Type"] = "application/json"
        return exchange(connection, method, target, sent, raw)

    def _connect(self) -> socket.socket:
        try:
            try:
                connection = _dial(self.address)
            except (ConnectionRefusedError, FileNotFoundError):
                if self._revive is None:
                    raise
                self._revive()
                connection = _dial(self.address)
        except OSError as exc:
            raise self._unreachable(exc) from exc
        connection.settimeout(self._patience)
        return connection

    def _unreachable(self, exc: OSError) -> DaemonUnreachable:
        # A daemon that never answered will not in a few seconds; one that did may be restarting.
        return DaemonUnreachable(
            f"no daemon answers at `{self.address.url}`: {_reason(exc)}",
            hint=self._hint,
            detail=TRANSIENT if self._answered else None,
        )

    def _not_ours(self, raw: bytes) -> RunnerError:
        return RunnerError(
            f"unexpected answer from `{self.address.url}`: {shown(raw, 200)}",
            hint="another program may be listening there; set MODEL_RUNNER_HOST",
        )

    def stranger(self) -> RunnerError:
        """Make the error for JSON that is not what the route answers."""
        return self._stranger()

    def _stranger(self, why: str = "") -> RunnerError:
        return RunnerError(
            f"`{self.address.url}` does not answer like a model runner{f': {why}' if why else ''}",
            hint="another program may be listening there; set MODEL_RUNNER_HOST",
        )

    def _refusal(self, response: Response, request: str) -> RunnerError:
        """Make the error of an answer that is none, by who seems to have given it."""
        raw = response.read(_MAX_ERROR)
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict) and document.get("error"):
            error = document_error(document, response.status)
            return self._outdated(error.message) if error.code == _NO_ROUTE else error
        if raw.strip() == _GO_NO_ROUTE:
            return self._outdated(f"the daemon at `{self.address.url}` does not know `{request}`")
        if isinstance(document, dict) or raw.lstrip().startswith(b"<"):
            return self._stranger(f"status {response.status} and {shown(raw, _SHOWN)}")
        return _status_error(response, raw)

    def _outdated(self, message: str) -> RunnerError:
        return errors.UnknownRoute(
            message, hint="it may be of another version; the `version` command tells, and a restart may help"
        )


def _dial(where: Address) -> socket.socket:
    """Connect; with TLS, judge the certificate too."""
    if where.socket is not None:
        return _dial_one(socket.AF_UNIX, where.socket)
    if where.host.replace(".", "").isdigit():
        # An address needs no resolver, and skipping it saves the import of a codec: 2 ms.
        connection = _dial_one(socket.AF_INET, (where.host, where.port))
    else:
        connection = socket.create_connection((where.host, where.port), _CONNECT_PATIENCE)
    if where.tls is None:
        return connection
    import ssl  # noqa: PLC0415 - 5 ms that only TLS costs

    try:
        context = ssl.create_default_context(cafile=where.tls.authority)
        if not where.tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection, server_hostname=where.host)
    except BaseException:
        connection.close()
        raise


def _dial_one(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
    dialled = socket.socket(family)
    try:
        dialled.settimeout(_CONNECT_PATIENCE)
        dialled.connect(address)
    except BaseException:
        dialled.close()
        raise
    return dialled


def _status_error(response: Response, raw: bytes) -> RunnerError:
    status = response.status
    text = raw.decode(errors="replace").strip() or f"the daemon answered {status} {response.reason}"
    if status == 503:
        return DaemonUnreachable(
            f"Docker Model Runner is not running: {text}",
            hint="start it and try again: `dmr serve`",
            detail={"status": status, "transient": True},
        )
    detail = {"status": status, "transient": status in {502, 504}}
    return _BY_STATUS.get(status, RunnerError)(text, detail=detail)


def document_error(document: Mapping[str, object], status: int) -> RunnerError:
    """Rebuild an error from our form, or from what an engine or another server says in OpenAI's."""
    error = document["error"]
    fields: Mapping[str, object] = error if isinstance(error, dict) else {"message": error}
    message, code, hint = (fields.get(key) for key in ("message", "code", "hint"))
    text = str(message or "the daemon gave no reason")
    if not isinstance(code, str):
        cls = _BY_STATUS.get(status, EngineFailed if status == 500 else RunnerError)
        return cls(text, detail={"status": status, "transient": status in {502, 503, 504}})
    rebuilt = errors.rebuild(code, text, str(hint) if hint else None)
    rebuilt.detail = {"status": status, "transient": code in _TRANSIENT_CODES}
    return rebuilt


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer came in time"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror.lower()
    return str(exc) or type(exc).__name__


def shown(raw: bytes, limit: int) -> str:
    """Print the beginning of an answer that was not expected, at most `limit` bytes."""
    text = raw[:limit].decode(errors="replace").strip()
    return f"{text}...[truncated]" if len(raw) > limit else text or "(nothing)"
