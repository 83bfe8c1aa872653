"""Real diffusers in a daemon, with a pipeline of random numbers: what it paints is noise.

That shows sizes, seeds, masks and forms of files, and nothing of what a prompt does.
"""

import base64
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
import requests
from openai.types import ImagesResponse

from modelrunner.engines.diffusers_memory import estimate
from modelrunner.engines.estimate import RAM, Device
from modelrunner.testing.daemon import Runner, running

# It imports PyTorch before it serves anything, on two cores beside other tests.
pytestmark = [pytest.mark.diffusers, pytest.mark.timeout(300)]

MODEL, OTHER = "ai/noise", "registry.example/team/noise:v1"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def runner(
    tmp_path_factory: pytest.TempPathFactory, image_model: Path, image_engines_folder: Path
) -> Iterator[Runner]:
    """A daemon with the engine, and one model for it."""
    folder = tmp_path_factory.mktemp("images")
    with running(folder, DMR_ENGINES_PATH=str(image_engines_folder)) as made:
        made.must("package", "--dduf", image_model, MODEL)
        yield made


@pytest.fixture(scope="module")
def client(runner: Runner) -> Iterator[openai.OpenAI]:
    """The official client, which knows nothing of engines."""
    with openai.OpenAI(base_url=f"{runner.url}/v1", api_key="none", timeout=280, max_retries=0) as made:
        yield made


def _paint(client: openai.OpenAI, **more: object) -> list[bytes]:
    """The images of an answer, as bytes."""
    extra = {"model": MODEL, "num_inference_steps": 2, "size": "96x64", **more}
    answer = client.images.generate(prompt="a cat", extra_body=extra)
    return [base64.b64decode(image.b64_json or "") for image in answer.data or ()]


def _size(png: bytes) -> tuple[int, ...]:
    """Width and height, from the header."""
    return struct.unpack(">II", png[16:24])


def test_an_image_has_the_size_that_was_asked_for(client: openai.OpenAI, runner: Runner) -> None:
    """It is a PNG, and `ps` says which engine made it."""
    (image,) = _paint(client)
    listed = runner.must("ps").splitlines()[1].split()

    assert image.startswith(PNG)
    assert _size(image) == (96, 64)
    assert listed[:3] == ["noise", "diffusers", "image-generation"]


def test_the_same_seed_makes_the_same_image(client: openai.OpenAI) -> None:
    """Image number i of a request has the seed after, so that each can be had again."""
    several = _paint(client, n=2, seed=7)
    first, second, other = (_paint(client, seed=seed)[0] for seed in (7, 8, 9))

    assert several == [first, second]
    assert len({first, second, other}) == 3


def _half_clear(width: int, height: int) -> bytes:
    """A red picture whose left half is transparent, as PNG."""
    row = b"\0" + b"\xff\0\0\0" * (width // 2) + b"\xff\0\0\xff" * (width - width // 2)
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(row * height)), (b"IEND", b""))
    return PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def _pixels(png: bytes) -> list[bytes]:
    """The rows of a PNG of 8 bits and three colours, as diffusers' library writes them."""
    width, height = _size(png)
    data, position = b"", len(PNG)
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        if png[position + 4 : position + 8] == b"IDAT":
            data += png[position + 8 : position + 8 + length]
        position += 12 + length
    raw, step = zlib.decompress(data), 3 * width + 1
    rows: list[bytes] = []
    for index in range(height):
        kind, line = raw[index * step], bytearray(raw[index * step + 1 : (index + 1) * step])
        above = rows[-1] if rows else bytes(3 * width)
        for n in range(3 * width):
            left, up, corner = (line[n - 3], above[n], above[n - 3]) if n > 2 else (0, above[n], 0)
            nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
            line[n] = (line[n] + (0, left, up, (left + up) // 2, nearest)[kind]) % 256
        rows.append(bytes(line))
    return rows


def _edit(client: openai.OpenAI, image: bytes, **more: Any) -> list[bytes]:
    """The images of an answer, as bytes; arguments of the client by their names, others are our own."""
    own: dict[str, object] = {name: more.pop(name) for name in ("seed", "strength") if name in more}
    answer: ImagesResponse = client.images.edit(
        model=MODEL,
        prompt="a hat",
        image=("red.png", image, "image/png"),
        extra_body={"num_inference_steps": 2, **own},
        **more,
    )
    return [base64.b64decode(image.b64_json or "") for image in answer.data or ()]


def test_a_picture_changes_where_the_mask_is_clear(client: openai.OpenAI) -> None:
    """And nowhere else, to the pixel; it keeps its size."""
    image = _half_clear(64, 48)
    (changed,) = _edit(client, image, mask=("mask.png", image, "image/png"), seed=1)
    red = b"\xff\0\0" * 32

    assert _size(changed) == (64, 48)
    assert {row[96:] for row in _pixels(changed)} == {red}
    assert all(row[:96] != red for row in _pixels(changed))


def test_a_picture_that_is_clear_in_parts_is_its_own_mask(client: openai.OpenAI) -> None:
    """As with OpenAI; the same seed changes it in the same way."""
    image = _half_clear(64, 48)
    masked = _edit(client, image, mask=("mask.png", image, "image/png"), seed=1)

    assert _edit(client, image, seed=1) == masked


def test_a_whole_picture_changes_as_much_as_it_is_told(client: openai.OpenAI) -> None:
    """In another size, as many as are wanted, each with a seed of its own."""
    image = _paint(client, seed=3)[0]
    several = _edit(client, image, n=2, seed=1, size="64x64", strength=0.5)
    more = _edit(client, image, seed=1, size="64x64", strength=1.0)

    assert [_size(each) for each in several] == [(64, 64)] * 2
    assert len({*several, *more}) == 3


def test_json_does_as_well_as_a_form(client: openai.OpenAI, runner: Runner) -> None:
    """With the picture as a data URL."""
    image = _half_clear(64, 48)
    body = {
        "model": MODEL,
        "prompt": "a hat",
        "images": [{"image_url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}],
        "num_inference_steps": 2,
        "seed": 1,
    }
    answer = requests.post(f"{runner.url}/v1/images/edits", json=body, timeout=120).json()

    assert [base64.b64decode(each["b64_json"]) for each in answer["data"]] == _edit(client, image, seed=1)


@pytest.mark.parametrize(("form", "begins"), [("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_images_come_as_other_files(client: openai.OpenAI, form: str, begins: bytes) -> None:
    """Which are smaller when they may be."""
    small, large = (
        _paint(client, output_format=form, output_compression=quality, seed=1)[0] for quality in (5, 95)
    )

    assert small.startswith(begins)
    assert len(small) < len(large)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # of the client's
def test_what_is_wrong_with_a_picture_is_said(client: openai.OpenAI) -> None:
    """By the daemon before a model is loaded, or by the engine that reads it."""
    image = _half_clear(64, 48)
    with pytest.raises(openai.BadRequestError, match="no PNG, JPEG"):
        _edit(client, b"no picture")
    with pytest.raises(openai.BadRequestError, match="cannot be read"):
        _edit(client, image[:60])
    with pytest.raises(openai.BadRequestError, match="The mask has"):
        _edit(client, image, mask=("mask.png", _half_clear(32, 32), "image/png"))
    with pytest.raises(openai.BadRequestError, match="stream is not supported"):
        _paint(client, stream=True)
    with pytest.raises(openai.UnprocessableEntityError, match="varies images"):
        client.images.create_variation(model=MODEL, image=("red.png", image))


def test_every_name_of_a_model_is_served(client: openai.OpenAI, runner: Runner) -> None:
    """The server knows one name; others reach it all the same, and do not load the model again."""
    _paint(client)
    before = _engine(runner).pid
    runner.must("tag", MODEL, OTHER)
    images = [_paint(client, model=name) for name in ("noise", f"docker.io/{MODEL}:latest", OTHER)]
    runner.must("rm", OTHER)

    assert all(images)
    assert _engine(runner).pid == before


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"size": "large"}, 400, "Invalid size format 'large'"),
        ({"response_format": "url"}, 400, "'url' is not supported"),
        ({"n": 11}, 422, "less than or equal to 10"),
        ({"num_inference_steps": "many"}, 422, "num_inference_steps"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    client: openai.OpenAI, more: dict[str, object], status: int, words: str
) -> None:
    """In `detail`, and before anything is painted."""
    with pytest.raises(openai.APIStatusError) as caught:
        _paint(client, **more)

    assert caught.value.status_code == status
    assert words in caught.value.response.text


def test_a_large_image_takes_no_more_memory_than_was_set_aside(
    client: openai.OpenAI, runner: Runner, image_model: Path
) -> None:
    """Its decoder sees tiles, and attention does not write down what it weighs; more is refused."""
    (image,) = _paint(client, size="544x512", num_inference_steps=1, guidance_scale=1.0)
    expected = estimate(image_model, [Device(RAM, 0, 0)])
    status = Path(f"/proc/{_engine(runner).pid}/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10

    assert _size(image) == (544, 512)
    assert peak <= expected.total
    with pytest.raises(openai.BadRequestError, match="up to 1048576 pixels, such as 1024x1024"):
        _paint(client, size="2048x1024")


def test_a_model_for_images_does_not_talk(client: openai.OpenAI) -> None:
    """The answer says which path to use."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])

    assert caught.value.status_code == 422
    assert "/v1/images/generations" in caught.value.response.json()["error"]["hint"]


def test_after_an_unload_nothing_is_left(
    client: openai.OpenAI, runner: Runner, image_engines_folder: Path
) -> None:
    """Neither the process nor what the model was unpacked into."""
    _paint(client)
    process = _engine(runner)
    runner.must("unload", MODEL)
    _, alive = psutil.wait_procs([process], timeout=10)

    assert alive == []
    assert list((image_engines_folder / "diffusers-unpacked").iterdir()) == []


def test_a_model_that_cannot_be_loaded_says_why(
    client: openai.OpenAI, runner: Runner, image_model: Path, tmp_path: Path
) -> None:
    """A sentence, and the server's own last words."""
    damaged = tmp_path / "damaged.dduf"
    with zipfile.ZipFile(image_model) as source, zipfile.ZipFile(damaged, "w") as target:
        for entry in source.infolist():
            if entry.filename != "unet/config.json":
                target.writestr(entry, source.read(entry))
    runner.must("package", "--dduf", damaged, "ai/damaged")
    with pytest.raises(openai.InternalServerError) as caught:
        _paint(client, model="ai/damaged")
    runner.must("rm", "-f", "ai/damaged")
    body = caught.value.body
    assert isinstance(body, dict)

    assert body["code"] == "engine_failed"
    assert "config.json" in body["message"].partition("\n")[0]
    assert "Verbose output:" in body["message"]


def _engine(runner: Runner) -> psutil.Process:
    """The process that paints."""
    for process in psutil.Process(runner.pid).children(recursive=True):
        if any("images.server" in argument for argument in process.cmdline()):
            return process
    raise AssertionError("no engine")
