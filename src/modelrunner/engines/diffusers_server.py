"""A server for image models: OpenAI's `POST /v1/images/generations` in front of a pipeline of diffusers.

It is run by its path with the interpreter of the engine's environment, so it imports nothing of this package,
and diffusers only when a model is to be loaded. It makes one image at a time, and answers meanwhile.
"""

import argparse
import base64
import contextlib
import fcntl
import inspect
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import socketserver
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn, Protocol

MARK = "DIFFUSERS_ERROR:"  # begins the line on stderr that says why a start failed

_BODY_LIMIT = 1 << 20  # bytes; a prompt and some numbers
_SIZE = re.compile(r"([0-9]{1,4})[xX]([0-9]{1,4})")
_GRAIN, _LARGEST = 8, 4096  # pixels; what the latent spaces of all pipelines divide, and what memory may hold
_ENTRY = re.compile(r"(?:[A-Za-z0-9_][\w.-]*/)?[A-Za-z0-9_][\w.-]*\.(?:json|model|safetensors|txt)", re.ASCII)


class Refused(Exception):
    """A request that is not served, with its status and what `detail` says."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Unwanted(Exception):
    """Nobody waits for the image any more."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be painted. Sizes are in pixels; image number i has the seed `seed + i`."""

    prompt: str
    number: int
    width: int
    height: int
    steps: int
    guidance: float
    negative: str | None
    seed: int | None


class Painter(Protocol):
    """Makes images."""

    def paint(self, order: Order, seed: int | None, proceed: Callable[[], None]) -> bytes:
        """Make one image, as PNG; `proceed` is called after each step, and raises to stop it."""
        ...


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a request: its types, its range, and what it is when it is missing."""

    kinds: tuple[type, ...]
    default: object = None
    required: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    def wrong(self, value: object) -> str | None:
        """Say what is wrong with a value; None when nothing is."""
        if isinstance(value, bool) or not isinstance(value, self.kinds):
            return f"Input should be of the type {self.kinds[0].__name__}"
        if self.choices and value not in self.choices:
            return f"Input should be one of {', '.join(self.choices)}"
        if isinstance(value, int | float):
            if self.least is not None and not value >= self.least:
                return f"Input should be greater than or equal to {self.least}"
            if self.most is not None and not value <= self.most:
                return f"Input should be less than or equal to {self.most}"
        return None


# Source: OpenAI API reference, "Create image"; the names from `negative_prompt` on, and all ranges, are
# those of Docker Model Runner's server.
_FIELDS: Mapping[str, _Field] = {
    "model": _Field((str,), required=True),
    "prompt": _Field((str,), required=True),
    "n": _Field((int,), 1, least=1, most=10),
    "size": _Field((str,), "512x512"),
    "response_format": _Field((str,), "b64_json", choices=("b64_json", "url")),
    "quality": _Field((str,), "standard"),
    "style": _Field((str,)),
    "negative_prompt": _Field((str,)),
    "num_inference_steps": _Field((int,), 50, least=1, most=150),
    "guidance_scale": _Field((float, int), 7.5, least=1.0, most=20.0),
    "seed": _Field((int,), least=0, most=2**63 - 11),
}


def read_order(body: bytes, names: Sequence[str]) -> Order:
    """Read a request; `names` are those of the model, the first of which is told.

    Raises:
        Refused: 422 for a field that is wrong, 421 for another model, 400 for what is not made.
    """
    values = _values(body)
    if values["model"] not in names:
        raise Refused(421, f"Model '{values['model']}' not loaded. Current model: {names[0]}")
    if values["response_format"] == "url":
        raise Refused(400, "response_format 'url' is not supported; use 'b64_json'")
    size = _SIZE.fullmatch(str(values["size"]))
    width, height = (int(size[1]), int(size[2])) if size else (0, 0)
    if not all(_GRAIN <= side <= _LARGEST and side % _GRAIN == 0 for side in (width, height)):
        raise Refused(
            400,
            f"Invalid size format '{values['size']}': use WIDTHxHEIGHT, such as 512x512,"
            f" each a multiple of {_GRAIN} and at most {_LARGEST}",
        )
    return Order(
        prompt=values["prompt"],
        number=values["n"],
        width=width,
        height=height,
        steps=values["num_inference_steps"],
        guidance=float(values["guidance_scale"]),
        negative=values["negative_prompt"],
        seed=values["seed"],
    )


def _values(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Refused(422, [_wrong("json_invalid", (), f"JSON decode error: {exc}")]) from exc
    if not isinstance(given, dict):
        raise Refused(422, [_wrong("model_attributes_type", (), "Input should be an object")])
    values: dict[str, Any] = {}
    wrong = []
    for name, field in _FIELDS.items():
        value = given.get(name)
        if value is None:
            values[name] = field.default
            if field.required:
                wrong.append(_wrong("missing", (name,), "Field required"))
            continue
        values[name] = value
        if reason := field.wrong(value):
            wrong.append(_wrong("value_error", (name,), reason))
    if wrong:
        raise Refused(422, wrong)
    return values


def _wrong(kind: str, where: tuple[str, ...], reason: str) -> Mapping[str, object]:
    return {"type": kind, "loc": ["body", *where], "msg": reason}


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
            images = list(self._images(read_order(self._body(), self.server.names)))
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

    def _body(self) -> bytes:
        if self.path.partition("?")[0] != "/v1/images/generations":
            self.close_connection = True  # here and below: the body is not read, so nothing can come after it
            raise Refused(404, "Not Found")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _BODY_LIMIT:
            self.close_connection = True
            raise Refused(413 if length.isdecimal() else 411, f"a body has at most {_BODY_LIMIT} bytes")
        return self.rfile.read(int(length))

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Pipeline:
    """A pipeline of diffusers, on the best device there is."""

    def __init__(self, model: str) -> None:
        """Load a folder, or a model of the hub; blocks, for as long as that takes."""
        import torch  # noqa: PLC0415 - seconds, which a wrong argument need not wait for
        from diffusers import DiffusionPipeline  # noqa: PLC0415 - see above

        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
        # Named `dtype` in newer versions, which take this as well until 1.0.
        kind = torch.float32 if device == "cpu" else torch.float16
        pipeline = DiffusionPipeline.from_pretrained(model, torch_dtype=kind, use_safetensors=True).to(device)
        if hasattr(pipeline, "safety_checker"):
            pipeline.safety_checker = None
        if hasattr(pipeline, "enable_attention_slicing"):
            pipeline.enable_attention_slicing()
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline
        self._known = frozenset(inspect.signature(pipeline.__call__).parameters)
        self._generator = torch.Generator

    def paint(self, order: Order, seed: int | None, proceed: Callable[[], None]) -> bytes:
        """Make one image with what this kind of pipeline knows of the order."""

        def step(_pipeline: object, _step: int, _time: object, values: object) -> object:
            proceed()
            return values

        wanted = {
            "prompt": order.prompt,
            "negative_prompt": order.negative,
            "width": order.width,
            "height": order.height,
            "num_inference_steps": order.steps,
            "guidance_scale": order.guidance,
            # One of the processor's: the same seed gives the same noise on every device.
            "generator": None if seed is None else self._generator("cpu").manual_seed(seed),
            "callback_on_step_end": step,
        }
        known = {name: value for name, value in wanted.items() if value is not None and name in self._known}
        buffer = io.BytesIO()
        self._pipeline(**known).images[0].save(buffer, "PNG")
        return buffer.getvalue()


@contextlib.contextmanager
def unpacked(archive: Path, scratch: Path | None) -> Iterator[Path]:
    """Unpack a DDUF file for as long as it is being loaded, into a folder within `scratch`.

    Newer versions of diffusers read folders only. What a killed process has left there is removed.

    Raises:
        ValueError: it is no DDUF file, or has files that are none of a model's.
    """
    if scratch is not None:
        _sweep(scratch)
    with tempfile.TemporaryDirectory(prefix="dduf-", dir=scratch, ignore_cleanup_errors=True) as name:
        handle = os.open(name, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            _unpack(archive, Path(name))
            yield Path(name)
        finally:
            os.close(handle)


def _sweep(scratch: Path) -> None:
    for folder in scratch.glob("dduf-*"):
        with contextlib.suppress(OSError):  # another process is at it
            handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(handle)


def _unpack(archive: Path, folder: Path) -> None:
    """Source: huggingface/huggingface_hub, docs/source/en/package_reference/serialization.md, DDUF."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not _ENTRY.fullmatch(entry.filename) or entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(
                        f"the DDUF file has an entry that is none of a model's: {entry.filename!r}"
                    )
                path = folder / entry.filename
                path.parent.mkdir(exist_ok=True)
                with opened.open(entry) as source, path.open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except zipfile.BadZipFile as exc:
        raise ValueError(f"the DDUF file is damaged: {exc}") from exc


def load(model: str, scratch: Path | None) -> Pipeline:
    """Load a DDUF file, a folder, or a model of the hub."""
    path = Path(model)
    if not path.is_file():
        return Pipeline(model)
    with unpacked(path, scratch) as folder:
        return Pipeline(str(folder))


def root_cause(exc: BaseException) -> str:
    """The text of the first of a chain of errors, in one line."""
    seen = set()
    while id(exc) not in seen:
        seen.add(id(exc))
        exc = exc.__cause__ or exc.__context__ or exc
    return " ".join(str(exc).split()) or type(exc).__name__


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="diffusers_server", description=__doc__)
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


if __name__ == "__main__":
    main(sys.argv[1:])
