"""A DDUF file as a folder, for as long as a model is read out of it.

Source: huggingface/huggingface_hub, docs/source/en/package_reference/serialization.md, DDUF.
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

_ENTRY = re.compile(r"(?:[A-Za-z0-9_][\w.-]*/)?[A-Za-z0-9_][\w.-]*\.(?:json|model|safetensors|txt)", re.ASCII)


@contextlib.contextmanager
def unpacked(archive: Path, scratch: Path | None) -> Iterator[Path]:
    """Unpack a DDUF file for as long as it is being loaded, into a folder within `scratch`.

    Newer versions of diffusers read folders only. What a killed process has left there is removed.

    Raises:
        ValueError: it is no DDUF file, or has files that are none of a model's.
    """
    if scratch is not None:
        _sweep(scratch)
    with tempfile.TemporaryDirectory(prefix="dduf-", dir=scratch, ignore_cleanup_errors=True) as name:
        handle = os.open(name, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            _unpack(archive, Path(name))
            yield Path(name)
        finally:
            os.close(handle)


def _sweep(scratch: Path) -> None:
    for folder in scratch.glob("dduf-*"):
        with contextlib.suppress(OSError):  # another process is at it
            handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(handle)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not _ENTRY.fullmatch(entry.filename) or entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(
                        f"the DDUF file has an entry that is none of a model's: {entry.filename!r}"
                    )
                path = folder / entry.filename
                path.parent.mkdir(exist_ok=True)
                with opened.open(entry) as source, path.open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except zipfile.BadZipFile as exc:
        raise ValueError(f"the DDUF file is damaged: {exc}") from exc
