"""The command line of the server that speaks, where its Python is found, and what it needs of memory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelrunner.engines.base import Address, Engine, EngineSettings, Network, Options
from modelrunner.engines.piper import VERSION, Piper
from modelrunner.engines.standalone import STANDALONE
from modelrunner.errors import EngineNotInstalled, InvalidRequest, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.contract import EngineContract
from modelrunner.testing.speech import write_voice

MODEL = Path("/models/m/model/joe.onnx")
TCP = Address(host="127.0.0.1", port=31_000)
CONFIG = ModelConfig(format=Format.ONNX, architecture="piper")
PLAIN = Bundle(root=MODEL.parent.parent, config=CONFIG, weights=(MODEL,))


def _engine(tmp_path: Path) -> tuple[Piper, Path]:
    """One in a Python that the user named, which answers with a version whatever it is asked."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho '{json.dumps({'piper-tts': '1.4.0'})}'\n")
    python.chmod(0o755)
    settings = EngineSettings(programs={"piper": python}, environments=tmp_path / "engines")
    return Piper(settings, system="Linux"), python


def test_the_command_line(tmp_path: Path) -> None:
    """Our server by its folder, the voice, the address."""
    engine, python = _engine(tmp_path)

    launch = engine.launch(PLAIN, Mode.SPEECH, Options(name="ai/joe"), TCP)

    program = (str(python), "-I", str(STANDALONE), "speech.piper")
    assert launch.argv == (*program, "--model", str(MODEL), "--host", "127.0.0.1", "--port", "31000")
    assert launch.network is Network.OWN
    assert str(engine.probe()) == "Running: piper-tts 1.4.0"
    assert engine.slots(Options()) == 1


def test_what_it_cannot_serve_is_refused(tmp_path: Path) -> None:
    """Another mode, no weights, and models in ONNX that are no voice."""
    engine, _ = _engine(tmp_path)

    with pytest.raises(UnsupportedModel, match="turns text into speech"):
        engine.launch(PLAIN, Mode.EMBEDDING, Options(), TCP)
    with pytest.raises(UnsupportedModel, match="has none"):
        engine.launch(replace(PLAIN, weights=()), Mode.SPEECH, Options(), TCP)
    assert engine.refuse(CONFIG, Mode.SPEECH) is None
    assert "`bert`" in (engine.refuse(replace(CONFIG, architecture="bert"), Mode.SPEECH) or "")


def test_before_it_is_installed_it_is_not(tmp_path: Path) -> None:
    """The way out is a command; what it installs is pinned."""
    engine = Piper(EngineSettings(environments=tmp_path), system="Linux")

    assert str(engine.probe()) == "Not Installed"
    assert engine.environment is not None
    assert f"piper-tts=={VERSION} \\" in engine.environment.recipe.lists[0].read_text().splitlines()
    with pytest.raises(EngineNotInstalled) as caught:
        engine.launch(PLAIN, Mode.SPEECH, Options(), TCP)
    assert "install-runner --backend piper" in (caught.value.hint or "")


def test_a_voice_needs_its_file_and_more(tmp_path: Path) -> None:
    """One that is not there is the store's affair, and told as such."""
    engine, _ = _engine(tmp_path)
    voice = write_voice(tmp_path / "joe.onnx")
    found = engine.estimate(replace(PLAIN, weights=(voice,)), Mode.SPEECH, Options(), ())

    assert found is not None
    assert found.weights == voice.stat().st_size
    assert 300 << 20 < found.needed < 400 << 20
    with pytest.raises(InvalidRequest, match="cannot read"):
        engine.estimate(PLAIN, Mode.SPEECH, Options(), ())


class TestPiper(EngineContract):
    """It keeps the contract."""

    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path: Path) -> None:
        self._engine = _engine(tmp_path)[0]

    def make(self) -> Engine:
        return self._engine
