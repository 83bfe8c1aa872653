"""What both servers share: where they listen, whose turn it is, and errors in OpenAI's form."""

import argparse
import asyncio
import os
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_GRACE = 1  # seconds for what is under way when the process is to end

Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class Refused(Exception):
    """A request that is not served. `field` is the one that is at fault."""

    def __init__(self, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.status = status

    def document(self) -> dict[str, Any]:
        """Tell it as OpenAI does."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.field, "code": None}}


class Turn:
    """One request at a time has the model; who waits and leaves is not served."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[None]:
        """Wait for the turn of a request.

        Raises:
            ClientDisconnect: nobody waits for its answer any more.
        """
        async with self._lock:
            await stay(request)
            yield


async def stay(request: Request) -> None:
    """Make sure that somebody waits for the answer.

    Raises:
        ClientDisconnect: nobody does.
    """
    if await request.is_disconnected():
        raise ClientDisconnect


async def drawn(items: Iterator[T]) -> AsyncIterator[T]:
    """Take one after the other in a thread: each is made when it is asked for, and takes its time."""
    nothing: Any = object()
    while (item := await run_in_threadpool(next, items, nothing)) is not nothing:
        yield item


def application(routes: dict[str, Handler]) -> Starlette:
    """Serve these paths, and say that the model is loaded."""

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    found = [Route(path, handler, methods=["POST"]) for path, handler in routes.items()]
    return Starlette(
        routes=[Route("/health", health), *found],
        exception_handlers={
            Refused: _refuse,
            HTTPException: _refuse,
            ClientDisconnect: _gone,
            Exception: _fail,
        },
    )


async def _refuse(_request: Request, exc: Exception) -> Response:
    if isinstance(exc, HTTPException):
        exc = Refused(str(exc.detail), status=exc.status_code)
    assert isinstance(exc, Refused)
    return JSONResponse(exc.document(), exc.status)


async def _gone(_request: Request, _exc: Exception) -> Response:
    return Response(status_code=499)  # which nobody reads


async def _fail(_request: Request, exc: Exception) -> Response:
    return JSONResponse(Refused(words(exc), status=500).document(), 500)


def words(exc: BaseException) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    return " ".join(str(exc).split()) or type(exc).__name__


def serve(program: str, make: Callable[[Path], Starlette], arguments: Sequence[str]) -> NoReturn:
    """Load the model, then listen until a signal ends the process; or say why not, and exit with 1."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--socket", type=Path, help="a Unix socket, which only its owner can open")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args(arguments)
    try:
        listener = _unix(given.socket) if given.socket else socket.create_server((given.host, given.port))
        # It answers only when the model is there: until then, connections wait.
        config = uvicorn.Config(
            make(given.model), log_level="warning", timeout_graceful_shutdown=_GRACE, lifespan="off"
        )
    except Exception:  # noqa: BLE001 - whatever it is, it is why the model cannot be served
        traceback.print_exc()
        sys.exit(1)
    uvicorn.Server(config).run(sockets=[listener])
    sys.exit(0)


def _unix(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    return listener
