"""An engine that is a Python package: which interpreter has it, and whether it runs on this kind of machine.

The interpreter is, in this order: what the user named, the environment that the daemon installed, one at a
place of its own, `python3` on the search path.
"""

import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelrunner.engines.base import EngineSettings, EngineState, EngineStatus
from modelrunner.engines.environment import Environment, Recipe
from modelrunner.engines.interpreter import versions
from modelrunner.errors import EngineNotInstalled

_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception): .+)$", re.MULTILINE)
# The engine asks nobody about the model, which is in its folder, and tells nobody.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
APPLE = (("Darwin", "arm64"),)


@dataclass(frozen=True, slots=True)
class Kind:
    """A package, and where it runs.

    `name` is the engine's, `display` for people, `distribution` the package's. `machines` are pairs as
    `platform.system` and `platform.machine` give them, an empty machine for any; `unfit` is said elsewhere.
    `recipe` is what the daemon installs; None, it does not. `place` is where images have an interpreter.
    """

    name: str
    display: str
    distribution: str
    machines: tuple[tuple[str, str], ...]
    unfit: str
    recipe: Recipe | None = None
    place: Path | None = None
    on_path: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search; `python` is None when the engine cannot be used."""

    status: EngineStatus
    python: Path | None = None


class PythonPackage:
    """Finds the interpreter of one engine."""

    def __init__(
        self, kind: Kind, settings: EngineSettings, *, system: str | None = None, machine: str | None = None
    ) -> None:
        """`system` and `machine` are looked up when they are None."""
        here = (system or platform.system(), machine or platform.machine())
        self._kind = kind
        self._fits = any(each[0] == here[0] and each[1] in {"", here[1]} for each in kind.machines)
        self._named = settings.programs.get(kind.name)
        self._search_path = settings.search_path if kind.on_path else ""
        self._environment: Environment | None = None
        if settings.environments is not None and kind.recipe is not None:
            self._environment = Environment(settings.environments / kind.name, kind.recipe)
        self._found: Found | None = None

    @property
    def environment(self) -> Environment | None:
        """What the daemon installs; nothing where the engine does not run, or the user named a Python."""
        return self._environment if self._fits and self._named is None else None

    def probe(self) -> EngineStatus:
        """Find the interpreter; one that the daemon did not install is asked for the version, once."""
        self._found = self._find()
        return self._found.status

    def python(self) -> Path:
        """Say which interpreter runs the engine.

        Raises:
            EngineNotInstalled: none does, any more.
        """
        found = self._found
        if found is None or found.python is None or not found.python.exists():
            found = self._found = self._find()
        if found.python is None:
            raise EngineNotInstalled(
                f"{self._kind.display} cannot be started: {found.status}", hint=self._way_out()
            )
        return found.python

    def _way_out(self) -> str:
        kind = self._kind
        if self.environment is not None:
            return f"install it: `dmr install-runner --backend {kind.name}`"
        variable = f"{kind.name.upper()}_SERVER_PATH"
        return f"install `{kind.distribution}` into a Python, and name that in {variable}"

    def _find(self) -> Found:
        """Look everywhere. Source: the words are Docker Model Runner's."""
        kind = self._kind
        if not self._fits:
            return _missing(kind.unfit)
        if self._named is not None:
            return self._asked(_interpreter(self._named))
        installed = self._environment.find() if self._environment is not None else None
        if installed is not None:
            return Found(_running(kind, installed.version), installed.python)
        candidates = self._candidates()
        if kind.on_path and not candidates:
            return Found(EngineStatus(EngineState.ERROR, detail="Python not found"))
        asked = [self._asked(python) for python in candidates]
        usable = next((each for each in asked if each.python is not None), None)
        return usable or _missing("package not installed" if candidates else "")

    def _candidates(self) -> Sequence[Path]:
        place, on_path = self._kind.place, shutil.which("python3", path=self._search_path)
        found = [place] if place is not None and place.exists() else []
        return [*found, Path(on_path)] if on_path is not None else found

    def _asked(self, python: Path) -> Found:
        kind = self._kind
        if not python.exists():
            return Found(EngineStatus(EngineState.ERROR, detail=f"Python not found: `{python}`"))
        has = versions(python, (kind.distribution,))
        if has is None:
            return Found(EngineStatus(EngineState.ERROR, detail=f"`{python}` cannot be run"))
        if kind.distribution not in has:
            return _missing("package not installed")
        return Found(_running(kind, has[kind.distribution]), python)


def last_exception(display: str, words: str) -> str | None:
    """Name what an engine died of: the last exception in its output; None when there is none."""
    found = list(_EXCEPTION.finditer(words))
    return f"{display} failed: {found[-1][1].strip()}" if found else None


def _interpreter(path: Path) -> Path:
    return path / "bin" / "python" if path.is_dir() else path


def _running(kind: Kind, version: str) -> EngineStatus:
    return EngineStatus(EngineState.RUNNING, version, f"{kind.distribution} {version}")


def _missing(detail: str) -> Found:
    return Found(EngineStatus(EngineState.NOT_INSTALLED, detail=detail))
