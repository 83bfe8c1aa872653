"""The gateway as a program: it listens until a signal ends it."""

import asyncio
import socket
import sys

import uvicorn

from modelrunner.errors import Conflict
from modelrunner.gateway.app import Gateway
from modelrunner.gateway.config import Config
from modelrunner.gateway.upstream import opened

_GRACE = 10  # seconds for requests that are under way


def run(config: Config, host: str, port: int, *, verbose: bool) -> int:
    """Serve, and say where; returns the exit code.

    Raises:
        Conflict: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(2048)  # before anybody is told to come
        except OSError as exc:
            raise Conflict(
                f"cannot listen on `{host}:{port}`: {exc.strerror}", hint="take another one: `--port`"
            ) from exc
        asyncio.run(_serve(config, listener, verbose=verbose))
    return 0


async def _serve(config: Config, listener: socket.socket, *, verbose: bool) -> None:
    async with opened() as upstream:
        server = uvicorn.Server(
            uvicorn.Config(
                Gateway(config, upstream).app(),
                ws="none",
                lifespan="off",
                access_log=verbose,
                log_level="info" if verbose else "warning",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        address, port = listener.getsockname()[:2]
        sys.stdout.write(f"listening on http://{f'[{address}]' if ':' in address else address}:{port}\n")
        sys.stdout.flush()
        await server.serve(sockets=[listener])
