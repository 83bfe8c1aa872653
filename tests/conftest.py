"""What all tests share: the real test model."""

import contextlib
import functools
import subprocess
import sys
from pathlib import Path

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
