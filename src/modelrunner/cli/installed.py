"""Where the runner containers are that `install-runner` made: written by it, read by every command.

Without this each command would have to ask docker, which takes longer than the command itself.
"""

from pathlib import Path
from typing import NamedTuple

from modelrunner.cli import json_file


class Installed(NamedTuple):
    """A runner in a container; one that was stopped has port 0.

    `gateway` is the address by which other containers reach it, if there is one.
    """

    host: str
    port: int
    gateway: str | None = None
    options: str = ""  # what it was made of, as it is kept in its label


def path_in(folder: Path) -> Path:
    """Name the file in docker's configuration folder."""
    return folder / "model" / "runners.json"


def read(path: Path, engine: str) -> Installed | None:
    """Tell where the runner of a Docker Engine is, which is named by its address; None when there is none.

    Raises:
        StoreError: the file cannot be read.
    """
    entry = json_file.read(path).get(engine)
    if entry is None:
        return None
    fields = entry if isinstance(entry, dict) else {}
    host, port, gateway, options = (fields.get(key) for key in ("host", "port", "gateway", "options"))
    if not isinstance(host, str) or not isinstance(port, int):
        raise json_file.broken(path, f"the runner of `{engine}` has no address")
    return Installed(
        host,
        port,
        gateway if isinstance(gateway, str) else None,
        options if isinstance(options, str) else "",
    )


def write(path: Path, engine: str, runner: Installed | None) -> None:
    """Remember the runner of an engine, or that it has none any more."""
    if runner is None and engine not in json_file.read(path):
        return
    with json_file.changing(path) as document:
        document.pop(engine, None)
        if runner is not None:
            document[engine] = {
                "host": runner.host,
                "port": runner.port,
                "gateway": runner.gateway,
                "options": runner.options,
            }
