"""What all tests share: the real test model, and a look at the processes of a daemon."""

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "fetch_test_model.py"


@functools.cache
def _fetch() -> Path:
    done = subprocess.run([sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the model before the first test that wants it, outside of the tests' time limits."""
    wanted = any("smollm2" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        # Without a network only those tests fail, and say so; the others still run.
        with contextlib.suppress(subprocess.CalledProcessError):
            _fetch()


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct in Q4_1: 98 MB, read only."""
    return _fetch()


@pytest.fixture
def engines_of() -> Callable[[int], list[psutil.Process]]:
    """Find the processes of the engines of a daemon, by its number; its guardian is none."""

    def find(daemon: int) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(daemon).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                if not any("guardian" in word for word in process.cmdline()):
                    found.append(process)
        return found

    return find
