"""A prompt in the user's own editor."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

_DEFAULT = "notepad" if sys.platform == "win32" else "vi"


def edit(text: str, command: str | None) -> str:
    """Open `text` with an editor command such as `code --wait`; the text unchanged when that fails."""
    descriptor, name = tempfile.mkstemp(prefix="docker-model-prompt-", suffix=".txt")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        done = subprocess.run([*shlex.split(command or _DEFAULT), name], check=False)
        if done.returncode != 0:
            return text
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        return text
    finally:
        path.unlink(missing_ok=True)
