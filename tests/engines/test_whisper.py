"""The command line of the server that hears, where its Python is found, and what it needs of memory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelrunner.engines.base import Address, Engine, EngineSettings, Network, Options
from modelrunner.engines.standalone import STANDALONE
from modelrunner.engines.whisper import VERSION, Whisper
from modelrunner.errors import EngineNotInstalled, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.contract import EngineContract
from modelrunner.testing.speech import write_whisper

MODEL = Path("/models/m/model")
SOCKET = Address(socket=Path("/run/x/engine.sock"))
CONFIG = ModelConfig(format=Format.CTRANSLATE2, architecture="whisper")
PLAIN = Bundle(root=MODEL.parent, config=CONFIG, weights=(MODEL / "model.bin",))


def _engine(tmp_path: Path) -> tuple[Whisper, Path]:
    """One in a Python that the user named, which answers with a version whatever it is asked."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho '{json.dumps({'faster-whisper': '1.1.0'})}'\n")
    python.chmod(0o755)
    settings = EngineSettings(programs={"whisper": python}, environments=tmp_path / "engines")
    return Whisper(settings, system="Linux"), python


def test_the_command_line(tmp_path: Path) -> None:
    """Our server by its folder, the model's folder, a socket; what is configured changes nothing."""
    engine, python = _engine(tmp_path)

    launch = engine.launch(PLAIN, Mode.TRANSCRIPTION, Options(context_size=4096, name="ai/m"), SOCKET)

    program = (str(python), "-I", str(STANDALONE), "speech.whisper")
    assert launch.argv == (*program, "--model", str(MODEL), "--socket", "/run/x/engine.sock")
    assert STANDALONE in launch.reads
    assert launch.model_name is None
    assert launch.network is Network.OWN
    assert launch.env["HF_HUB_OFFLINE"] == "1"
    assert str(engine.probe()) == "Running: faster-whisper 1.1.0"
    assert engine.slots(Options()) == 1


def test_what_it_cannot_serve_is_refused(tmp_path: Path) -> None:
    """Another mode, no weights, and what CTranslate2 runs besides."""
    engine, _ = _engine(tmp_path)

    with pytest.raises(UnsupportedModel, match="turns speech into text"):
        engine.launch(PLAIN, Mode.COMPLETION, Options(), SOCKET)
    with pytest.raises(UnsupportedModel, match=r"model\.bin"):
        engine.launch(replace(PLAIN, weights=()), Mode.TRANSCRIPTION, Options(), SOCKET)
    assert engine.refuse(CONFIG, Mode.TRANSCRIPTION) is None
    assert "`bert`" in (engine.refuse(replace(CONFIG, architecture="bert"), Mode.TRANSCRIPTION) or "")


def test_before_it_is_installed_it_is_not(tmp_path: Path) -> None:
    """The way out is a command; what it installs is pinned."""
    engine = Whisper(EngineSettings(environments=tmp_path), system="Linux")

    assert str(engine.probe()) == "Not Installed"
    assert engine.environment is not None
    assert f"faster-whisper=={VERSION} \\" in engine.environment.recipe.lists[0].read_text().splitlines()
    with pytest.raises(EngineNotInstalled) as caught:
        engine.launch(PLAIN, Mode.TRANSCRIPTION, Options(), SOCKET)
    assert "install-runner --backend whisper" in (caught.value.hint or "")


def test_a_larger_model_needs_more(tmp_path: Path) -> None:
    """Its numbers in 8 bits, beside the file as long as that is read."""
    engine, _ = _engine(tmp_path)
    folder = write_whisper(tmp_path / "m")
    found = engine.estimate(
        replace(PLAIN, weights=(folder / "model.bin",)), Mode.TRANSCRIPTION, Options(), ()
    )

    assert found is not None
    assert found.weights == 64 * 128
    assert 300 << 20 < found.needed < 400 << 20


class TestWhisper(EngineContract):
    """It keeps the contract."""

    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path: Path) -> None:
        self._engine = _engine(tmp_path)[0]

    def make(self) -> Engine:
        return self._engine
