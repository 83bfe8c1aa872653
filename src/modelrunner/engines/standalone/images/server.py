"""A server for image models: OpenAI's image routes in front of a pipeline of diffusers.

It makes one image at a time, and answers meanwhile. PyTorch is imported when a model is to be loaded.
"""

import argparse
import base64
import contextlib
import json
import select
import signal
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn, Protocol

from .orders import Order, Refused, read_edit, read_order
from .unpacking import unpacked

MARK = "DIFFUSERS_ERROR:"  # begins the line on stderr that says why a start failed

# The paths, what reads their bodies, and the most bytes of those: a prompt and some numbers, or pictures too.
_PATHS = {
    "/v1/images/generations": (read_order, 1 << 20),
    "/v1/images/edits": (read_edit, 128 << 20),
}


class Unwanted(Exception):
    """Nobody waits for the image any more."""


class Painter(Protocol):
    """Makes images."""

    def paint(self, order: Order, seed: int | None, proceed: Callable[[], None]) -> bytes:
        """Make one image, as a file; `proceed` is called after each step, and raises to stop it."""
        ...


class Server(ThreadingHTTPServer):
    """Serves one model. Requests wait for their turn with the painter."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], painter: Painter, names: Sequence[str]) -> None:
        self.painter = painter
        self.names = names
        self.turn = threading.Lock()
        self.began = int(time.time())
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking for the name of the address, as the class above does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Say how the server is, or which model it has."""
        path = self.path.partition("?")[0]
        if path == "/health":
            self._answer(200, {"status": "healthy", "model_loaded": True})
        elif path == "/v1/models":
            model = {"id": self.server.names[0], "object": "model", "created": self.server.began}
            self._answer(200, {"object": "list", "data": [{**model, "owned_by": "diffusers"}]})
        else:
            self._answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Make images."""
        try:
            images = list(self._images(self._order()))
        except Refused as exc:
            self._answer(exc.status, {"detail": exc.detail})
        except Unwanted:
            self.close_connection = True
        except Exception as exc:  # noqa: BLE001 - the top of a request; it is told and logged
            traceback.print_exc()
            self._answer(500, {"detail": f"Image generation failed: {exc}"})
        else:
            data = [{"b64_json": image, "url": None, "revised_prompt": None} for image in images]
            self._answer(200, {"created": int(time.time()), "data": data})

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Leave that to the daemon, which asks how the server is all the time."""

    def _images(self, order: Order) -> Iterator[str]:
        with self.server.turn:
            for index in range(order.number):
                self._proceed()
                seed = None if order.seed is None else order.seed + index
                png = self.server.painter.paint(order, seed, self._proceed)
                yield base64.b64encode(png).decode()

    def _proceed(self) -> None:
        """Raise `Unwanted` when the client has closed the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        with contextlib.suppress(BlockingIOError):
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise Unwanted

    def _order(self) -> Order:
        read, most = _PATHS.get(self.path.partition("?")[0], (None, 0))
        if read is None:
            self.close_connection = True  # here and below: the body is not read, so nothing can come after it
            raise Refused(404, "Not Found")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > most:
            self.close_connection = True
            raise Refused(413 if length.isdecimal() else 411, f"a body has at most {most} bytes")
        return read(self.rfile.read(int(length)), self.server.names)

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def load(model: str, scratch: Path | None) -> Painter:
    """Load a DDUF file, a folder, or a model of the hub."""
    with contextlib.ExitStack() as stack:
        path = Path(model)
        folder = stack.enter_context(unpacked(path, scratch)) if path.is_file() else model
        from .painting import Pipeline

        return Pipeline(str(folder))


def root_cause(exc: BaseException) -> str:
    """The text of the first of a chain of errors, in one line."""
    seen = set()
    while id(exc) not in seen:
        seen.add(id(exc))
        exc = exc.__cause__ or exc.__context__ or exc
    return " ".join(str(exc).split()) or type(exc).__name__


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="images.server", description=__doc__)
    parser.add_argument("--model-path", required=True, help="a DDUF file, a folder, or a model of the hub")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--served-model-name", help="what requests call the model; its path, too, will do")
    parser.add_argument("--scratch", type=Path, help="a folder to unpack into while the model is loaded")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> NoReturn:
    """Load the model, then listen, until a signal ends the process; or say why not and exit with 1."""
    given = _arguments(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_DFL
        )  # at once, even in the middle of an image: nothing is to be saved
    names = [given.served_model_name or given.model_path, given.model_path]
    try:
        server = Server((given.host, given.port), load(given.model_path, given.scratch), names)
    except Exception as exc:  # noqa: BLE001 - whatever a model makes of diffusers is why it cannot be served
        traceback.print_exc()
        print(MARK, root_cause(exc), file=sys.stderr, flush=True)  # noqa: T201 - the words of a program
        sys.exit(1)
    server.serve_forever()
    raise AssertionError("it serves until the process ends")
