"""Real installations: `python -m venv` and pip, from a folder of wheels instead of an index."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from modelrunner.engines.environment import Environment, Recipe
from modelrunner.errors import Conflict, InstallFailed
from modelrunner.runtime.processes.installation import install

# One loop will do: processes are tested on both elsewhere, and each of these takes seconds.
pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_factories=["uvloop"])]

RECIPE = Recipe("thing", "1.0", module="thing", packages=("thing==1.0",))
# Imported, it says so in a file, and stays until a file lets it go.
WAITS = """
import os, pathlib, time
pathlib.Path(os.environ["THING"]).write_text(str(os.getpid()))
while not pathlib.Path(os.environ["THING"] + ".go").exists():
    time.sleep(0.02)
VALUE = 42
"""
INSTALLER = """
import asyncio, os, sys
from pathlib import Path
from modelrunner.engines.environment import Environment, Recipe
from modelrunner.runtime.processes.installation import install

recipe = Recipe("thing", "1.0", module="thing", packages=("thing==1.0",))
environment = Environment(Path(sys.argv[1]), recipe)
asyncio.run(install(environment, environ=os.environ, tell=print, log=print))
"""


def wheel(folder: Path, code: str) -> None:
    """Make a wheel of a module of one file."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "thing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("thing.py", code)
        info = "thing-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "THING": str(tmp_path / "imported"),
    }


def _written(path: Path) -> str:
    """What a process writes into a file, once it has."""
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def _end(pid: int) -> None:
    """Wait until a process has ended, reaped or not."""
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _imports(python: Path, variables: Mapping[str, str]) -> str:
    command = [str(python), "-c", "import thing; print(thing.VALUE)"]
    return subprocess.check_output(command, env=variables, text=True).strip()


def _installer(environment: Environment, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", INSTALLER, str(environment.folder)]
    return subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)


async def test_what_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    """An engine that cannot be imported is not installed; its own last words are the message."""
    wheel(tmp_path / "wheels", "import nothing_of_this_name")
    environment = Environment(tmp_path / "engine", RECIPE)
    logged: list[str] = []

    with pytest.raises(InstallFailed, match="trying thing: ModuleNotFoundError"):
        await install(environment, environ=environ(tmp_path), tell=lambda _: None, log=logged.append)

    assert environment.find() is None
    assert not environment.target.exists()
    assert any("Traceback" in line for line in logged)


async def test_one_that_is_cancelled_ends_its_command_and_leaves_nothing(tmp_path: Path) -> None:
    """Whoever asked has gone: neither a process nor half an environment stays."""
    wheel(tmp_path / "wheels", WAITS)
    environment = Environment(tmp_path / "engine", RECIPE)
    task = asyncio.create_task(
        install(environment, environ=environ(tmp_path), tell=lambda _: None, log=lambda _: None)
    )
    pid = int(await asyncio.to_thread(_written, tmp_path / "imported"))
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert not psutil.pid_exists(pid)
    assert not environment.target.exists()


async def test_after_kill_nine_nothing_is_installed_and_the_next_one_succeeds(tmp_path: Path) -> None:
    """The installer is killed at the last step: its command dies with it, and half is not taken for whole.

    Until then, another process is told that it is not alone. The next one says what it does, in sentences.
    """
    wheel(tmp_path / "wheels", WAITS)
    environment = Environment(tmp_path / "engine", RECIPE)
    variables = environ(tmp_path)
    installer = _installer(environment, variables)
    pid = int(await asyncio.to_thread(_written, tmp_path / "imported"))
    with pytest.raises(Conflict, match="another process"):
        await install(environment, environ=variables, tell=lambda _: None, log=lambda _: None)
    half = environment.target.exists()
    installer.send_signal(signal.SIGKILL)
    await asyncio.to_thread(installer.wait)
    await asyncio.to_thread(_end, pid)
    between = environment.find()
    (tmp_path / "imported.go").touch()
    told: list[str] = []
    await install(environment, environ=variables, tell=told.append, log=lambda _: None)
    found = environment.find()

    assert half
    assert between is None
    assert found is not None
    assert _imports(found.python, variables) == "42"
    installing = "installing thing 1.0"
    assert told == ["making an environment", installing, f"{installing}: unpacking", "trying thing"]
