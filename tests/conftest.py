"""What all tests share: real models, the engine installed for them, and a look at a daemon's processes."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

for _name, _usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    # Ignored by what a script runs with `&`, or `nohup` does. Programs that we start would ignore them too.
    if signal.getsignal(getattr(signal, _name, signal.SIGTERM)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _usual)

ROOT = Path(__file__).parent.parent
# What a fixture needs from outside, by its name: the script that obtains it, once, and prints where it is.
SCRIPTS = {
    "smollm2": "scripts.fetch_test_model",
    "smollm2_safetensors": "scripts.make_safetensors_model",
    "engines_folder": "scripts.install_test_engines vllm",
    "mlx_folder": "scripts.install_test_engines mlx",
    "image_engines_folder": "scripts.install_test_engines diffusers",
    "image_model": "scripts.make_image_model",
    "container_wheels": "scripts.fetch_container_wheels",
    "docker_compose": "scripts.fetch_compose",
    "chart_python": "scripts.install_chart_tools",
    "speech_engines_folder": "scripts.install_test_engines whisper piper",
    "speech_models": "scripts.fetch_speech_models",
}


@functools.cache
def _obtain(fixture: str) -> Path:
    command = [sys.executable, "-m", *SCRIPTS[fixture].split()]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Obtain all that before the first test that wants it, outside of the tests' time limits."""
    if session.config.option.collectonly:
        return
    for fixture in SCRIPTS:
        if any(fixture in getattr(item, "fixturenames", ()) for item in session.items):
            # Without a network only those tests fail, and say so; the others still run.
            with contextlib.suppress(subprocess.CalledProcessError):
                _obtain(fixture)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct in Q4_1: 98 MB, read only."""
    return _obtain("smollm2")


@pytest.fixture(scope="session")
def smollm2_safetensors() -> Path:
    """The folder of the same model in safetensors: 270 MB, read only."""
    return _obtain("smollm2_safetensors")


@pytest.fixture(scope="session")
def engines_folder() -> Path:
    """A folder of engines with vLLM in it; what `DMR_ENGINES_PATH` is to be."""
    return _obtain("engines_folder")


@pytest.fixture(scope="session")
def mlx_folder() -> Path:
    """A folder of engines with mlx-lm in it; others are in it too, which would be preferred to that one."""
    return _obtain("mlx_folder")


@pytest.fixture(scope="session")
def image_engines_folder() -> Path:
    """A folder of engines with diffusers in it; what `DMR_ENGINES_PATH` is to be."""
    return _obtain("image_engines_folder")


@pytest.fixture(scope="session")
def image_model() -> Path:
    """A DDUF file of half a megabyte, which makes images of noise; read only."""
    return _obtain("image_model")


@pytest.fixture(scope="session")
def speech_engines_folder() -> Path:
    """A folder of engines with faster-whisper and Piper in it; what `DMR_ENGINES_PATH` is to be."""
    return _obtain("speech_engines_folder")


@pytest.fixture(scope="session")
def speech_models() -> Path:
    """A folder with `whisper`, a model's files, and `voice`, an ONNX file and its JSON; read only."""
    return _obtain("speech_models")


@pytest.fixture(scope="session")
def container_wheels() -> Path:
    """The wheels that the runner's image is made of; read only."""
    return _obtain("container_wheels")


@pytest.fixture(scope="session")
def chart_python() -> Path:
    """A Python that renders the Helm chart and checks it."""
    return _obtain("chart_python")


@pytest.fixture(scope="session")
def docker_compose() -> Path:
    """The program of Docker Compose."""
    return _obtain("docker_compose")


@pytest.fixture
def engines_of() -> Callable[[int], list[psutil.Process]]:
    """Find the processes of the engines of a daemon, by its number.

    Its guardian is none, nor is a program that it asks for its version, which stays in the daemon's group.
    """

    def find(daemon: int) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(daemon).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has ended meanwhile
                alone = os.getpgid(process.pid) != os.getpgid(daemon)
                if alone and not any("guardian" in word for word in process.cmdline()):
                    found.append(process)
        return found

    return find
