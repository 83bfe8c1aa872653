"""A Docker Engine of one's own: a real `dockerd` with its own folders, socket and bridge, within a block.

It needs root, and the programs `dockerd`, `ip` and `setpriv` of Debian's packages. It pulls nothing, changes
no firewall, and ends with the process that started it, whatever becomes of that.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelrunner.testing.tls import make_authority

_PATIENCE = 30.0  # seconds
_PAUSE = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """An engine that answers. `gateway` is its bridge's address; `config` is the client's folder.

    At port 2376 of the gateway it speaks TLS, to clients with the certificate in `certificates`.
    """

    url: str
    gateway: str
    config: Path
    certificates: Path
    environ: dict[str, str] = field(repr=False)

    def run(
        self,
        *arguments: str | Path,
        stdin: int | None = subprocess.DEVNULL,
        environ: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run `docker` with some arguments and more environment, its output caught."""
        return subprocess.run(
            ["docker", *map(str, arguments)],
            env={**self.environ, **(environ or {})},
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def must(self, *arguments: str | Path) -> str:
        """Run `docker`; what it printed on stdout.

        Raises:
            RuntimeError: it failed; the message holds what it said.
        """
        done = self.run(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"`docker {' '.join(map(str, arguments))}` ended with {done}")
        return done.stdout


@contextlib.contextmanager
def docker_engine(folder: Path) -> Iterator[DockerEngine]:
    """Run an engine in a folder, which is gone afterwards.

    Raises:
        RuntimeError: it does not start; with its last words.
    """
    folder.mkdir(parents=True)
    bridge, gateway = f"dmr{os.getpid()}"[:15], f"172.31.{os.getpid() % 250 + 1}.1"
    config = folder / "config"
    config.mkdir()
    url = f"unix://{folder}/docker.sock"
    flags, certificates = _tls(folder, gateway)
    flags += ["--bridge", bridge, "--dns", gateway]
    with _bridge(bridge, gateway), _nameserver(gateway), _daemon(folder, url, flags):
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_HOST": url,
            "DOCKER_CONFIG": str(config),
            "DOCKER_BUILDKIT": "0",  # what builds otherwise is a plug-in that need not be there
        }
        try:
            yield DockerEngine(url, gateway, config, certificates, environ)
        finally:
            _remove_containers(environ)
    shutil.rmtree(folder)


def _tls(folder: Path, address: str) -> tuple[list[str], Path]:
    """Make certificates for the engine and for its client; the engine's flags, and the client's folder."""
    authority = make_authority(folder / "authority")
    certificate, key = authority.issue("engine", address)
    clients = folder / "certificates"
    clients.mkdir()
    shutil.copy(authority.certificate, clients / "ca.pem")
    for file, name in zip(authority.issue("client", address), ("cert.pem", "key.pem"), strict=True):
        shutil.copy(file, clients / name)
    flags = ["--host", f"tcp://{address}:2376", "--tlsverify", "--tlscacert", str(authority.certificate)]
    return [*flags, "--tlscert", str(certificate), "--tlskey", str(key)], clients


@contextlib.contextmanager
def _bridge(name: str, address: str) -> Iterator[None]:
    _ip("link", "add", name, "type", "bridge")
    try:
        _ip("addr", "add", f"{address}/24", "dev", name)
        _ip("link", "set", name, "up")
        yield
    finally:
        _ip("link", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def _nameserver(address: str) -> Iterator[None]:
    """Answer that there is no such name, whatever it is: otherwise containers wait long for nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        thread = threading.Thread(target=_deny, args=(server,), name="nameserver", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.sendto(b"", (address, 53))
            thread.join()


def _deny(server: socket.socket) -> None:
    """Answer until an empty datagram comes. Source: RFC 1035, section 4.1."""
    while True:
        query, peer = server.recvfrom(4096)
        if not query:
            return
        question = query[12 : query.find(b"\0", 12) + 5]
        server.sendto(query[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + question, peer)


@contextlib.contextmanager
def _daemon(folder: Path, url: str, flags: list[str]) -> Iterator[None]:
    log = folder / "dockerd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "TERM", "dockerd", "--iptables=false", *flags),
                *("--storage-driver=vfs", "--data-root", str(folder / "data"), "--host", url),
                *("--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start:\n{log.read_text()[-2000:]}")
            time.sleep(_PAUSE)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    done = subprocess.run(["docker", "--host", url, "version"], capture_output=True, check=False)
    return done.returncode == 0


def _remove_containers(environ: dict[str, str]) -> None:
    """Remove them first: an engine that ends while one restarts waits for it."""
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet"], env=environ, capture_output=True, text=True, check=False
    )
    if names := listed.stdout.split():
        subprocess.run(["docker", "rm", "--force", *names], env=environ, capture_output=True, check=False)
