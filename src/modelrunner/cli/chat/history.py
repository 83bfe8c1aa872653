"""The prompts of earlier chats, in a file of one line each, where Docker's client keeps them too."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_KEPT = 100  # lines


def load(path: Path) -> list[str]:
    """Read the lines, oldest first; none when the file is missing or unreadable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-_KEPT:]
    except OSError:
        return []


def save(path: Path, lines: Sequence[str]) -> None:
    """Write the last hundred lines, readable by their owner only. What cannot be saved is only a comfort."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".history-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(f"{' '.join(line.splitlines())}\n" for line in lines[-_KEPT:])
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
