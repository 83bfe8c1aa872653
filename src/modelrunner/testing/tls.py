"""TLS as companies have it, for tests: an authority of one's own, a server behind it, a proxy on the way.

The certificates are made by the program `openssl`, and are good for a day.
"""

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_PIECE = 64 * 1024

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that nobody knows; `certificate` is its own, as PEM."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """What has to be trusted."""
        return self.folder / "authority.pem"

    def issue(self, name: str, host: str) -> tuple[Path, Path]:
        """Make a certificate for an IP address, and its key."""
        certificate, key = self.folder / f"{name}.cert", self.folder / f"{name}.key"
        request, extra = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extra.write_text(f"subjectAltName=IP:{host}\n")
        _openssl("req", *_CURVE, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signing = ("-CA", self.certificate, "-CAkey", self.folder / "authority.key", "-CAcreateserial")
        _openssl(
            "x509", "-req", "-in", request, *signing, "-out", certificate, "-days", "1", "-extfile", extra
        )
        return certificate, key


def make_authority(folder: Path) -> Authority:
    """Make an authority in a folder.

    Raises:
        FileNotFoundError: `openssl` is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority(folder)
    files = ("-keyout", folder / "authority.key", "-out", authority.certificate)
    _openssl("req", "-x509", *_CURVE, *files, "-days", "1", "-subj", "/CN=test authority")
    return authority


@contextlib.contextmanager
def tls_front(
    upstream: str, authority: Authority, *, host: str = "127.0.0.2", clients: bool = False
) -> Iterator[str]:
    """Serve what is at `upstream`, as `host:port`, behind TLS on `host`; yields its address.

    With `clients` only those are let in who have a certificate of the authority.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("server", host))
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.certificate)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _relay(upstream, reader, writer)

    with _listening(relay, host, context) as port:
        yield f"{host}:{port}"


@dataclass(slots=True)
class ConnectProxy:
    """A proxy that opens tunnels, as `HTTPS_PROXY` names one; remembers where to."""

    address: str = ""
    targets: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Open one tunnel."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n")
            return
        self.targets.append(target)
        writer.write(b"HTTP/1.1 200 Go on\r\n\r\n")
        await _relay(target, reader, writer)


@contextlib.contextmanager
def connect_proxy() -> Iterator[ConnectProxy]:
    """Run such a proxy."""
    proxy = ConnectProxy()
    with _listening(proxy.serve, "127.0.0.1", None) as port:
        proxy.address = f"127.0.0.1:{port}"
        yield proxy


async def _relay(upstream: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = upstream.rpartition(":")
    there, back = await asyncio.open_connection(host, int(port))
    tasks = [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        back.transport.abort()  # what was not sent keeps a transport open that is only closed
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()


@contextlib.contextmanager
def _listening(handler: Handler, host: str, context: ssl.SSLContext | None) -> Iterator[int]:
    """Serve connections in a thread of its own; yields the port."""
    ready, ports = threading.Event(), list[int]()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        finally:  # also when the client takes no more, and the server ends
            writer.transport.abort()

    async def serve() -> None:
        server = await asyncio.start_server(one, host, 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await done.wait()
        server.close()

    def run() -> None:
        with runner:  # at its end, what serves a connection is cancelled
            runner.run(serve())

    runner, done = asyncio.Runner(loop_factory=asyncio.new_event_loop), asyncio.Event()
    loop = runner.get_loop()
    thread = threading.Thread(target=run, name="tls", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
