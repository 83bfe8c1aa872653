"""`version`: of the client and of the daemon it talks to."""

import os
import sys
from collections.abc import Mapping

from modelrunner import __version__
from modelrunner.cli.output import clean, emit, note, say, standard_json
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.errors import RunnerError

_PATIENCE = 5.0  # seconds
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "AMD64": "amd64", "ARM64": "arm64"}
_SYSTEMS = {"win32": "windows"}


def configure(parser: Parser) -> None:
    """Take nothing."""
    parser.words("", most=0)
    parser.switch("--json", help="Format output in JSON")


def run(args: Namespace, session: Session) -> int:
    """Print both versions; a daemon that is not there is no failure."""
    try:
        server = f"v{clean(session.client(start=False, patience=_PATIENCE).version()).removeprefix('v')}"
    except RunnerError:
        server = ""
    if args.json:
        client = {"Version": f"v{__version__}", "OS/Arch": system(session.environ)}
        there = {"Version": server or None, "Engine": session.endpoint.kind}
        emit(standard_json({"Client": client, "Server": there}))
        return 0
    say(f"Client:\n Version:    v{__version__}\n OS/Arch:    {system(session.environ)}\n")
    say(f"Server:\n Version:    {server or '(not reachable)'}\n Engine:     {session.endpoint.kind}")
    if server not in {"", f"v{__version__}"}:
        note("\nThe two differ: what one knows the other may lack. A restart of the daemon may help.")
    return 0


def system(environ: Mapping[str, str]) -> str:
    """Name operating system and processor as Go does: `linux/amd64`."""
    machine = environ.get("PROCESSOR_ARCHITECTURE", "") if sys.platform == "win32" else os.uname().machine
    return f"{_SYSTEMS.get(sys.platform, sys.platform)}/{_MACHINES.get(machine, machine)}"
