"""A Python that is not ours: which distributions it has, asked once, in a process; what it reads."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

_PATIENCE = 10.0  # seconds; a cold interpreter on a slow disk needs a few
_ASK = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def versions(python: Path, names: Sequence[str]) -> Mapping[str, str] | None:
    """The versions of those distributions that an interpreter has; None when it cannot be run. Blocks."""
    try:
        changed = python.stat().st_mtime_ns
    except OSError:
        return None
    return _versions(python, tuple(names), changed)


def places(program: Path) -> tuple[Path, ...]:
    """What a program of an environment reads: that, and the Python that it was made with.

    A program that lies elsewhere, `~/bin` say, is no reason to open what is around it.
    """
    environment, python = program.parent.parent, program.with_name("python")
    if not any((environment / name).exists() for name in ("pyvenv.cfg", "conda-meta")):
        return ()
    base = python.resolve().parent.parent
    return (environment, base / "bin", base / "lib") if python.is_symlink() else (environment,)


@lru_cache(maxsize=16)
def _versions(python: Path, names: tuple[str, ...], _changed: int) -> Mapping[str, str] | None:
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _ASK, *names],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=True,
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else None
