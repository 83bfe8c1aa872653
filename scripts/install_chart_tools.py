"""Install what renders and checks the Helm chart, once, into an environment of its own, and print its Python.

It is Helm's own library, without its program, and the JSON schemas of Kubernetes: hundreds of megabytes that
only the chart's tests need. Only the path goes to stdout.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from scripts.obtaining import cache_folder, locked, tell

LIST = Path(__file__).parent.parent / "requirements" / "chart.txt"


def ensure() -> Path:
    """Return the Python that has them.

    Raises:
        CalledProcessError: they cannot be installed.
    """
    digest = hashlib.sha256(LIST.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache_folder() / "chart-tools" / digest
    python, marker = folder / "bin" / "python", folder / ".complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / ".lock"):
        if not marker.exists():
            print("installing what checks the Helm chart", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, stdout=sys.stderr)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            hashed = ["--require-hashes", "--requirement", str(LIST)]
            subprocess.run([*pip, *hashed], check=True, stdout=sys.stderr)
            marker.touch()
    return python


if __name__ == "__main__":
    sys.exit(tell(ensure))
