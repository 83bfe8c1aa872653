"""The command line of the image server, and where its Python is found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelrunner.engines.base import Address, Engine, EngineSettings, Network, Options
from modelrunner.engines.diffusers import VERSION, Diffusers
from modelrunner.engines.standalone import STANDALONE
from modelrunner.errors import EngineNotInstalled, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.contract import EngineContract

MODEL = Path("/models/m/model")
TCP = Address(host="127.0.0.1", port=31_000)
PLAIN = Bundle(root=MODEL.parent, config=ModelConfig(format=Format.DDUF), weights=(MODEL / "model.dduf",))
NAMED = Options(name="ai/m:latest")


def _engine(tmp_path: Path) -> tuple[Diffusers, Path]:
    """One in a Python that the user named, which answers with a version whatever it is asked."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho '{json.dumps({'diffusers': '0.40.0'})}'\n")
    python.chmod(0o755)
    settings = EngineSettings(programs={"diffusers": python}, environments=tmp_path / "engines")
    return Diffusers(settings, system="Linux"), python


def test_the_command_line(tmp_path: Path) -> None:
    """Our server by its path, the file, the address, the name; what is configured changes nothing."""
    engine, python = _engine(tmp_path)
    scratch = tmp_path / "engines" / "diffusers-unpacked"

    launch = engine.launch(PLAIN, Mode.IMAGE, replace(NAMED, context_size=4096), TCP)

    begin = (str(python), "-I", str(STANDALONE), "images.server", "--model-path", str(MODEL / "model.dduf"))
    address = ("--host", "127.0.0.1", "--port", "31000")
    end = ("--served-model-name", "ai/m:latest", "--scratch", str(scratch))
    assert launch.argv == (*begin, *address, *end)
    assert launch.writes == (scratch,)
    assert launch.model_name == "ai/m:latest"
    assert launch.env["HF_HUB_OFFLINE"] == "1"
    assert launch.network is Network.OWN
    assert str(engine.probe()) == "Running: diffusers 0.40.0"


@pytest.mark.parametrize(
    ("bundle", "mode", "words"),
    [
        (PLAIN, Mode.COMPLETION, "only supports image-generation mode, got `completion`"),
        (replace(PLAIN, weights=(MODEL / "m.gguf",)), Mode.IMAGE, "no DDUF file found in model bundle"),
        (replace(PLAIN, weights=()), Mode.IMAGE, "no DDUF file found in model bundle"),
    ],
)
def test_what_it_cannot_serve_is_refused(tmp_path: Path, bundle: Bundle, mode: Mode, words: str) -> None:
    """In the reference's words, and before anything is started."""
    engine, _ = _engine(tmp_path)
    with pytest.raises(UnsupportedModel, match=words):
        engine.launch(bundle, mode, NAMED, TCP)


def test_before_it_is_installed_it_is_not(tmp_path: Path) -> None:
    """The way out is a command; what it installs is pinned."""
    engine = Diffusers(EngineSettings(environments=tmp_path), system="Linux")

    assert str(engine.probe()) == "Not Installed"
    assert engine.environment is not None
    assert engine.environment.recipe.version == VERSION
    assert f"diffusers=={VERSION} \\" in engine.environment.recipe.lists[0].read_text().splitlines()
    with pytest.raises(EngineNotInstalled) as caught:
        engine.launch(PLAIN, Mode.IMAGE, NAMED, TCP)
    assert "install-runner --backend diffusers" in (caught.value.hint or "")


def test_it_makes_one_image_at_a_time(tmp_path: Path) -> None:
    """Further requests wait in the daemon, which can tell them so."""
    engine, _ = _engine(tmp_path)

    assert engine.slots(Options()) == 1


class TestDiffusers(EngineContract):
    """It keeps the contract."""

    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path: Path) -> None:
        self._engine = _engine(tmp_path)[0]

    def make(self) -> Engine:
        return self._engine
