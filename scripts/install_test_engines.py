"""Install an engine for the tests, into the cache folder and once, and print the folder of engines.

It is what `dmr install-runner --backend ENGINE` does, where the tests' daemons find it. Run it as a module,
`python -m scripts.install_test_engines ENGINE`; only the path goes to stdout.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from modelrunner.engines.base import EngineSettings, Installable
from modelrunner.engines.diffusers import Diffusers
from modelrunner.engines.environment import Installed
from modelrunner.engines.mlx import Mlx
from modelrunner.engines.piper import Piper
from modelrunner.engines.vllm import Vllm
from modelrunner.engines.whisper import Whisper
from modelrunner.runtime.processes.installation import install
from scripts.obtaining import cache_folder, locked, tell

ENGINES: Mapping[str, Callable[[EngineSettings], Installable]] = {
    "vllm": partial(Vllm, gpu=False),
    "diffusers": Diffusers,
    "mlx": Mlx,
    "whisper": Whisper,
    "piper": Piper,
}


def ensure(name: str, folder: Path) -> Installed:
    """Install an engine, unless that was done before.

    Raises:
        RunnerError: it cannot be installed.
    """
    environment = ENGINES[name](EngineSettings(environments=folder)).environment
    assert environment is not None, f"{name} does not run here"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        found = environment.find()
        if found is None or not found.current:
            print(f"installing {name} for the tests (up to some GB and minutes)", file=sys.stderr, flush=True)
            asyncio.run(install(environment, environ=os.environ, tell=_tell, log=lambda _: None))
            environment.remove(older=True)
            found = environment.find()
    assert found is not None
    return found


def _tell(sentence: str) -> None:
    if "package" not in sentence:
        print(f"  {sentence}", file=sys.stderr, flush=True)


def ensure_all(names: Sequence[str]) -> Path:
    folder = cache_folder() / "test-engines"
    for name in names:
        ensure(name, folder)
    return folder


if __name__ == "__main__":
    sys.exit(tell(lambda: ensure_all(sys.argv[1:])))
