"""Make a model for the tests that makes images, into the cache folder and once, and print its path.

The engine's own Python does it, which has what it takes. Run it as a module; only the path goes to stdout.
"""

import subprocess
import sys
from pathlib import Path

from modelrunner.errors import RunnerError
from scripts.fetch_test_model import cache_folder, locked
from scripts.install_test_engines import ensure

_PIPELINE = Path(__file__).with_name("random_pipeline.py")


def ensure_model(folder: Path) -> Path:
    """Make it, unless that was done before.

    Raises:
        RunnerError: the engine cannot be installed.
        OSError, subprocess.SubprocessError: the model cannot be made.
    """
    engine = ensure("diffusers", folder / "test-engines")
    models = folder / "test-models"
    models.mkdir(exist_ok=True)
    path, part = models / "random-pipeline-1.dduf", models / "random-pipeline-1.part"
    with locked(models / ".lock"):
        if not path.exists():
            subprocess.run([engine.python, "-I", _PIPELINE, part], stdout=sys.stderr, check=True)
            part.replace(path)
    return path


def main() -> int:
    try:
        print(ensure_model(cache_folder()))
    except (RunnerError, OSError, subprocess.SubprocessError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
