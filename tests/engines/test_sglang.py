"""The command lines of SGLang, and where it is found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelrunner.engines.base import (
    Address,
    Context,
    Engine,
    EngineSettings,
    Network,
    Options,
    Origin,
)
from modelrunner.engines.estimate import RAM, Device
from modelrunner.engines.sglang import VERSION, Sglang
from modelrunner.errors import EngineNotInstalled, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.contract import EngineContract
from tests.engines.conftest import SMALL_TOKEN, SMALL_WEIGHTS, small_llama

MODEL = Path("/models/m/model")
TCP = Address(host="127.0.0.1", port=31_000)
PLAIN = Bundle(
    root=MODEL.parent,
    config=ModelConfig(format=Format.SAFETENSORS),
    weights=(MODEL / "model-00001-of-00002.safetensors", MODEL / "model-00002-of-00002.safetensors"),
)
PACKAGED = replace(PLAIN, config=ModelConfig(format=Format.SAFETENSORS, context_size=32768))
NAMED = Options(name="ai/m:latest")
SERVED = ("--served-model-name", "ai/m_latest", "--weight-version", "ai/m:latest")


def _python(path: Path, versions: dict[str, str]) -> Path:
    """An interpreter that answers with these versions, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{json.dumps(versions)}'\n")
    path.chmod(0o755)
    return path


def _engine(tmp_path: Path) -> tuple[Sglang, Path]:
    python = _python(tmp_path / "env" / "bin" / "python", {"sglang": "0.5.23"})
    return Sglang(EngineSettings(programs={"sglang": python}), system="Linux"), python


@pytest.mark.parametrize(
    ("bundle", "mode", "options", "expected"),
    [
        (PLAIN, Mode.COMPLETION, NAMED, ()),
        (PLAIN, Mode.RERANKING, NAMED, ()),
        (PLAIN, Mode.EMBEDDING, NAMED, ("--is-embedding",)),
        (PLAIN, Mode.COMPLETION, replace(NAMED, context_size=1234), ("--context-length", "1234")),
        (PLAIN, Mode.COMPLETION, replace(NAMED, context_size=0), ()),
        (PLAIN, Mode.COMPLETION, replace(NAMED, context_size=-1), ()),
        (PACKAGED, Mode.COMPLETION, NAMED, ("--context-length", "32768")),
        (
            PACKAGED,
            Mode.EMBEDDING,
            replace(NAMED, context_size=512),
            ("--is-embedding", "--context-length", "512"),
        ),
    ],
)
def test_the_command_line(
    tmp_path: Path, bundle: Bundle, mode: Mode, options: Options, expected: tuple[str, ...]
) -> None:
    """In the order of the specification: directory, address, mode, context, names."""
    engine, python = _engine(tmp_path)

    argv = engine.launch(bundle, mode, options, TCP).argv

    begin = (str(python), "-P", "-m", "sglang.launch_server", "--model-path", str(MODEL))
    assert argv == (*begin, "--host", "127.0.0.1", "--port", "31000", *expected, *SERVED)


@pytest.mark.parametrize(("name", "called"), [("ai/m:latest", "ai/m_latest"), (None, "model")])
def test_requests_call_the_model_as_it_was_started(tmp_path: Path, name: str | None, called: str) -> None:
    """After a colon SGLang looks for an adapter, so no request may have one in its model's name."""
    engine, _ = _engine(tmp_path)

    launch = engine.launch(PLAIN, Mode.COMPLETION, Options(name=name), TCP)

    assert launch.model_name == called
    assert launch.argv[launch.argv.index("--served-model-name") + 1] == called


def test_it_asks_nobody_about_the_model(tmp_path: Path) -> None:
    """Its processes talk to each other on this machine only, and run no code of the model's."""
    engine, _ = _engine(tmp_path)

    launch = engine.launch(PLAIN, Mode.COMPLETION, NAMED, TCP)

    assert launch.env["HF_HUB_OFFLINE"] == "1"
    assert launch.network is Network.LOOPBACK
    assert "--trust-remote-code" not in launch.argv


@pytest.mark.parametrize(
    ("bundle", "mode", "words"),
    [
        (PLAIN, Mode.IMAGE, "unsupported backend mode `image-generation`"),
        (replace(PLAIN, weights=(MODEL / "m.gguf",)), Mode.COMPLETION, "needs safetensors files"),
        (replace(PLAIN, weights=()), Mode.COMPLETION, "needs safetensors files"),
    ],
)
def test_what_it_cannot_serve_is_refused(tmp_path: Path, bundle: Bundle, mode: Mode, words: str) -> None:
    """Before anything is started."""
    engine, _ = _engine(tmp_path)
    with pytest.raises(UnsupportedModel, match=words):
        engine.launch(bundle, mode, NAMED, TCP)


def test_the_context_is_known_before_the_start(tmp_path: Path) -> None:
    """What `ps` shows is what the command line says."""
    engine, _ = _engine(tmp_path)

    assert engine.context(PACKAGED.config, NAMED) == Context(32768, Origin.PACKAGED)
    assert engine.context(PACKAGED.config, Options(context_size=8)) == Context(8, Origin.CONFIGURED)
    assert engine.context(PLAIN.config, NAMED) is None


def test_the_python_of_the_images_is_found(tmp_path: Path) -> None:
    """Docker's images have it in one place; else it is `python3` on the search path that is asked."""
    image = tmp_path / "sglang-env" / "bin" / "python3"
    engine = Sglang(EngineSettings(), gpu=False, system="Linux", image_python=image)
    before = str(engine.probe())
    with pytest.raises(EngineNotInstalled) as caught:
        engine.launch(PLAIN, Mode.COMPLETION, NAMED, TCP)
    _python(image, {"sglang": "0.5.9"})

    assert before == "Error: Python not found"
    assert "SGLANG_SERVER_PATH" in (caught.value.hint or "")
    assert str(engine.probe()) == "Running: sglang 0.5.9"
    assert engine.launch(PLAIN, Mode.COMPLETION, NAMED, TCP).argv[0] == str(image)


@pytest.mark.parametrize(
    ("gpu", "system", "offered"), [(True, "Linux", True), (False, "Linux", False), (True, "Darwin", False)]
)
def test_it_is_installed_where_there_is_a_gpu(tmp_path: Path, gpu: bool, system: str, offered: bool) -> None:
    """All of its packages are for one, and ten gigabytes are not taken for nothing."""
    environment = Sglang(EngineSettings(environments=tmp_path), gpu=gpu, system=system).environment

    assert (environment is not None) == offered
    assert environment is None or environment.recipe.version == VERSION


def test_elsewhere_than_on_linux_it_is_not_offered() -> None:
    """The status has the reference's words."""
    assert str(Sglang(system="Darwin").probe()) == "Not Installed: only supported on Linux"


def test_the_list_of_packages_has_the_version_that_is_promised(tmp_path: Path) -> None:
    """And PyTorch with it."""
    environment = Sglang(EngineSettings(environments=tmp_path), gpu=True, system="Linux").environment
    assert environment is not None
    (path,) = environment.recipe.lists
    lines = path.read_text().splitlines()

    assert f"sglang=={VERSION} \\" in lines
    assert any(line.startswith("torch==") for line in lines)


class TestSglang(EngineContract):
    """It keeps the contract."""

    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path: Path) -> None:
        self._engine = _engine(tmp_path)[0]

    def make(self) -> Engine:
        return self._engine


def test_of_a_gpu_it_takes_its_part(tmp_path: Path) -> None:
    """Whatever the model; of the RAM, only the program."""
    engine, _ = _engine(tmp_path)
    devices = [Device(RAM, 64 << 30, 64 << 30), Device("cuda:0", 24 << 30, 24 << 30)]
    found = engine.estimate(small_llama(tmp_path, PLAIN), Mode.COMPLETION, NAMED, devices)

    assert found is not None
    assert found.by_device["cuda:0"] == int(24 * 0.95 * (1 << 30))
    assert found.by_device[RAM] == found.overhead


def test_without_a_gpu_it_takes_what_the_model_asks_for(tmp_path: Path) -> None:
    """Weights, and the keys and values of one context; another context would take another amount."""
    engine, _ = _engine(tmp_path)
    bundle = small_llama(tmp_path, PACKAGED)
    found = engine.estimate(bundle, Mode.COMPLETION, NAMED, [Device(RAM, 64 << 30, 64 << 30)])

    assert found is not None
    assert (SMALL_WEIGHTS, 32768 * SMALL_TOKEN) == (found.weights, found.cache)
    assert found.context_within(found.needed - 16384 * SMALL_TOKEN) == 16384
