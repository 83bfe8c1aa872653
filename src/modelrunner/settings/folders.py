"""Where things are on each platform when nobody says: pure, from the platform and the environment."""

import os
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath

from modelrunner.errors import InvalidRequest


def home(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Find the user's home folder on `platform` (a value of `sys.platform`).

    Raises:
        InvalidRequest: none is known.
    """
    found = environ.get("USERPROFILE" if platform == "win32" else "HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where this returns "~"
    if found == "~":
        raise InvalidRequest("no home folder is known", hint="set HOME, or set MODELS_PATH and the like")
    return _pure(platform, found)


def models_dir(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the model store that Docker Model Runner uses too: `~/.docker/models`."""
    return home(platform, environ) / ".docker" / "models"


def state_dir(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the folder for what the daemon keeps between runs and nobody edits.

    Source: XDG base directory specification 0.8, `XDG_STATE_HOME`; the platforms' own conventions elsewhere.
    """
    if platform == "win32" and (local := environ.get("LOCALAPPDATA")):
        return _pure(platform, local) / "modelrunner"
    if platform == "win32":
        return home(platform, environ) / "AppData" / "Local" / "modelrunner"
    if platform == "darwin":
        return home(platform, environ) / "Library" / "Application Support" / "modelrunner"
    if (state := environ.get("XDG_STATE_HOME")) and state.startswith("/"):
        return _pure(platform, state) / "modelrunner"
    return home(platform, environ) / ".local" / "state" / "modelrunner"


def log_dir(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the folder of the daemon's log files."""
    if platform == "darwin":
        return home(platform, environ) / "Library" / "Logs" / "modelrunner"
    return state_dir(platform, environ) / "logs"


def prompt_cache_path(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the folder for what engines computed of prompts."""
    return state_dir(platform, environ) / "prompts"


def responses_path(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the file of the responses that are kept."""
    return state_dir(platform, environ) / "responses.db"


def requests_path(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the file of the requests that are recorded."""
    return state_dir(platform, environ) / "requests.db"


def engines_dir(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the folder of the engines that were installed: programs of gigabytes, which nobody edits.

    Source: XDG base directory specification 0.8, `XDG_DATA_HOME`; the platforms' own conventions elsewhere.
    """
    if platform in {"win32", "darwin"}:
        return state_dir(platform, environ) / "engines"
    if (data := environ.get("XDG_DATA_HOME")) and data.startswith("/"):
        return _pure(platform, data) / "modelrunner" / "engines"
    return home(platform, environ) / ".local" / "share" / "modelrunner" / "engines"


def history_file(platform: str, environ: Mapping[str, str]) -> PurePath:
    """Name the file of the interactive prompt's history, where Docker's own client keeps it."""
    return home(platform, environ) / ".docker" / "model" / "history"


def _pure(platform: str, text: str) -> PurePath:
    return PureWindowsPath(text) if platform == "win32" else PurePosixPath(text)
