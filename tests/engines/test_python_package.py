"""Where the Python is that has an engine, and what the status says."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelrunner.engines.base import EngineSettings, EngineState
from modelrunner.engines.environment import Recipe
from modelrunner.engines.python_package import Kind, PythonPackage, last_exception
from modelrunner.errors import EngineNotInstalled

RECIPE = Recipe("acme-serve", "1.2", module="acme")


def _kind(**more: Any) -> Kind:
    usual: dict[str, Any] = {
        "name": "acme",
        "display": "Acme",
        "distribution": "acme-serve",
        "machines": (("Linux", ""), ("Darwin", "arm64")),
        "unfit": "only supported on Linux and Apple Silicon",
    }
    return Kind(**(usual | more))


def _python(path: Path, versions: dict[str, str] | None) -> Path:
    """An interpreter that answers with these versions, or that cannot be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = "exit 1" if versions is None else f"echo '{json.dumps(versions)}'"
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


def _find(kind: Kind, settings: EngineSettings, machine: tuple[str, str] = ("Linux", "x86_64")) -> str:
    return str(PythonPackage(kind, settings, system=machine[0], machine=machine[1]).probe())


@pytest.mark.parametrize(
    ("machine", "status"),
    [
        (("Linux", "x86_64"), "Not Installed"),
        (("Linux", "aarch64"), "Not Installed"),
        (("Darwin", "arm64"), "Not Installed"),
        (("Darwin", "x86_64"), "Not Installed: only supported on Linux and Apple Silicon"),
        (("Windows", "AMD64"), "Not Installed: only supported on Linux and Apple Silicon"),
    ],
)
def test_a_machine_that_it_does_not_run_on_is_told(
    tmp_path: Path, machine: tuple[str, str], status: str
) -> None:
    """Nothing is installed there either."""
    settings = EngineSettings(environments=tmp_path)
    package = PythonPackage(_kind(recipe=RECIPE), settings, system=machine[0], machine=machine[1])

    assert str(package.probe()) == status
    assert (package.environment is None) == status.endswith("Silicon")


def test_the_environment_of_the_daemon_is_found(tmp_path: Path) -> None:
    """Its version is known without asking; once it is removed, nothing is started."""
    package = PythonPackage(_kind(recipe=RECIPE), EngineSettings(environments=tmp_path), system="Linux")
    environment = package.environment
    assert environment is not None
    environment.begin()
    python = environment.target / "bin" / "python"
    _python(python, None)
    environment.complete()

    assert str(package.probe()) == "Running: acme-serve 1.2"
    assert package.python() == python
    environment.remove()
    with pytest.raises(EngineNotInstalled, match="Acme cannot be started: Not Installed") as caught:
        package.python()
    assert "dmr install-runner --backend acme" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("versions", "status"),
    [
        ({"acme-serve": "3"}, "Running: acme-serve 3"),
        ({"other": "3"}, "Not Installed: package not installed"),
        (None, "Error: `{python}` cannot be run"),
    ],
)
def test_what_the_user_named_is_asked(tmp_path: Path, versions: dict[str, str] | None, status: str) -> None:
    """A Python, or an environment; nothing else is looked at, and nothing installed."""
    python = _python(tmp_path / "env" / "bin" / "python", versions)
    for named in (python, tmp_path / "env"):
        settings = EngineSettings(programs={"acme": named}, environments=tmp_path / "engines")
        package = PythonPackage(_kind(recipe=RECIPE), settings, system="Linux")

        assert str(package.probe()) == status.format(python=python)
        assert package.environment is None


def test_what_the_user_named_may_not_be_there(tmp_path: Path) -> None:
    """An error, with the path."""
    settings = EngineSettings(programs={"acme": tmp_path / "absent"})

    assert _find(_kind(), settings) == f"Error: Python not found: `{tmp_path / 'absent'}`"


def test_a_place_of_its_own_goes_before_the_search_path(tmp_path: Path) -> None:
    """Either will do if it has the package; the way out names the variable."""
    place, folder = tmp_path / "place" / "python3", tmp_path / "folder"
    kind = _kind(place=place, on_path=True)
    settings = EngineSettings(search_path=str(folder))
    statuses = [_find(kind, settings)]
    on_path = _python(folder / "python3", {})
    statuses.append(_find(kind, settings))
    package = PythonPackage(kind, settings, system="Linux")
    with pytest.raises(EngineNotInstalled) as caught:
        package.python()
    _python(place, {"acme-serve": "1"})
    statuses.append(_find(kind, settings))
    _python(place, {})
    _python(on_path, {"acme-serve": "2"})
    statuses.append(_find(kind, settings))

    assert statuses == [
        "Error: Python not found",
        "Not Installed: package not installed",
        "Running: acme-serve 1",
        "Running: acme-serve 2",
    ]
    assert "ACME_SERVER_PATH" in (caught.value.hint or "")


def test_the_search_path_is_not_looked_at_for_every_engine(tmp_path: Path) -> None:
    """Only for those that say so."""
    _python(tmp_path / "python3", {"acme-serve": "2"})

    assert _find(_kind(), EngineSettings(search_path=str(tmp_path))) == "Not Installed"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", None),
        ("hello\nworld\n", None),
        ("Traceback\nValueError: a\n\nRuntimeError: b\nbye\n", "Acme failed: RuntimeError: b"),
        ("[2026-11-28 07:00:00] torch.OutOfMemoryError: CUDA out of memory.", None),
        ("torch.OutOfMemoryError: CUDA out of memory.", "Acme failed: OutOfMemoryError: CUDA out of memory."),
    ],
)
def test_the_last_exception_is_the_cause(words: str, sentence: str | None) -> None:
    """By its type and its text; a line that only mentions one is none."""
    assert last_exception("Acme", words) == sentence


def test_a_python_that_is_gone_is_an_error_in_the_status(tmp_path: Path) -> None:
    """The state is one that clients know."""
    package = PythonPackage(_kind(), EngineSettings(programs={"acme": tmp_path}), system="Linux")

    assert package.probe().state is EngineState.ERROR
