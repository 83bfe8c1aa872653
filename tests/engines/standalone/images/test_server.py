"""The image server without a model: what it reads, refuses and answers, over real connections."""

import base64
import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelrunner.engines.standalone import STANDALONE
from modelrunner.engines.standalone.images.orders import Edit, Order, Refused, read_edit, read_order
from modelrunner.engines.standalone.images.server import MARK, Server, root_cause
from modelrunner.engines.standalone.images.unpacking import unpacked

NAMES = ("ai/noise", "/models/noise.dduf")
LEAST = {"model": "ai/noise", "prompt": "a cat"}


class Scripted:
    """A painter that writes down what it is asked for; it can be held up in the middle."""

    def __init__(self) -> None:
        self.orders: list[tuple[Order, int | None]] = []
        self.began, self.go_on, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.go_on.set()
        self.fault: Exception | None = None

    def paint(self, order: Order, seed: int | None, proceed: Callable[[], None]) -> bytes:
        self.orders.append((order, seed))
        self.began.set()
        try:
            assert self.go_on.wait(10)
            if self.fault is not None:
                raise self.fault
            proceed()
        finally:
            self.ended.set()
        return f"image {seed}".encode()


@pytest.fixture
def painter() -> Scripted:
    return Scripted()


@pytest.fixture
def port(painter: Scripted) -> Iterator[int]:
    """The port of a server with that painter."""
    server = Server(("127.0.0.1", 0), painter, NAMES)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield int(server.server_address[1])
    painter.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def _ask(port: int, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode())
        answer = connection.getresponse()
        document: dict[str, object] = json.loads(answer.read())
        return answer.status, document
    finally:
        connection.close()


def _paint(port: int, **more: object) -> tuple[int, dict[str, object]]:
    return _ask(port, "POST", "/v1/images/generations", LEAST | more)


# Requests


def test_what_is_missing_has_a_default() -> None:
    """Those of the specification; null is as good as nothing."""
    order = read_order(json.dumps(LEAST | {"n": None}).encode(), NAMES)

    assert order == Order(
        prompt="a cat", number=1, size=(512, 512), steps=50, guidance=7.5, negative=None, seed=None
    )


def test_all_of_a_request_is_read() -> None:
    """The path of the file is a name too; `quality` and `style` change nothing."""
    body = {
        "model": "/models/noise.dduf",
        "prompt": "a dog",
        "n": 10,
        "size": "1024X768",
        "quality": "hd",
        "style": "vivid",
        "response_format": "b64_json",
        "negative_prompt": "a cat",
        "num_inference_steps": 150,
        "guidance_scale": 20,
        "seed": 7,
        "user": "unknown to it",
    }

    assert read_order(json.dumps(body).encode(), NAMES) == Order(
        prompt="a dog", number=10, size=(1024, 768), steps=150, guidance=20.0, negative="a cat", seed=7
    )


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 422, "JSON decode error"),
        (b"[" * 100_000, 422, "JSON decode error"),
        (b"\xff", 422, "JSON decode error"),
        (b"[]", 422, "Input should be an object"),
        ({"prompt": "x"}, 422, "Field required"),
        ({"model": "ai/noise"}, 422, "Field required"),
        (LEAST | {"prompt": 1}, 422, "of the type str"),
        (LEAST | {"n": 0}, 422, "greater than or equal to 1"),
        (LEAST | {"n": 11}, 422, "less than or equal to 10"),
        (LEAST | {"n": True}, 422, "of the type int"),
        (LEAST | {"n": 1.5}, 422, "of the type int"),
        (LEAST | {"num_inference_steps": 151}, 422, "less than or equal to 150"),
        (LEAST | {"guidance_scale": 0.5}, 422, "greater than or equal to 1.0"),
        (LEAST | {"guidance_scale": float("nan")}, 422, "greater than or equal to 1.0"),
        (LEAST | {"seed": 2**64}, 422, "less than or equal to"),
        (LEAST | {"seed": -1}, 422, "greater than or equal to 0"),
        (LEAST | {"response_format": "png"}, 422, "one of b64_json, url"),
        (LEAST | {"response_format": "url"}, 400, "'url' is not supported"),
        (LEAST | {"size": "512"}, 400, "Invalid size format '512'"),
        (LEAST | {"size": "512x0"}, 400, "Invalid size format"),
        (LEAST | {"size": "510x512"}, 400, "a multiple of 8"),
        (LEAST | {"size": "8192x8192"}, 400, "at most 4096"),
        (LEAST | {"model": "ai/other"}, 421, "Model 'ai/other' not loaded. Current model: ai/noise"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(body: object, status: int, words: str) -> None:
    """By the statuses of the specification."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refused) as caught:
        read_order(raw, NAMES)

    assert caught.value.status == status
    assert words in json.dumps(caught.value.detail)


PICTURE = base64.b64encode(b"a picture").decode()
EDIT = {**LEAST, "images": [PICTURE]}


def test_a_picture_to_change_keeps_its_size() -> None:
    """Unless another one is asked for; a mask says where."""
    plain = read_edit(json.dumps(EDIT).encode(), NAMES)
    more = {
        "size": "64x96",
        "mask": PICTURE,
        "strength": 1,
        "output_format": "webp",
        "output_compression": 40,
    }
    other = read_edit(json.dumps(EDIT | more).encode(), NAMES)

    assert (plain.size, plain.edit) == (None, Edit(b"a picture"))
    assert (other.size, other.form, other.compression) == ((64, 96), "webp", 40)
    assert other.edit == Edit(b"a picture", b"a picture", 1.0)


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"images": None}, 422, "Field required"),
        ({"images": PICTURE}, 422, "of the type list"),
        ({"images": [PICTURE, PICTURE]}, 400, "one at a time"),
        ({"images": ["***"]}, 400, "images: not base64"),
        ({"images": [7]}, 400, "images: not base64"),
        ({"mask": "***"}, 400, "mask: not base64"),
        ({"strength": 1.5}, 422, "less than or equal to 1.0"),
        ({"strength": 0.4, "num_inference_steps": 2}, 400, "less than one step"),
        ({"output_format": "gif"}, 422, "one of png, jpeg, webp"),
        ({"background": "transparent"}, 422, "one of auto, opaque"),
        ({"stream": True}, 400, "stream is not supported"),
        ({"stream": "yes"}, 422, "of the type bool"),
    ],
)
def test_what_is_wrong_with_a_change_is_said(more: dict[str, object], status: int, words: str) -> None:
    """As for new images."""
    with pytest.raises(Refused) as caught:
        read_edit(json.dumps(EDIT | more).encode(), NAMES)

    assert caught.value.status == status
    assert words in json.dumps(caught.value.detail)


def test_everything_that_is_wrong_is_listed() -> None:
    """Each with its place."""
    with pytest.raises(Refused) as caught:
        read_order(b'{"n": 0}', NAMES)
    detail = caught.value.detail
    assert isinstance(detail, list)

    assert [each["loc"] for each in detail] == [["body", "model"], ["body", "prompt"], ["body", "n"]]


# Answers


def test_images_come_as_text(port: int, painter: Scripted) -> None:
    """In OpenAI's form; each has the seed after the one before."""
    status, answer = _paint(port, n=2, seed=7)

    assert status == 200
    assert isinstance(answer["created"], int)
    assert answer["data"] == [
        {"b64_json": base64.b64encode(image).decode(), "url": None, "revised_prompt": None}
        for image in (b"image 7", b"image 8")
    ]
    assert [seed for _, seed in painter.orders] == [7, 8]


def test_a_picture_may_be_as_large_as_a_picture(port: int, painter: Scripted) -> None:
    """A megabyte is enough for a prompt, and not for this."""
    large = base64.b64encode(bytes(2 << 20)).decode()
    changed, _ = _ask(port, "POST", "/v1/images/edits", EDIT | {"images": [large]})

    assert changed == 200
    assert painter.orders[0][0].edit == Edit(bytes(2 << 20))


def test_it_says_how_it_is_while_it_paints(port: int, painter: Scripted) -> None:
    """Whoever watches it does not take it for dead."""
    painter.go_on.clear()
    request = threading.Thread(target=_paint, args=(port,))
    request.start()
    assert painter.began.wait(10)
    health = _ask(port, "GET", "/health")
    painter.go_on.set()
    request.join()

    assert health == (200, {"status": "healthy", "model_loaded": True})


def test_it_names_its_model(port: int) -> None:
    """As OpenAI lists models."""
    status, answer = _ask(port, "GET", "/v1/models")
    assert isinstance(answer["data"], list)
    (model,) = answer["data"]

    assert status == 200
    assert (model["id"], model["owned_by"]) == ("ai/noise", "diffusers")


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/v1/chat/completions")])
def test_other_paths_lead_nowhere(port: int, method: str, path: str) -> None:
    """With an answer all the same."""
    assert _ask(port, method, path) == (404, {"detail": "Not Found"})


def test_a_fault_while_painting_is_told(port: int, painter: Scripted) -> None:
    """And the next request is served."""
    painter.fault = RuntimeError("out of paint")
    failed = _paint(port)
    painter.fault = None
    again, _ = _paint(port)

    assert failed == (500, {"detail": "Image generation failed: out of paint"})
    assert again == 200


@pytest.mark.parametrize(("length", "status"), [("9999999999", 413), (None, 411), ("-1", 411)])
def test_a_body_has_a_length_and_a_limit(port: int, length: str | None, status: int) -> None:
    """It is refused before it is read."""
    header = f"Content-Length: {length}\r\n" if length else ""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        line = connection.makefile("rb").readline()

    assert line.startswith(f"HTTP/1.1 {status} ".encode())


def test_when_the_client_leaves_it_stops(port: int, painter: Scripted) -> None:
    """After the step that it is at, and of the further images none is begun."""
    painter.go_on.clear()
    body = json.dumps(LEAST | {"n": 3}).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert painter.began.wait(10)
    painter.go_on.set()
    assert painter.ended.wait(10)
    after, _ = _paint(port, seed=1)

    assert after == 200
    assert [seed for _, seed in painter.orders] == [None, 1]


# DDUF files


def _archive(path: Path, *names: str, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names:
            archive.writestr(name, "content")
    return path


def test_a_file_is_unpacked_as_long_as_it_is_read(tmp_path: Path) -> None:
    """And what a process that was killed has left is removed, but not what another one is at."""
    path = _archive(tmp_path / "m.dduf", "model_index.json", "unet/model.safetensors")
    scratch = tmp_path / "scratch"
    (scratch / "dduf-dead" / "unet").mkdir(parents=True)
    (scratch / "dduf-alive").mkdir()
    (scratch / "other").mkdir()
    alive = os.open(scratch / "dduf-alive", os.O_RDONLY)
    fcntl.flock(alive, fcntl.LOCK_EX)
    with unpacked(path, scratch) as folder:
        found = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
        inside = folder.parent == scratch
    os.close(alive)

    assert found == ["model_index.json", "unet/model.safetensors"]
    assert inside
    assert {each.name for each in scratch.iterdir()} == {"dduf-alive", "other"}


@pytest.mark.parametrize(
    "name",
    ["../m.json", "/etc/m.json", "a/b/m.json", "unet/model.bin", "run.py", ".hidden.json", "a/../m.json"],
)
def test_what_is_none_of_a_models_files_is_refused(tmp_path: Path, name: str) -> None:
    """Names that lead outside, pickles, programs."""
    path = _archive(tmp_path / "m.dduf", name)
    with pytest.raises(ValueError, match="none of a model's"), unpacked(path, tmp_path):
        pass

    assert list(tmp_path.iterdir()) == [path]


def test_compressed_files_are_refused(tmp_path: Path) -> None:
    """A small file may not become a large one."""
    path = _archive(tmp_path / "m.dduf", "m.json", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="none of a model's"), unpacked(path, None):
        pass


def test_a_damaged_file_is_told_of(tmp_path: Path) -> None:
    """It is no archive at all."""
    path = tmp_path / "m.dduf"
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="damaged"), unpacked(path, None):
        pass


# The program


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    """In the last line, after the mark; the program needs nothing of this package."""
    path = tmp_path / "m.dduf"
    path.write_text("nonsense")
    command = (sys.executable, "-I", STANDALONE, "images.server", "--model-path", path)
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"{MARK} File is not a zip file"


def test_the_cause_is_the_first_error_of_a_chain() -> None:
    """In one line; an error without a text is told by its name."""
    first, second = KeyError(), ValueError("two\nlines")
    second.__context__ = first

    assert root_cause(second) == "KeyError"
    assert root_cause(ValueError("two\nlines")) == "two lines"
