"""Which program serves models for llama.cpp, and what it says of itself.

It is, in this order: what the user named (`LLAMA_SERVER_PATH`), a `llama-server` on the search path, the
embedded engine of this package.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from modelrunner.engines import llamacpp_memory as memory
from modelrunner.engines.base import EngineSettings, EngineState, EngineStatus

EMBEDDED = (sys.executable, "-P", "-m", memory.EMBEDDED)

_PROBE_TIMEOUT = 10.0  # seconds; a cold binary of some hundred megabytes on a slow disk needs a few
_VERSION = re.compile(r"version: *(\S+)(?: *\(([^)]+)\))?")


@dataclass(frozen=True, slots=True)
class Program:
    """What will be started, and how the probe found it."""

    argv: tuple[str, ...]
    status: EngineStatus


class Programs:
    """Finds the program; one that has not changed is asked for its version once."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._probed: dict[tuple[str, int], EngineStatus] = {}

    def find(self) -> Program:
        """Look for it; blocks, when a program is to be asked for its version."""
        named = self._settings.server_path
        if named is not None:
            path = _in_directory(named)
            if path is None:
                detail = f"no llama-server at `{named}`"
                return Program((str(named),), EngineStatus(EngineState.ERROR, detail=detail))
            return Program((str(path),), self._version(path))
        found = shutil.which("llama-server", path=self._settings.search_path)
        if self._settings.search_path and found:
            status = self._version(Path(found))
            if status.usable:
                return Program((found,), status)
        return Program(EMBEDDED, _embedded_status())

    def _version(self, path: Path) -> EngineStatus:
        try:
            key = (str(path), path.stat().st_mtime_ns)
        except OSError as exc:
            return EngineStatus(EngineState.ERROR, detail=f"`{path}`: {exc.strerror}")
        if key not in self._probed:
            self._probed = {key: _ask_version(path)}
        return self._probed[key]


def _in_directory(path: Path) -> Path | None:
    """The server program that a setting means: the file itself, or one of the usual names in a directory."""
    if path.is_file():
        return path
    names = ("llama-server", "com.docker.llama-server", "llama-server.exe", "com.docker.llama-server.exe")
    return next((path / name for name in names if (path / name).is_file()), None)


def _ask_version(path: Path) -> EngineStatus:
    try:
        done = subprocess.run(
            [str(path), "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        detail = f"`{path} --version` gave no answer in {_PROBE_TIMEOUT:g} s"
        return EngineStatus(EngineState.ERROR, detail=detail)
    except OSError as exc:
        return EngineStatus(EngineState.ERROR, detail=f"`{path}` cannot be run: {exc.strerror}")
    output = f"{done.stderr}\n{done.stdout}"
    if done.returncode != 0:
        last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
        return EngineStatus(EngineState.ERROR, detail=f"`{path}` does not start: {last.strip()}")
    version = parse_version(output)
    return EngineStatus(EngineState.RUNNING, version, f"llama.cpp {version or 'unknown'}")


def parse_version(output: str) -> str | None:
    """The commit in `version: 6021 (3f2e8a1)`, as `--version` prints it; the number when there is none."""
    match = _VERSION.search(output)
    return (match.group(2) or match.group(1)) if match else None


def _embedded_status() -> EngineStatus:
    if util.find_spec("xllamacpp") is None:
        return EngineStatus(EngineState.NOT_INSTALLED, detail="neither llama-server nor xllamacpp is here")
    version = metadata.version("xllamacpp")
    return EngineStatus(EngineState.RUNNING, version, f"llama.cpp {version} (xllamacpp)")
