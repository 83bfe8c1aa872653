"""An engine's own Python environment: what goes into it, by which commands, and whether it is whole.

    <folder>/<engine>/<name>-<version>-<digest>/    of `python -m venv`; whole when it has `installed.json`

The marker comes last and at once, so that whatever interrupts an installation leaves something that nobody
takes for an engine. Nothing is run here: `steps` are commands for `runtime/processes/installation.py`.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modelrunner.errors import InstallFailed

MARKER = "installed.json"
LISTS = Path(__file__).parent / "requirements"

_PIP = ("-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off")
_WHEELS = ("--only-binary", ":all:")  # what would be built from source runs code of its own while it is


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment is made of. `name` and `version` are those of the package that is the engine.

    `lists` are files of requirements with hashes, complete, so that pip need not look at what they depend on;
    `packages` are `name==version`, installed afterwards with what they depend on. `module` is what has to be
    importable in the end.
    """

    name: str
    version: str
    module: str
    lists: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that is whole. `current` tells whether it is what would be installed today."""

    folder: Path
    name: str
    version: str
    current: bool

    @property
    def python(self) -> Path:
        """The interpreter that runs the engine."""
        return _python(self.folder)


@dataclass(frozen=True, slots=True)
class Step:
    """One command of an installation. `doing` says what it does; `packages` is how many pip will name."""

    argv: tuple[str, ...]
    doing: str
    packages: int = 0


class Environment:
    """The place of one engine's environment, and what belongs into it."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        """`folder` is the engine's own; other versions of its environment are in it too."""
        self.folder = folder
        self.recipe = recipe

    @property
    def target(self) -> Path:
        """Where this recipe is installed."""
        return self.folder / f"{self.recipe.name}-{self.recipe.version}-{_digest(self.recipe)}"

    def find(self) -> Installed | None:
        """Find one that is whole: this recipe's, else the newest that an older release installed."""
        current = _read(self.target, current=True)
        if current is not None:
            return current
        others = (_read(path, current=False) for path in _newest_first(self.folder))
        return next((found for found in others if found is not None), None)

    def steps(self) -> tuple[Step, ...]:
        """The commands that fill `target`, in order."""
        python = str(_python(self.target))
        recipe = self.recipe
        venv = Step((sys.executable, "-I", "-m", "venv", str(self.target)), "making an environment")
        lists = (
            Step(
                (python, *_PIP, *_WHEELS, "--no-deps", "--require-hashes", "--requirement", str(path)),
                f"installing {recipe.name} {recipe.version}",
                sum(not line.startswith(" ") for line in path.read_text().splitlines()),
            )
            for path in recipe.lists
        )
        packages = (
            Step((python, *_PIP, *_WHEELS, package), f"installing {package.replace('==', ' ')}")
            for package in recipe.packages
        )
        check = Step((python, "-I", "-c", f"import {recipe.module}"), f"trying {recipe.module}")
        return (venv, *lists, *packages, check)

    def begin(self) -> None:
        """Make room for `target`; what interrupted installations left is removed. Blocks.

        Raises:
            InstallFailed: the folder cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in _folders(self.folder):
                if _read(path, current=False) is None:
                    _remove(path)
        except OSError as exc:
            raise InstallFailed(f"cannot write to `{self.folder}`: {exc.strerror}") from exc

    def complete(self) -> None:
        """Declare `target` whole. Blocks, until it is on disk.

        Raises:
            InstallFailed: the folder cannot be written.
        """
        os.sync()  # thousands of files, each of which the marker vouches for
        document = {"name": self.recipe.name, "version": self.recipe.version}
        partial = self.target / f".{MARKER}"
        try:
            with partial.open("w") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.target / MARKER)
        except OSError as exc:
            raise InstallFailed(f"cannot write to `{self.target}`: {exc.strerror}") from exc

    def remove(self, *, older: bool = False) -> None:
        """Remove every version, whole or not; with `older` all but this recipe's. Blocks.

        Raises:
            InstallFailed: something cannot be removed.
        """
        try:
            for path in _folders(self.folder):
                if not older or path != self.target:
                    _remove(path)
        except OSError as exc:
            raise InstallFailed(f"cannot remove `{self.folder}`: {exc.strerror}") from exc

    def disk_usage(self) -> int:
        """The bytes of all files in the engine's folder. Blocks."""
        return sum(_sizes(self.folder))


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _read(folder: Path, *, current: bool) -> Installed | None:
    """Read the marker; an environment whose base interpreter is gone is none any more."""
    try:
        document = json.loads((folder / MARKER).read_text())
        name, version = str(document["name"]), str(document["version"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Installed(folder, name, version, current) if _python(folder).exists() else None


def _remove(folder: Path) -> None:
    """The marker goes first: half of what is being removed is no environment."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _newest_first(folder: Path) -> list[Path]:
    return sorted(_folders(folder), key=_changed_at, reverse=True)


def _changed_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0  # it is being removed


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(parent, name).lstat().st_size
            except OSError:
                continue  # it is being removed


@cache
def _digest(recipe: Recipe) -> str:
    """Tell recipes apart, and interpreters, whose environments do not serve one another."""
    parts = [recipe.module, *recipe.packages, *(path.read_text() for path in recipe.lists)]
    parts.append(f"{sys.implementation.cache_tag}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
