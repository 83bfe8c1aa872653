"""The command lines of mlx-lm, and where it is found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelrunner.engines.base import Address, Engine, EngineSettings, Options
from modelrunner.engines.estimate import RAM, Device
from modelrunner.engines.mlx import VERSION, Mlx
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
    weights=(MODEL / "model.safetensors",),
)
PACKAGED = replace(PLAIN, config=ModelConfig(format=Format.SAFETENSORS, context_size=4096))
NAMED = Options(name="ai/m:latest")
APPLE = {"system": "Darwin", "machine": "arm64"}


def _python(path: Path, versions: dict[str, str]) -> Path:
    """An interpreter that answers with these versions, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{json.dumps(versions)}'\n")
    path.chmod(0o755)
    return path


def _engine(tmp_path: Path) -> tuple[Mlx, Path]:
    python = _python(tmp_path / "env" / "bin" / "python", {"mlx-lm": "0.32.2"})
    return Mlx(EngineSettings(programs={"mlx": python}), **APPLE), python


@pytest.mark.parametrize(
    ("bundle", "options", "expected"),
    [
        (PLAIN, NAMED, ()),
        (PLAIN, replace(NAMED, context_size=0), ()),
        (PLAIN, replace(NAMED, context_size=-1), ()),
        (PACKAGED, NAMED, ("--max-tokens", "4096")),
        (PACKAGED, replace(NAMED, context_size=1234), ("--max-tokens", "1234")),
    ],
)
def test_the_command_line(
    tmp_path: Path, bundle: Bundle, options: Options, expected: tuple[str, ...]
) -> None:
    """A port, as it has no sockets, and no name, as it has no option for one."""
    engine, python = _engine(tmp_path)

    argv = engine.launch(bundle, Mode.COMPLETION, options, TCP).argv

    begin = (str(python), "-P", "-m", "mlx_lm.server", "--model", str(MODEL))
    assert argv == (
        *begin,
        "--host",
        "127.0.0.1",
        "--port",
        "31000",
        "--prompt-cache-bytes",
        str(256 << 20),
        *expected,
    )


def test_requests_do_not_choose_the_model(tmp_path: Path) -> None:
    """A name in a request would be a path to load; one stands for the model that it was started with."""
    engine, _ = _engine(tmp_path)
    launch = engine.launch(PLAIN, Mode.COMPLETION, NAMED, TCP)

    assert launch.model_name == "default_model"
    assert launch.env["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("mode", [Mode.EMBEDDING, Mode.RERANKING, Mode.IMAGE])
def test_it_only_makes_text(tmp_path: Path, mode: Mode) -> None:
    """Its server has no other paths, so a user is told before it is started."""
    engine, _ = _engine(tmp_path)
    with pytest.raises(UnsupportedModel, match=f"unsupported backend mode `{mode}`"):
        engine.launch(PLAIN, mode, NAMED, TCP)


def test_gguf_weights_are_not_for_it(tmp_path: Path) -> None:
    """Whoever names this engine for such a model is told."""
    engine, _ = _engine(tmp_path)
    with pytest.raises(UnsupportedModel, match="needs safetensors files"):
        engine.launch(replace(PLAIN, weights=(MODEL / "m.gguf",)), Mode.COMPLETION, NAMED, TCP)


@pytest.mark.parametrize(("system", "machine"), [("Windows", "AMD64"), ("Darwin", "x86_64")])
def test_elsewhere_than_on_apple_silicon_it_is_not_offered(tmp_path: Path, system: str, machine: str) -> None:
    """Nothing is installed, and a start is refused with the reason."""
    engine = Mlx(EngineSettings(environments=tmp_path), system=system, machine=machine)

    assert str(engine.probe()) == "Not Installed: only supported on Linux and Apple Silicon"
    assert engine.environment is None
    with pytest.raises(EngineNotInstalled, match="only supported on Linux and Apple Silicon"):
        engine.launch(PLAIN, Mode.COMPLETION, NAMED, TCP)


def test_python_on_the_search_path_will_do(tmp_path: Path) -> None:
    """If it has the package; else the daemon can install it."""
    settings = EngineSettings(search_path=str(tmp_path / "bin"), environments=tmp_path / "engines")
    engine = Mlx(settings, **APPLE)
    statuses = [str(engine.probe())]
    python = _python(tmp_path / "bin" / "python3", {})
    statuses.append(str(engine.probe()))
    python.unlink()
    _python(tmp_path / "bin" / "python3", {"mlx-lm": "0.31.0", "more": "1"})
    statuses.append(str(engine.probe()))

    assert statuses == [
        "Error: Python not found",
        "Not Installed: package not installed",
        "Running: mlx-lm 0.31.0",
    ]
    assert engine.environment is not None


def test_the_list_of_packages_is_for_apple_silicon(tmp_path: Path) -> None:
    """It has the version that is promised, and what computes on Metal."""
    environment = Mlx(EngineSettings(environments=tmp_path), **APPLE).environment
    assert environment is not None
    (path,) = environment.recipe.lists
    lines = path.read_text().splitlines()

    assert f"mlx-lm=={VERSION} \\" in lines
    assert any(line.startswith("mlx-metal==") for line in lines)


class TestMlx(EngineContract):
    """It keeps the contract."""

    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path: Path) -> None:
        self._engine = _engine(tmp_path)[0]

    def make(self) -> Engine:
        return self._engine


@pytest.mark.parametrize(
    ("bundle", "options", "context"),
    [
        (PLAIN, NAMED, 8192),
        (PACKAGED, NAMED, 4096),
        (replace(PACKAGED, config=replace(PACKAGED.config, context_size=131_072)), NAMED, 8192),
        (PACKAGED, replace(NAMED, context_size=32_768), 32_768),
    ],
)
def test_what_it_needs_is_weights_and_conversations(
    tmp_path: Path, bundle: Bundle, options: Options, context: int
) -> None:
    """The weights as they are stored; the one conversation, and as much for those that are kept."""
    engine, _ = _engine(tmp_path)
    bundle = small_llama(tmp_path, bundle)
    found = engine.estimate(bundle, Mode.COMPLETION, options, [Device(RAM, 64 << 30, 64 << 30)])
    argv = engine.launch(bundle, Mode.COMPLETION, options, TCP).argv

    assert found is not None
    assert (context, SMALL_WEIGHTS) == (found.context, found.weights)
    assert context * SMALL_TOKEN == found.cache
    assert str(found.prompts) == argv[argv.index("--prompt-cache-bytes") + 1]
    assert found.prompts == max(found.cache, 256 << 20)
    assert found.needed_at is not None
    assert found.needed == found.needed_at(context) > found.needed_at(512)
