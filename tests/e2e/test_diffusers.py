"""Real diffusers in a daemon, with a pipeline of random numbers: what it paints is noise."""

import base64
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openai
import psutil
import pytest

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
        if any("diffusers_server" in argument for argument in process.cmdline()):
            return process
    raise AssertionError("no engine")
