"""The main job, end to end: a GGUF file becomes an OCI artifact, and answers.

Starts a daemon of its own on a free port with a store in a temporary folder, packages the test model, asks it
a question and stops everything again. Each step prints a line with the time that it took.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from modelrunner.testing.daemon import BIN, running

ROOT = Path(__file__).parent.parent
FETCH = [sys.executable, "-m", "scripts.fetch_test_model"]
MODEL = "demo/smollm2"
PROMPT = "What is the capital of France? Answer in one sentence."


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print what is being done, and how long it took."""
    started = time.monotonic()
    yield
    print(f"  {title:<58} {time.monotonic() - started:6.2f} s", flush=True)


def main() -> None:
    """Run the steps."""
    print("Model Runner demo", flush=True)
    with step("obtain the test model (SmolLM2-135M-Instruct, Q4_1)"):
        done = subprocess.run(FETCH, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    with tempfile.TemporaryDirectory(prefix="dmr-demo-") as name, contextlib.ExitStack() as stack:
        with step("start a daemon with an empty store"):
            runner = stack.enter_context(running(Path(name)))
        with step("package the GGUF file as an OCI artifact"):
            runner.must("package", "--gguf", done.stdout.strip(), MODEL)
            runner.must("configure", MODEL, "--", "--temp", "0", "--predict", "64")
            runner.must("unload", MODEL)  # configuring has begun to load it
        with step("list what is stored"):
            listed = runner.must("list")
        print(f"\n{listed}\n> {PROMPT}", flush=True)
        started = time.monotonic()
        subprocess.run([BIN / "dmr", "run", MODEL, PROMPT], env=runner.environ, check=True)
        print()
        print(f"  {'load the engine on demand, stream the answer':<58} {time.monotonic() - started:6.2f} s")
        with step("unload the model"):
            runner.must("unload", MODEL)
        with step("stop the daemon"):
            stack.close()
    print(f"done; nothing is left running, and the model's file stays at\n{done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
