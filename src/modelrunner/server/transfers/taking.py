"""A file of somebody on this machine becomes a blob without passing through a connection: it is read once.

Whoever asks says which file it is, as the system sees it, so that one of the same name in another machine or
another container is not taken for it.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

from modelrunner.errors import InvalidRequest
from modelrunner.server.connection.progress import success_line
from modelrunner.store.adopt import Way
from modelrunner.store.store import Store
from modelrunner.wire.transfers import ProgressLine, TakeRequest

_EVERY = 0.1  # seconds between two lines


async def take_file(store: Store, wanted: TakeRequest) -> AsyncGenerator[ProgressLine, None]:
    """Bring a file in as a blob; the last line's message is its digest.

    It shares the file's blocks where the file system can; with `link` it is the file itself.

    Raises:
        InvalidRequest: the file is not here, is another one, or was written to meanwhile.
        InsufficientStorage: a copy does not fit.
        StoreError: the disk refuses.
    """
    path = Path(wanted["path"])
    await asyncio.to_thread(_check, path, wanted)
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more

    way = Way.LINK if wanted.get("link", False) else Way.REFLINK
    task = asyncio.create_task(store.adopt(path, way=way, count=count))
    try:
        while not (await asyncio.wait([task], timeout=_EVERY))[0]:
            yield _line(min(done, wanted["size"]), wanted["size"])
        adopted = await task
        await asyncio.to_thread(_check, path, wanted)
    finally:
        task.cancel()
        await asyncio.wait([task])
    yield success_line(str(adopted.digest), "pull")


def _check(path: Path, wanted: TakeRequest) -> None:
    try:
        found = path.stat()
    except (OSError, ValueError) as exc:
        raise _absent(path) from exc
    seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    meant = (wanted["device"], wanted["inode"], wanted["size"], wanted["modified"])
    if not path.is_absolute() or seen != meant or not os.access(path, os.R_OK):
        raise _absent(path)


def _absent(path: Path) -> InvalidRequest:
    return InvalidRequest(
        f"the daemon does not see this file: `{path}`",
        hint="send it as an archive, with `POST /models/load`",
    )


def _line(done: int, size: int) -> ProgressLine:
    return {
        "type": "progress",
        "message": "",
        "total": size,
        "layer": {"id": "file", "size": size, "current": done},
        "mode": "pull",
    }
