"""Daemons as users have them: one with the real engine and model, one whose engine is scripted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelrunner.testing.daemon import Runner, fake_llama_server, running

STEADY = ("--temp", "0", "--predict", "64")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Iterator[Runner]:
    """A daemon with the embedded llama.cpp, and the test model as `ai/smollm2`."""
    with running(tmp_path_factory.mktemp("real")) as runner:
        runner.must("package", "--gguf", smollm2, "ai/smollm2")
        # So small a model rambles on when it is left to chance; answers are to be short, and always the same.
        runner.must("configure", "ai/smollm2", "--", *STEADY)
        yield runner


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Runner]:
    """A daemon whose `llama-server` is the scripted engine; nothing is stored yet."""
    program = fake_llama_server(tmp_path / "engine")
    with running(tmp_path / "home", LLAMA_SERVER_PATH=str(program)) as runner:
        yield runner
