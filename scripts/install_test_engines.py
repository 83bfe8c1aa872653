"""Install vLLM for the tests, into the cache folder and once, and print the folder of engines.

It is what `dmr install-runner --backend vllm` does, where the tests' daemons find it. Run it as a module,
`python -m scripts.install_test_engines`; only the path goes to stdout.
"""

import asyncio
import os
import sys
from pathlib import Path

from modelrunner.engines.base import EngineSettings
from modelrunner.engines.vllm import Vllm
from modelrunner.errors import RunnerError
from modelrunner.runtime.installation import install
from scripts.fetch_test_model import cache_folder, locked


def ensure(folder: Path) -> None:
    """Install it, unless that was done before.

    Raises:
        RunnerError: it cannot be installed.
    """
    environment = Vllm(EngineSettings(environments=folder), gpu=False).environment
    assert environment is not None, "vLLM runs on Linux only"
    with locked(folder / ".lock"):
        found = environment.find()
        if found is not None and found.current:
            return
        print("installing vLLM for the tests (2.4 GB, some minutes)", file=sys.stderr, flush=True)
        asyncio.run(install(environment, environ=os.environ, tell=_tell, log=lambda _: None))
        environment.remove(older=True)


def _tell(sentence: str) -> None:
    if "package" not in sentence:
        print(f"  {sentence}", file=sys.stderr, flush=True)


def main() -> int:
    folder = cache_folder() / "test-engines"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        ensure(folder)
    except (RunnerError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
