"""Make a model for the tests that makes images, into the cache folder and once, and print its path.

The engine's own Python does it, which has what it takes. Run it as a module; only the path goes to stdout.
"""

import subprocess
import sys
from pathlib import Path

from scripts.install_test_engines import ensure
from scripts.obtaining import cache_folder, locked, tell

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


if __name__ == "__main__":
    sys.exit(tell(lambda: ensure_model(cache_folder())))
