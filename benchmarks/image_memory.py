"""Estimated against measured memory of the engine for images, at its peak, in several sizes.

The model is of random numbers and tiny, so that what is measured is the work on an image, which is what
grows. The estimate is for the largest image that is allowed: of a smaller one it is far above, never below.
"""

import os
import signal
import subprocess
from pathlib import Path

from benchmarks.daemons import awaited, free_port, post
from benchmarks.figures import Figure, show
from modelrunner.engines.base import Address, EngineSettings, Options
from modelrunner.engines.diffusers import Diffusers
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.runtime.memory import devices
from scripts.make_image_model import ensure_model
from scripts.obtaining import cache_folder

SIZES = ("256x256", "512x512", "544x512")  # whole, the largest that is, in tiles
LARGEST = "1024x1024"  # minutes of two cores: attention takes the square of the pixels
MIB = 1 << 20


def measure(size: str) -> tuple[int, int]:
    """The estimate, and the peak of a process that has made one image, in bytes."""
    engine = Diffusers(EngineSettings(environments=cache_folder() / "test-engines"))
    model = ensure_model(cache_folder())
    bundle = Bundle(model.parent, ModelConfig(format=Format.DDUF), (model,))
    expected = engine.estimate(bundle, Mode.IMAGE, Options(), devices())
    assert expected is not None
    port = free_port()
    launch = engine.launch(bundle, Mode.IMAGE, Options(name="noise"), Address(port=port))
    with subprocess.Popen(
        launch.argv, env={**os.environ, **launch.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            awaited(process, port)
            asked = {"model": "noise", "prompt": "a cat", "size": size, "num_inference_steps": 1}
            post(port, "/v1/images/generations", asked)
            return expected.total, _peak(process.pid)
        finally:
            process.send_signal(signal.SIGKILL)


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10


def main() -> bool:
    """Each size is one figure; the largest only where DMR_BENCH_LARGEST asks for it."""
    ratios = []
    sizes = (*SIZES, LARGEST) if os.environ.get("DMR_BENCH_LARGEST") else SIZES
    for size in sizes:
        expected, measured = measure(size)
        ratios.append(expected / measured)
        print(f"  {size:<12}{expected / MIB:>9.1f}{measured / MIB:>9.1f}{ratios[-1]:>7.3f}", flush=True)
    return show(
        "images: estimate / measured peak", [Figure("lowest of all", (min(ratios),), "x", at_least=0.95)]
    )


if __name__ == "__main__":
    main()
