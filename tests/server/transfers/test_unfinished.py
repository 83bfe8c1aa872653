"""What is under way is written down, and told of by the next daemon."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import pytest

from modelrunner.errors import RegistryError
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.server.transfers.unfinished import Unfinished
from modelrunner.store.locks import FileLock
from modelrunner.wire.transfers import ProgressLine

BLOB = str(Digest.of(b"weights"))
NOW = 1_700_000_000.0
LINE: ProgressLine = {
    "type": "progress",
    "message": "",
    "total": 100,
    "layer": {"id": BLOB, "size": 80, "current": 1},
    "mode": "pull",
}


async def _missing(blobs: Sequence[Descriptor]) -> int:
    return sum(blob.size for blob in blobs) - (30 if blobs else 0)


def _open(folder: Path, now: float = NOW) -> Unfinished:
    unfinished = Unfinished(
        folder / "transfers.json", FileLock(folder / "transfers.lock"), _missing, wall=lambda: now
    )
    unfinished.open()
    return unfinished


async def _lines(*lines: ProgressLine | Exception) -> AsyncGenerator[ProgressLine, None]:
    for line in lines:
        if isinstance(line, Exception):
            raise line
        yield line


async def _leave(folder: Path, *kinds: str) -> None:
    """Have a daemon end with a transfer of each kind under way."""
    unfinished = _open(folder)
    under_way = [
        unfinished.kept(kind, "ai/x", _lines(LINE, LINE))  # type: ignore[arg-type]  # pull or push
        for kind in kinds
    ]
    for lines in under_way:
        await anext(lines)
    unfinished.end()
    for lines in under_way:
        await lines.aclose()
    unfinished.close()


async def test_what_a_daemon_did_not_finish_the_next_one_tells_of(tmp_path: Path) -> None:
    """How far a pull is, the store says; of a push only the other side knows."""
    await _leave(tmp_path, "pull", "push")

    push, pull = await _open(tmp_path).views()

    assert ("pull", "ai/x", "interrupted", 30, 100) == (
        pull["kind"],
        pull["model"],
        pull["state"],
        pull["done"],
        pull["total"],
    )
    assert ("push", 0, 100) == (push["kind"], push["done"], push["total"])
    assert pull["began"] == "2023-11-14T22:13:20.000Z"


@pytest.mark.parametrize("last", [LINE, RegistryError("no")])
async def test_what_ends_by_itself_leaves_nothing(tmp_path: Path, last: ProgressLine | Exception) -> None:
    """Whether it worked or not, and when whoever wanted it leaves."""
    unfinished = _open(tmp_path)
    lines = unfinished.kept("pull", "ai/x", _lines(LINE, last))
    await anext(lines)
    assert (tmp_path / "transfers.json").exists()
    with contextlib.suppress(RegistryError):
        async for _ in lines:
            pass
    async with contextlib.aclosing(unfinished.kept("pull", "ai/y", _lines(LINE, LINE))) as left:
        await anext(left)

    assert not (tmp_path / "transfers.json").exists()


async def test_a_new_try_takes_its_place_and_it_can_be_forgotten(tmp_path: Path) -> None:
    await _leave(tmp_path, "pull", "push")
    unfinished = _open(tmp_path)

    lines = unfinished.kept("pull", "ai/x", _lines(LINE))
    await anext(lines)
    (push,) = await unfinished.views()
    forgotten = await unfinished.forget(push["id"])
    assert forgotten == push
    assert await unfinished.forget(push["id"]) is None
    assert ["pull"] == [
        each["kind"] for each in json.loads((tmp_path / "transfers.json").read_text())["transfers"]
    ]
    async for _ in lines:
        pass

    assert ([], False) == (await unfinished.views(), (tmp_path / "transfers.json").exists())


async def test_it_is_told_of_as_long_as_the_store_keeps_what_has_come(tmp_path: Path) -> None:
    await _leave(tmp_path, "pull")

    assert await _open(tmp_path, NOW + 8 * 86400).views() == []


async def test_a_second_daemon_on_the_store_leaves_the_file_alone(tmp_path: Path) -> None:
    """What the first one is doing has not been interrupted."""
    first, second = _open(tmp_path), _open(tmp_path)
    under_way = first.kept("pull", "ai/x", _lines(LINE, LINE))
    await anext(under_way)
    before = (tmp_path / "transfers.json").read_bytes()

    await anext(second.kept("pull", "ai/y", _lines(LINE)))

    assert (await second.views(), (tmp_path / "transfers.json").read_bytes()) == ([], before)


@pytest.mark.parametrize("data", [b"", b"no json", b"[]", b'{"transfers":[{"kind":1}]}', b"\xff"])
async def test_a_damaged_file_is_as_none(tmp_path: Path, data: bytes) -> None:
    """No pull is refused for its sake."""
    (tmp_path / "transfers.json").write_bytes(data)
    unfinished = _open(tmp_path)

    assert await unfinished.views() == []
    async for _ in unfinished.kept("pull", "ai/x", _lines(LINE)):
        assert "ai/x" in (tmp_path / "transfers.json").read_text()


_MAKE_PIPE = getattr(os, "mkfifo", None)  # not on Windows


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("make", [Path.mkdir, _MAKE_PIPE, lambda path: path.symlink_to("/dev/zero")])
async def test_what_is_no_file_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    """A pipe is not waited for, and no pull is refused for its sake."""
    make(tmp_path / "transfers.json")
    before = (tmp_path / "transfers.json").lstat()

    unfinished = _open(tmp_path)
    assert [LINE] == [line async for line in unfinished.kept("pull", "ai/x", _lines(LINE))]

    assert "not a regular file" in caplog.text
    assert os.path.samestat(before, (tmp_path / "transfers.json").lstat())


async def test_a_disk_that_takes_no_more_stops_no_transfer(tmp_path: Path) -> None:
    unfinished = _open(tmp_path)
    (tmp_path / "transfers.json").mkdir()

    async with asyncio.timeout(5):
        assert [LINE] == [line async for line in unfinished.kept("pull", "ai/x", _lines(LINE))]
