"""Several processes in one store."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from modelrunner.store.store import Store
from modelrunner.testing.artifacts import make_artifact, put, put_blobs

PROCESSES, NAMES = 4, 8
MODEL = make_artifact(b"weights" * 100_000)
TAGGER = """
import asyncio, sys
from pathlib import Path
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.store.store import Store

async def main(root, model, who, count):
    store = Store(Path(root))
    for n in range(int(count)):
        await store.tag(Digest.parse(model), parse_reference(f"ai/p{who}:{n}"))

asyncio.run(main(*sys.argv[1:]))
"""
# Claims the first layer, writes half of it, says so, and goes on when told.
PULLER = """
import asyncio, sys
from pathlib import Path
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import make_artifact

MODEL = make_artifact(b"weights" * 100_000)
LAYER = MODEL.layers[0]
DATA = MODEL.contents[LAYER.digest]

async def halves():
    yield DATA[:300_000]
    print("half", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    yield DATA[300_000:]

async def main(root):
    store = Store(Path(root))
    async with store.claim(LAYER) as done:
        await store.write(LAYER, done, halves())

asyncio.run(main(sys.argv[1]))
"""
Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    children: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


async def test_no_name_is_lost(store: Store, spawn: Spawn) -> None:
    """Processes that give names at the same time do not overwrite each other (distribution 10.A15)."""
    await put(store, MODEL)
    children = [spawn(TAGGER, store.root, MODEL.id, who, NAMES) for who in range(PROCESSES)]

    codes = [await asyncio.to_thread(child.wait) for child in children]
    store.refresh()

    expected = {f"docker.io/ai/p{who}:{n}" for who in range(PROCESSES) for n in range(NAMES)}
    assert codes == [0] * PROCESSES
    assert {str(tag) for tag in store.snapshot.models[0].tags} == expected


async def test_a_blob_that_another_process_writes_is_waited_for(store: Store, spawn: Spawn) -> None:
    """It is not downloaded a second time."""
    layer = MODEL.layers[0]
    child = spawn(PULLER, store.root)
    assert child.stdin is not None
    assert child.stdout is not None
    await asyncio.to_thread(child.stdout.readline)
    waiting = asyncio.Event()

    async def claim() -> int:
        waiting.set()
        async with store.claim(layer) as done:
            return done

    task = asyncio.create_task(claim())
    await waiting.wait()
    child.stdin.write("\n")
    child.stdin.flush()

    assert await task == layer.size
    assert await asyncio.to_thread(child.wait) == 0


async def test_a_killed_pull_is_continued(store: Store, spawn: Spawn) -> None:
    """The lock goes with the process, the bytes stay."""
    layer = MODEL.layers[0]
    child = spawn(PULLER, store.root)
    assert child.stdout is not None
    await asyncio.to_thread(child.stdout.readline)
    partial = store.blob_path(layer.digest).with_name(f"{layer.digest.hex}.incomplete")
    there = partial.exists()
    child.send_signal(signal.SIGKILL)
    await asyncio.to_thread(child.wait)

    again = Store(store.root)
    await put_blobs(again, MODEL)

    assert there
    assert again.blob_path(layer.digest).stat().st_size == layer.size
