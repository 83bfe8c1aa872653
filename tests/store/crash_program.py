"""Kills itself with SIGKILL before its n-th change of the disk, for every n; run by test_crash.py.

usage: crash_program.py STORY DIRECTORY

Each attempt is a child of its own in a directory of its own, and lives through a story. `models`: it pulls
two models with a common layer, moves a name, removes one model, collects garbage. `upkeep`: it adopts the
file of another program, finds it damaged, sets it aside, prunes. Prints how many attempts there were; the
last one was not killed.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from modelrunner.oci.reference import parse_reference
from modelrunner.store.adopt import Way
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import make_artifact, put

FIRST = make_artifact(b"weights" * 1000, b"license", config=b'{"n":1}')
SECOND = make_artifact(b"weights" * 1000, config=b'{"n":2}')
THEIRS = b"weights" * 1000
DAMAGED = b"Weights" * 1000
CHANGES = {
    *("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"),
    "fcntl.flock",
}
LIMIT = 1000  # attempts; far more than the story has changes


async def models(root: Path) -> None:
    store = Store(root)
    await put(store, FIRST, "ai/first", "ai/moving")
    await put(store, SECOND, "ai/second")
    await store.tag(SECOND.id, parse_reference("ai/moving"))
    (store.bundle_path(FIRST.id) / "model").mkdir(parents=True)
    await store.remove("ai/first:latest")
    await store.collect_garbage(0)


async def upkeep(root: Path) -> None:
    theirs = root.parent / "theirs" / root.name  # which is none of the store's files, and not counted
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_bytes(THEIRS)
    store = Store(root)
    await store.adopt(theirs, way=Way.COPY, expected=SECOND.layers[0].digest)
    await put(store, SECOND, "ai/second")
    path = store.blob_path(SECOND.layers[0].digest)
    path.unlink()
    path.write_bytes(DAMAGED)
    (store.bundle_path(SECOND.id) / "model").mkdir(parents=True)
    await store.upkeep.set_aside(await store.upkeep.examine(await store.upkeep.survey()))
    await store.adopt(theirs, way=Way.LINK)
    await store.upkeep.prune(-1)


STORIES = {"models": models, "upkeep": upkeep}


def die_before(change: int, root: Path) -> None:
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in CHANGES and (event == "fcntl.flock" or str(root) in str(arguments[0])):
            count += 1
            if count == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def attempt(story: str, change: int, directory: Path) -> bool:
    """Live through a story in a child; whether it was killed."""
    root = directory / f"{change:04}"
    child = os.fork()
    if child == 0:
        die_before(change, root)
        asyncio.run(STORIES[story](root))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status != 0:
        raise SystemExit(f"attempt {change} failed with status {status}")
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    attempts = next(n for n in range(1, LIMIT) if not attempt(sys.argv[1], n, Path(sys.argv[2])))
    print(attempts)
