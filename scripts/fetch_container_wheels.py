"""Obtain the wheels that the runner's image is made of, once, and print the folder that they are in.

The test of the image builds it from them, without an index. Only the path goes to stdout.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from scripts.obtaining import cache_folder, locked, tell

ROOT = Path(__file__).parent.parent
LISTS = ("build.txt", "runtime.txt")
MARKER = ".complete"


def ensure() -> Path:
    """Return the folder, filling it unless that was done for these very lists.

    Raises:
        CalledProcessError: a package cannot be downloaded.
    """
    lists = [ROOT / "requirements" / name for name in LISTS]
    text = sys.implementation.cache_tag + "".join(path.read_text() for path in lists)
    folder = cache_folder() / "container-wheels" / hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        if not (folder / MARKER).exists():
            print("fetching what the runner's image is made of", file=sys.stderr, flush=True)
            chosen = [word for path in lists for word in ("--requirement", str(path))]
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
            subprocess.run([*pip, *chosen, "--dest", str(folder)], check=True, stdout=sys.stderr)
            (folder / MARKER).touch()
    return folder


if __name__ == "__main__":
    sys.exit(tell(ensure))
