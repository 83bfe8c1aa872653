import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelrunner.errors import DigestMismatch, StoreError
from modelrunner.oci.chunks import Span
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.store.blobs import Blobs
from modelrunner.store.landing import Ahead
from modelrunner.store.locks import Turns

CONTENT = os.urandom(100_000)
BLOB = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", Turns(tmp_path / ".locks"))


def _names(blobs: Blobs) -> list[str]:
    return sorted(path.name.replace(BLOB.digest.hex, "x") for path in (blobs.directory / "sha256").iterdir())


async def test_pieces_land_in_any_order(blobs: Blobs) -> None:
    """The blob is verified, read-only, and nothing is left beside it."""
    async with blobs.land(BLOB) as landing:
        assert landing is not None
        for start in (40_000, 80_000, 0, 60_000, 20_000):
            await landing.put(
                start, [CONTENT[start : start + 7_000], CONTENT[start + 7_000 : start + 20_000]]
            )
        await landing.finish()

    assert CONTENT == blobs.path(BLOB.digest).read_bytes()
    assert 0o444 == blobs.path(BLOB.digest).stat().st_mode & 0o777
    assert ["x"] == _names(blobs)


async def test_what_landed_is_there_for_the_next_attempt(blobs: Blobs) -> None:
    """Also what was behind a gap."""
    async with blobs.land(BLOB) as landing:
        assert landing is not None
        await landing.put(0, [CONTENT[:10]])
        await landing.put(50_000, [CONTENT[50_000:60_000]])
    assert 10_010 == BLOB.size - blobs.missing_bytes([BLOB])

    async with blobs.land(BLOB) as landing:
        assert landing is not None
        assert landing.resumed
        assert (Span(0, 10), Span(50_000, 60_000)) == landing.present
        await landing.put(10, [CONTENT[10:50_000]])
        await landing.put(60_000, [CONTENT[60_000:]])
        await landing.finish()

    assert CONTENT == blobs.path(BLOB.digest).read_bytes()


async def test_wrong_bytes_are_deleted(blobs: Blobs) -> None:
    """With their journal."""
    async with blobs.land(BLOB) as landing:
        assert landing is not None
        await landing.put(0, [bytes(BLOB.size)])
        with pytest.raises(DigestMismatch):
            await landing.finish()

    assert [] == _names(blobs)


async def test_a_disk_that_refuses_is_told_of_by_whatever_comes_next(blobs: Blobs) -> None:
    """The writing goes on beside; what it could write stays, and nothing of the rest is held in memory."""
    async with blobs.land(BLOB) as landing:
        assert landing is not None
        with _files_up_to(50_000):
            await landing.put(0, [CONTENT[:50_000]])
            await landing.put(50_000, [CONTENT[50_000:]])
            with pytest.raises(StoreError, match="File too large"):
                await landing.finish()
        with pytest.raises(StoreError, match="File too large"):
            await landing.put(50_000, [CONTENT[50_000:]])

    assert 0 == blobs._ahead.held
    async with blobs.land(BLOB) as landing:
        assert landing is not None
        assert (Span(0, 50_000),) == landing.present
        await landing.put(50_000, [CONTENT[50_000:]])
        await landing.finish()
    assert CONTENT == blobs.path(BLOB.digest).read_bytes()


@contextmanager
def _files_up_to(size: int) -> Iterator[None]:
    """Have the system refuse to write behind `size` bytes of any file."""
    resource = pytest.importorskip("resource")  # not on Windows
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_pull_that_is_cancelled_keeps_what_it_was_given(blobs: Blobs) -> None:
    """What waits for the disk is written before the blob is let go of."""
    given = asyncio.Event()

    async def pull() -> None:
        async with blobs.land(BLOB) as landing:
            assert landing is not None
            for start in range(0, 90_000, 10_000):
                await landing.put(start, [CONTENT[start : start + 10_000]])
            given.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(pull())
    await given.wait()
    task.cancel()
    await asyncio.wait([task])

    assert 0 == blobs._ahead.held
    assert 10_000 == BLOB.size - 90_000 == blobs.missing_bytes([BLOB])


async def test_a_download_of_the_reference_is_continued(blobs: Blobs) -> None:
    """It has no journal: all of its bytes count, from the first."""
    path = blobs.path(BLOB.digest)
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.incomplete").write_bytes(CONTENT[:30_000])

    async with blobs.land(BLOB) as landing:
        assert landing is not None
        assert (Span(0, 30_000),) == landing.present
        await landing.put(30_000, [CONTENT[30_000:]])
        await landing.finish()

    assert CONTENT == path.read_bytes()


async def test_a_sequential_writer_continues_from_the_first_gap(blobs: Blobs) -> None:
    """As when an archive is loaded after a pull broke off; what was behind the gap is not kept by mistake."""
    async with blobs.land(BLOB) as landing:
        assert landing is not None
        await landing.put(0, [CONTENT[:1_000]])
        await landing.put(90_000, [CONTENT[90_000:]])

    async with blobs.claim(BLOB) as present:
        assert 1_000 == present
    assert ["x.incomplete"] == _names(blobs)
    assert 1_000 == BLOB.size - blobs.missing_bytes([BLOB])


async def test_who_is_ahead_waits_until_there_is_room(tmp_path: Path) -> None:
    """Until the hash has come to the bytes that are held; who brings the next bytes never waits."""
    blobs = Blobs(tmp_path / "blobs", Turns(tmp_path / ".locks"))
    blobs._ahead = Ahead(limit=1_000)
    async with blobs.land(BLOB) as landing:
        assert landing is not None
        await landing.put(50_000, [CONTENT[50_000:]])
        waiting = asyncio.create_task(landing.room(BLOB.size))
        await asyncio.sleep(0)
        assert not waiting.done()
        await landing.put(0, [CONTENT[:50_000]])
        await landing.room(50_000)
        await waiting
        await landing.finish()

    assert 0 == blobs._ahead.held


async def test_a_second_writer_waits_and_finds_the_blob_complete(blobs: Blobs) -> None:
    """So that two pulls of one model fetch it once."""
    async with blobs.land(BLOB) as landing:
        assert landing is not None
        second = asyncio.create_task(_is_complete(blobs))
        await landing.put(0, [CONTENT])
        assert not second.done()
        await landing.finish()

    assert await second


async def _is_complete(blobs: Blobs) -> bool:
    async with blobs.land(BLOB) as landing:
        return landing is None


async def test_an_uninterrupted_landing_reads_nothing_back(blobs: Blobs) -> None:
    """The hash takes its bytes from memory, whatever their order."""
    big = os.urandom(8 << 20)
    blob = Descriptor("application/octet-stream", Digest.of(big), len(big))
    before = _read_so_far()
    async with blobs.land(blob) as landing:
        assert landing is not None
        for start in reversed(range(0, len(big), 1 << 20)):
            await landing.put(start, [big[start : start + (1 << 20)]])
        await landing.finish()

    assert _read_so_far() - before < 64 << 10  # lock files and the like


def _read_so_far() -> int:
    """Bytes that this process has read by any call."""
    return int(Path("/proc/self/io").read_text().split()[1])


async def test_a_system_without_threads_fails_the_pull_and_no_later_one(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a limit of processes; nothing stays counted as waiting for the disk."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with blobs.land(BLOB) as landing:
        assert landing is not None
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            await landing.put(0, [CONTENT[:10]])
        with pytest.raises(StoreError, match="can't start new thread"):
            await landing.finish()
    assert (0, True) == (blobs._ahead.held, blobs._ahead.is_written)
    assert 0 == blobs._ahead._unwritten
