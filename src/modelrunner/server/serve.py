"""The daemon's process: where it listens, what signals do, and the order in which it goes down.

Shutdown: accept nothing new; end streams that would never end; give requests time; stop the engines and wait
for their processes; close clients and store. A second signal skips the waiting.
"""

import asyncio
import compileall
import contextlib
import errno
import gc
import http.client
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import uvicorn

from modelrunner import __version__, engines
from modelrunner.errors import Conflict, InvalidRequest
from modelrunner.server.app import App
from modelrunner.server.connection import tls
from modelrunner.server.connection.middleware import Guard
from modelrunner.server.connection.protocol import Protocol
from modelrunner.server.services import Services, open_services
from modelrunner.settings.table import Settings
from modelrunner.telemetry.logs import Logs, configure_logging

_log = logging.getLogger(__name__)

_HEADER_SECONDS = 10.0
_KEEP_ALIVE = 75  # seconds for which an idle connection is kept open
_TICKS_A_SECOND = 10  # of uvicorn's loop
_PROBE_SECONDS = 1.0
_YOUNG = 2_000  # objects until the garbage collector looks: a request leaves hardly any cycles


def run(settings: Settings, environ: Mapping[str, str]) -> int:
    """Run the daemon until a signal ends it; returns the exit code.

    Prints `listening on URL` on stdout once it answers.

    Raises:
        Conflict: the port or the socket is taken.
        RunnerError: something else that it needs is not to be had.
    """
    with _bound(settings) as listener, tls.listening(settings) as secure:
        logs = Logs(settings.log_dir, limit=settings.log_size, console=sys.stderr)
        configure_logging(logs, settings.log_level)
        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(_serve(settings, environ, logs, listener, secure))
        finally:
            logs.close()
    return 0


@contextlib.asynccontextmanager
async def serving(
    services: Services, settings: Settings, listener: socket.socket, secure: tls.Listener | None = None
) -> AsyncIterator["Server"]:
    """Answer on a bound socket, and one for TLS, as long as the block lasts; in it, requests are answered."""
    bound = None if listener.family == socket.AF_UNIX else listener.getsockname()[0]
    guard = Guard(bound=bound, hosts=settings.allowed_hosts, origins=settings.origins)
    app = App(
        services,
        guard,
        body_limit=settings.body_limit,
        deadline=settings.request_timeout,
        remote_media=settings.remote_media,
    )
    server = Server(app, services, drain=settings.drain, secure=secure)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="server")
    task.add_done_callback(lambda _: server.ready.set())
    try:
        await server.ready.wait()
        if task.done():
            task.result()
        yield server
    finally:
        server.should_exit = True
        await task


class Server(uvicorn.Server):
    """The HTTP server, told from outside when to stop."""

    def __init__(
        self, app: App, services: Services, *, drain: float, secure: tls.Listener | None = None
    ) -> None:
        """`drain` is in seconds."""
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                headers=[("server", f"modelrunner/{__version__}")],
                timeout_keep_alive=_KEEP_ALIVE,
                # Requests are ended by their group at the deadline; this is for those that do not heed it.
                timeout_graceful_shutdown=int(drain) + 2,
            )
        )
        self.ready = asyncio.Event()
        self._services = services
        self._drain = drain
        self._secure = secure
        self._exhausted = False  # whether the process had no descriptor left when that was last looked at

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting."""
        await super().startup(sockets)
        if self._secure is not None:
            loop = asyncio.get_running_loop()
            secure = await loop.create_server(
                self._connection, sock=self._secure.socket, ssl=self._secure.context
            )
            self.servers.append(secure)
        await self.on_tick(0)
        self.ready.set()

    def _connection(self) -> Protocol:
        return Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        """Close connections that do not come to the end of their headers or of a body, once a second."""
        if counter % _TICKS_A_SECOND == 0:
            latest = asyncio.get_running_loop().time() - _HEADER_SECONDS
            for connection in tuple(self.server_state.connections):
                if not isinstance(connection, Protocol):
                    continue
                if connection.reads_headers_since(latest):
                    connection.transport.close()
                else:
                    connection.check_pace()
            self._check_descriptors()
        return await super().on_tick(counter)

    def _check_descriptors(self) -> None:
        """Say once that nothing can be opened any more; as long as that is so, the loop turns clients away.

        It keeps one descriptor for that, which is why two are asked for.
        """
        try:
            for end in socket.socketpair():
                end.close()
        except OSError as exc:
            if not self._exhausted:
                _log.error(
                    "nothing can be opened, clients are turned away reason=%s open=%d hint=%s",
                    exc.strerror,
                    len(self.server_state.connections),
                    "raise the limit of open files (`ulimit -n`)",
                )
            self._exhausted = True
        else:
            if self._exhausted:
                _log.info("files can be opened again")
            self._exhausted = False

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, end streams, and wait for requests as long as they may take."""
        self._services.unfinished.end()
        self._services.streams.end()
        deadline = asyncio.get_running_loop().call_later(self._drain, self._services.requests.end)
        await super().shutdown(sockets)
        deadline.cancel()

    def hurry(self) -> None:
        """Wait for nothing any more."""
        self.force_exit = True
        self._services.requests.end()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone; they are this module's."""
        yield


async def _serve(
    settings: Settings,
    environ: Mapping[str, str],
    logs: Logs,
    listener: socket.socket,
    secure: tls.Listener | None,
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    server: Server | None = None

    def stop() -> None:
        if stopping.is_set() and server is not None:
            server.hurry()
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows, where Ctrl-C interrupts the runner
            loop.add_signal_handler(number, stop)
    async with open_services(settings, environ, logs) as services:
        async with serving(services, settings, listener, secure) as server:
            if secure is not None:
                _log.info("listening url=%s", secure.url)
            _announce(listener, settings.ready_file)
            gc.collect()
            gc.freeze()  # what is here now stays, and need not be looked through again and again
            gc.set_threshold(_YOUNG)
            services.preload(settings.preload)
            threading.Thread(target=_get_ready, args=(services,), name="probe", daemon=True).start()
            await stopping.wait()
            _log.info("stopping")
        _log.info("requests ended, stopping engines")
    _log.info("stopped")


def _get_ready(services: Services) -> None:
    """Do what the first start of an engine would take its time for.

    The embedded engine is a module of ours, and cannot keep what it compiles: it writes nothing here.
    """
    services.engines.statuses()
    compileall.compile_dir(Path(engines.__file__).parent, maxlevels=0, quiet=2)


def _announce(listener: socket.socket, ready_file: Path | None) -> None:
    """Say where the daemon answers: in the log, in a file for whoever waits for it, and on stdout."""
    url = _url(listener)
    _log.info("listening url=%s pid=%d version=%s", url, os.getpid(), __version__)
    if ready_file is not None:
        partial = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
        try:
            partial.write_text(f"{url}\n")
            partial.replace(ready_file)
        except OSError as exc:
            raise InvalidRequest(
                f"cannot write the ready file `{ready_file}`: {exc.strerror}",
                hint="set DMR_READY_FILE to a path that can be written",
            ) from exc
    with contextlib.suppress(OSError):  # nobody may be reading
        sys.stdout.write(f"listening on {url}\n")
        sys.stdout.flush()


def _url(listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix://{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    """Bind before anything else is opened, so that a second daemon ends quickly and disturbs nothing."""
    if settings.socket is None:
        with _bound_tcp(settings.host, settings.port or 0) as listener:
            yield listener
        return
    with _bound_unix(settings.socket) as listener:
        try:
            yield listener
        finally:
            settings.socket.unlink(missing_ok=True)


def _bound_tcp(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as exc:
        raise InvalidRequest(f"no address to listen on: `{host}`", hint="give an IP address") from exc
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise _taken(host, port) from exc
        raise InvalidRequest(f"cannot listen on `{host}:{port}`: {exc.strerror}") from exc
    return listener


def _bound_unix(path: Path) -> socket.socket:
    """Bind a socket that only its owner may open; one that a dead daemon left is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                listener.close()
                raise Conflict(f"socket is in use: `{path}`", hint="stop the other daemon, or use --socket")
        path.unlink()
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        raise InvalidRequest(f"cannot listen on `{path}`: {exc.strerror or exc}") from exc
    finally:
        os.umask(mask)
    return listener


def _taken(host: str, port: int) -> Conflict:
    """Say whose port it is, if it is another model runner's."""
    owner = _ask_owner(host, port)
    return Conflict(
        f"port {port} is in use by {owner or 'another program'}",
        hint="it serves models already; use it, or take another port: `--port 0`"
        if owner
        else "stop that program, or take another port: `--port 0`",
    )


def _ask_owner(host: str, port: int) -> str | None:
    """Ask who answers on a port; None when it is no model runner."""
    connection = http.client.HTTPConnection(host, port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/")
        if b"Model Runner is running" not in connection.getresponse().read(1000):
            return None
        connection.request("GET", "/version")
        document = json.loads(connection.getresponse().read(10_000))
        name = f"another model runner (version {document.get('version', 'unknown')}"
        return f"{name}, process {document['pid']})" if "pid" in document else f"{name})"
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return None
    finally:
        connection.close()


if sys.platform == "win32":

    def _new_loop() -> asyncio.AbstractEventLoop:
        return asyncio.ProactorEventLoop()

else:
    import uvloop

    def _new_loop() -> asyncio.AbstractEventLoop:
        return uvloop.new_event_loop()
